"""`compile = "aoti"` on a real GPU: a network compiled for it, on gpulets of green contexts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glet.clock import SystemClock
from glet.native import core
from glet.serve.capture_torch import TorchGpu
from glet.serve.compile import compile_entries
from glet.serve.compile_cache import Cache
from glet.serve.compile_target import gpu_target
from glet.serve.model_loader import ModelLoader, model_plan
from glet.serve.model_shelf import gpu_source
from glet.serve.network import load_network
from glet.serve.repository import Entry, Repository
from glet.wire.messages import Limits

pytestmark = pytest.mark.gpu

SECOND_NS = 1_000_000_000
PLAN = model_plan(
    ((1, 1.0), (8, 4.0)), Limits(batch=8, time_share=1.0, capacity=1000, margin_ms=0.0)
)


@pytest.fixture(params=["fp32", "bf16"])
def entry(request: pytest.FixtureRequest, gpu: TorchGpu, models: Path) -> Entry:
    """The network of `a` as a program."""
    import torch

    network = load_network(Repository(models).entry("a"))
    assert network is not None
    batch = torch.export.Dim("batch", min=1, max=8)
    program = torch.export.export(
        network._module, (torch.zeros(2, 256),), dynamic_shapes=({0: batch},)
    )
    folder = models / "program"
    folder.mkdir()
    torch.export.save(program, str(folder / "model.pt2"))
    keys = f"compile = 'aoti'\nprecision = '{request.param}'\n"
    (folder / "model.toml").write_text(keys + (models / "a" / "model.toml").read_text())
    return Repository(models).entry("program")


def eager(entry: Entry, gpu: TorchGpu, x: np.ndarray) -> np.ndarray:
    import torch

    network = load_network(entry)
    assert network is not None
    network.move(gpu.device)
    with torch.inference_mode():
        found: np.ndarray = network([torch.from_numpy(x).to(gpu.device)])[0].cpu().numpy()
    return found


def serve(engine: Any, x: np.ndarray) -> np.ndarray:
    deadline_ns = core.now_ns() + 60 * SECOND_NS
    engine.submit([(tag, 1, 0, deadline_ns, [row]) for tag, row in enumerate(x)])
    outputs: dict[int, np.ndarray] = {}
    while len(outputs) < len(x) and engine.wait(60 * SECOND_NS):
        for done in engine.drain():
            assert (done.outcome, done.error) == ("ok", None)
            outputs[done.tag] = done.output(0).copy()
    return np.stack([outputs[tag] for tag in range(len(x))])


def test_it_equals_eager_at_every_batch_also_after_a_resize(
    engine: Any, gpu: TorchGpu, grid: dict[str, Any], entry: Entry, tmp_path: Path
) -> None:
    clock = SystemClock()
    said: list[str] = []
    (result,) = compile_entries(
        [entry], Cache(tmp_path / "cache", clock), clock, lambda p: said.append(p.line()),
        gpu_target(),
    )  # fmt: skip
    if result.runner == "graph" and "CUDA_HOME" in result.reason:
        pytest.skip(f"there is no CUDA toolkit to compile with: {result.reason}")
    assert result.runner == "compiled", said
    placements = [core.Placement(0, 1), core.Placement(0, min(2, grid["units"]))]
    engine.add_gpulet(1, kind="green", device=0, placement=placements[0])
    loader = ModelLoader(engine, runners=4, open_gpu=lambda: gpu)
    source = gpu_source(entry, result)
    loader.load(1, 0, source, PLAN)
    assert loader.runner(1, 0, source) == ("compiled", "")
    assert loader.weights_bytes(source) > 0
    for place in placements:
        engine.resize_gpulet(1, kind="green", device=0, placement=place)
        for batch in range(1, 9):
            x = np.random.default_rng(batch).standard_normal((batch, 256)).astype(np.float32)
            near = 1e-3 if entry.config.precision == "fp32" else 3e-2
            np.testing.assert_allclose(serve(engine, x), eager(entry, gpu, x), rtol=near, atol=near)
