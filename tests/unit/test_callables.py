"""Callables for the Python runner from model.py and TorchScript; their faults are ModelErrors."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from glet.errors import ModelError
from glet.serve.callables import load_callable
from glet.serve.repository import Entry, Repository

TOML = """
slo_ms = 5
max_batch = 4
[[input]]
name = "x"
dtype = "float32"
shape = [2]
[[output]]
name = "y"
dtype = "float32"
shape = [2]
"""


def entry(root: Path, source: str) -> Entry:
    folder = root / "m"
    folder.mkdir()
    (folder / "model.toml").write_text(TOML)
    (folder / "model.py").write_text(source)
    return Repository(root).entry("m")


@pytest.mark.parametrize(
    "source",
    [
        "def infer(x):\n    return x * 2\n",
        "def load():\n    factor = 2\n    return lambda x: x * factor\n",
        "def double(x):\n    return x * 2\ninfer = double\n",
    ],
)
def test_a_callable_in_source(tmp_path: Path, source: str) -> None:
    result = load_callable(entry(tmp_path, source))(np.ones((3, 2), np.float32))

    assert np.array_equal(result, np.full((3, 2), 2, np.float32))


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (
            "import nothing_of_that_name\ndef infer(x): ...\n",
            "model.py:1: ModuleNotFoundError: No module",
        ),
        ("def load():\n    raise KeyError('weights')\n", "model.py:2: KeyError: 'weights'"),
        ("def load():\n    return 3\n", "model.py gives no callable"),
    ],
)
def test_source_that_fails_while_loading(tmp_path: Path, source: str, problem: str) -> None:
    with pytest.raises(ModelError, match=f"^model 'm': {problem}"):
        load_callable(entry(tmp_path, source))


def test_torchscript(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "model.toml").write_text(TOML)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(torch.nn.Softmax(dim=1))
        scripted.save(folder / "model.pt")
    assert Repository(tmp_path).check("m") is None

    infer = load_callable(Repository(tmp_path).entry("m"))
    result = infer(np.zeros((3, 2), np.float32))

    assert isinstance(result, np.ndarray)
    assert np.allclose(result, 0.5)
    with pytest.raises(ModelError, match="model 'm'"):
        infer(np.zeros(3, np.float32))


def test_a_file_that_only_looks_like_torchscript(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "model.toml").write_text(TOML)
    torch.save({"w": torch.zeros(2)}, folder / "model.pt")

    problem = Repository(tmp_path).check("m") or ""
    assert problem.startswith("model.pt holds tensors but no code")
