"""Models are there once per executor, however many gpulets run them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glet.native import core
from glet.serve.model_loader import ModelLoader, model_plan, untagged
from glet.types.model import Signature, TensorSpec
from glet.wire.messages import Limits, ModelSource

X = TensorSpec(name="x", dtype="float32", shape=(4,))
SIGNATURE = Signature(inputs=(X,), outputs=(X,))
LIMITS = Limits(batch=4, time_share=1.0, capacity=8, margin_ms=1.0)
PLAN = model_plan(((1, 1.0), (4, 2.0)), LIMITS)
MODEL_TOML = """
slo_ms = 10.0
max_batch = 4
[[input]]
name = "x"
dtype = "float32"
shape = [4]
[[output]]
name = "x"
dtype = "float32"
shape = [4]
"""
MODEL_PY = """
def load():
    with open(__file__ + ".loads", "a") as file:
        file.write("once\\n")
    return lambda x: x
"""


@pytest.fixture
def engine() -> Iterator[Any]:
    with core.Engine() as made:
        made.add_gpulet(0, "profiled", 50)
        made.add_gpulet(1, "profiled", 50)
        yield made


def test_a_python_model_that_moves_is_not_loaded_again(engine: Any, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "model.toml").write_text(MODEL_TOML)
    (folder / "model.py").write_text(MODEL_PY)
    source = ModelSource(
        name="m", runner="python", signature=SIGNATURE, slo_ms=10.0, max_batch=4, path=str(folder)
    )
    loader = ModelLoader(engine, runners=2)
    loads = folder / "model.py.loads"
    loader.load(0, 7, source, PLAN)
    loader.load(1, 7, source, PLAN)
    loader.unload(0, 7, 0)
    loader.load(0, 7, source, PLAN)
    assert loads.read_text().splitlines() == ["once"]
    loader.forget(0)
    loader.unload(1, 7, 0)
    engine.remove_gpulet(0)
    engine.add_gpulet(0, "profiled", 50)
    loader.load(0, 7, source, PLAN)
    assert loads.read_text().splitlines() == ["once", "once"]


def test_an_emulated_model_takes_the_time_of_another_share(engine: Any) -> None:
    source = ModelSource(name="m", runner="profiled", signature=SIGNATURE, slo_ms=10.0, max_batch=4)
    loader = ModelLoader(engine, runners=2)
    loader.load(0, 7, source, PLAN)
    loader.emulate(0, 7, ((1, 5.0), (4, 20.0)))
    # An emulated batch never ends early.
    assert min(engine.measure(0, 7, 1, 3)) >= 5e6
    assert min(engine.measure(0, 7, 4, 2)) >= 20e6


def test_errors_of_runners_are_told_without_their_place_in_the_core() -> None:
    assert untagged("[GraphRunner] capture of batch 1: odd") == "capture of batch 1: odd"
    assert untagged("[PythonRunner] odd") == "odd"
    assert untagged("[Engine] odd") == "[Engine] odd"
