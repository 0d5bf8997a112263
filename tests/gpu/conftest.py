"""Fixtures on a real GPU. Where there is none, everything here skips itself and says why."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glet.errors import DeviceError
from glet.native import core
from glet.serve.capture_torch import TorchGpu

MLP_TOML = """
slo_ms = 50.0
max_batch = 8
[[input]]
name = "x"
dtype = "float32"
shape = [256]
[[output]]
name = "y"
dtype = "float32"
shape = [64]
"""
MLP = """
import torch

def load():
    torch.manual_seed({seed})
    return torch.nn.Sequential(
        torch.nn.Linear(256, {width}), torch.nn.GELU(), torch.nn.Linear({width}, 64))
"""


@pytest.fixture(scope="session")
def grid() -> dict[str, Any]:
    """The unit grid of the first GPU."""
    probe = core.cuda_probe()
    if not probe["available"]:
        pytest.skip(f"no GPU that can be split: {probe['why']}")
    if not hasattr(core, "Placement"):
        pytest.skip("this build of the core has no gpulets on GPUs")
    found: dict[str, Any] = probe["devices"][0]
    return found


@pytest.fixture(scope="session")
def gpu(grid: dict[str, Any]) -> TorchGpu:
    pytest.importorskip("torch")
    try:
        return TorchGpu()
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.fixture
def engine(grid: dict[str, Any]) -> Iterator[Any]:
    with core.Engine() as made:
        yield made


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Entries `a` and `b`, small networks."""
    for name, seed, width in (("a", 1, 512), ("b", 2, 1024)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.toml").write_text(MLP_TOML)
        (folder / "model.py").write_text(MLP.format(seed=seed, width=width))
    return tmp_path
