"""Steps as a backend sends them, on a real engine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from waiting import wait_for

from glet.clock import SystemClock
from glet.native import core
from glet.serve import step_worker
from glet.serve.step_worker import StepWorker
from glet.types.model import Signature, TensorSpec
from glet.wire.messages import (
    AddGpulet,
    Limits,
    LoadModel,
    ModelSource,
    Step,
    StepDone,
    UnloadModel,
)

X = TensorSpec(name="x", dtype="float32", shape=(4,))
MODEL_TOML = """
slo_ms = 1000.0
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


@pytest.fixture
def worker() -> Iterator[StepWorker]:
    with core.Engine() as engine:
        made = StepWorker(engine, SystemClock(), runners=2)
        yield made
        made.close(patience_s=60.0)


def perform(worker: StepWorker, step: Step) -> StepDone:
    worker.submit(step)
    ((done,),) = wait_for(worker.take_done)
    assert done.error == ""
    return done


def test_a_move_neither_measures_nor_looks_at_memory(
    worker: StepWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def look(kind: str) -> float:
        looks.append(kind)
        return 100.0 * len(looks)

    monkeypatch.setattr(step_worker, "used_memory_mb", look)
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "model.toml").write_text(MODEL_TOML)
    (folder / "model.py").write_text("def infer(x):\n    return x\n")
    given: dict[str, Any] = {
        "model": 7,
        "source": ModelSource(
            name="m",
            runner="python",
            signature=Signature(inputs=(X,), outputs=(X,)),
            slo_ms=1000.0,
            max_batch=4,
            path=str(folder),
        ),
        "limits": Limits(batch=4, time_share=1.0, capacity=8, margin_ms=1.0),
    }
    for gpulet in (0, 1):
        perform(
            worker,
            AddGpulet(step=gpulet, gpulet=gpulet, kind="profiled", share_pct=50, cores=()),
        )
    first = perform(worker, LoadModel(step=2, gpulet=0, **given))
    assert looks == ["cpu", "cpu"]
    assert first.used_mb == 100.0
    known = ((1, 3.25), (4, 4.5))
    moved = perform(worker, LoadModel(step=3, gpulet=1, latency_ms=known, **given))
    perform(worker, UnloadModel(step=4, gpulet=0, model=7, drain_ms=0.0))
    assert looks == ["cpu", "cpu"]
    assert moved.latency_ms == known
    assert moved.used_mb < 1.0
    perform(worker, UnloadModel(step=5, gpulet=1, model=7, drain_ms=0.0))
    perform(worker, LoadModel(step=6, gpulet=0, latency_ms=known, **given))
    assert len(looks) == 4


def test_steps_that_go_together_end_together(worker: StepWorker) -> None:
    add = AddGpulet(step=1, gpulet=0, kind="profiled", share_pct=50, cores=())
    again, other = (msgspec.structs.replace(add, step=n, gpulet=n - 2) for n in (2, 3))
    worker.submit(add, again, other)
    (done,) = wait_for(worker.take_done)
    assert [each.step for each in done] == [1, 2, 3]
    # What failed is told, and does not keep the others from being performed.
    assert [bool(each.error) for each in done] == [False, True, False]
    assert worker.take_done() == []


@pytest.mark.parametrize(
    "step",
    [
        AddGpulet(step=1, gpulet=2**40, kind="profiled", share_pct=50, cores=()),
        AddGpulet(step=1, gpulet=0, kind="nothing", share_pct=50, cores=()),
        UnloadModel(step=1, gpulet=0, model=0, drain_ms=float("inf")),
        UnloadModel(step=1, gpulet=0, model=0, drain_ms=float("nan")),
    ],
)
def test_a_step_that_cannot_be_is_told_and_the_next_is_performed(
    worker: StepWorker, step: Step
) -> None:
    worker.submit(step)
    ((done,),) = wait_for(worker.take_done)
    assert done.error
    assert len(done.error.splitlines()) == 1
    perform(worker, AddGpulet(step=2, gpulet=1, kind="profiled", share_pct=50, cores=()))
