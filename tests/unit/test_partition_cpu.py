"""A gpulet of the cpu kind is a set of cores: its thread, and the threads its models start."""

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glet.errors import ArgumentError, ConfigError, DeviceError
from glet.native import core

FAR_NS = 60_000_000_000
CORES = core.usable_cores()

needs_two_cores = pytest.mark.skipif(len(CORES) < 2, reason="this machine has one core")


def threads_named(name: str) -> list[int]:
    tasks = Path("/proc/self/task").iterdir()
    return [int(t.name) for t in tasks if (t / "comm").read_text().strip() == name]


def run_mlp(engine: Any, gpulet: int, mlp: Any) -> None:
    """Loads the compiled MLP and runs it once, so that its intra-op threads exist."""
    shapes = [("y", [10]), ("s", [4, 4]), ("same", [16])]
    outputs = [core.TensorSpec(name, "float32", shape) for name, shape in shapes]
    sig = core.Signature([core.TensorSpec("x", "float32", [16])], outputs)
    plan = core.ModelPlan(core.LatencyTable([(1, 1000), (64, 9000)]), core.QueueLimits())
    engine.load_aoti(gpulet, 5, core.AotiModel(str(mlp.library), sig), 64, plan)
    engine.measure(gpulet, 5, 64, 3)


def test_usable_cores_are_those_of_the_process() -> None:
    assert set(CORES) == os.sched_getaffinity(0)


def test_assigned_cores_are_disjoint_and_too_small_a_share_is_refused() -> None:
    assert core.assign_cores([4, 5, 6, 7], [50, 25]) == [[4, 5], [6]]
    with pytest.raises(ConfigError, match="smallest share that works is 25"):
        core.assign_cores([4, 5, 6, 7], [24])


def test_the_worker_runs_on_its_core_alone() -> None:
    seen: list[set[int]] = []
    names: list[str] = []

    def function(x: np.ndarray) -> np.ndarray:
        seen.append(os.sched_getaffinity(0))
        names.append(Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text().strip())
        return x

    x = core.TensorSpec("x", "float32", [1])
    plan = core.ModelPlan(core.LatencyTable([(1, 1000)]), core.QueueLimits())
    with core.Engine() as engine:
        report = engine.add_gpulet(3, "cpu", 50, CORES[-1:])
        engine.load_python(3, 5, function, core.Signature([x], [x]), 1, plan)
        engine.measure(3, 5, 1, 1)
    assert report.cores == CORES[-1:]
    assert seen == [set(CORES[-1:])]
    assert names == ["glet-g3"]


def test_cores_that_are_not_there_are_refused() -> None:
    with core.Engine() as engine:
        with pytest.raises(DeviceError, match="core 99999 is not there"):
            engine.add_gpulet(1, "cpu", 100, [99999])
        with pytest.raises(DeviceError, match="at least one core"):
            engine.add_gpulet(1, "cpu", 100, [])
        engine.add_gpulet(1, "cpu", 100, CORES[:1])


@needs_two_cores
def test_a_model_uses_as_many_threads_as_its_gpulet_has_cores(
    libtorch: str, compiled_mlp: Any
) -> None:
    with core.Engine() as engine:
        engine.add_gpulet(21, "cpu", 100, CORES[:2])
        core.load_torch(libtorch)
        run_mlp(engine, 21, compiled_mlp)
        # Torch came after the gpulet's thread: loading a model told it.
        assert engine.partition(21).intra_op_threads == 2
        threads = threads_named("glet-g21")
        assert len(threads) == 2
        assert [os.sched_getaffinity(t) for t in threads] == [set(CORES[:2])] * 2


@needs_two_cores
def test_halves_use_their_own_cores_only(libtorch: str, compiled_mlp: Any) -> None:
    core.load_torch(libtorch)
    halves = core.assign_cores(CORES[:2], [50, 50])
    with core.Engine() as engine:
        for gpulet, cores in zip((31, 32), halves, strict=True):
            report = engine.add_gpulet(gpulet, "cpu", 50, cores)
            assert (report.cores, report.intra_op_threads) == (cores, 1)
            run_mlp(engine, gpulet, compiled_mlp)
        masks = []
        for gpulet in (31, 32):
            (thread,) = threads_named(f"glet-g{gpulet}")
            masks.append(os.sched_getaffinity(thread))
    assert masks == [set(half) for half in halves]
    assert masks[0].isdisjoint(masks[1])


@needs_two_cores
def test_a_resized_gpulet_takes_its_intra_op_threads_along(
    libtorch: str, compiled_mlp: Any
) -> None:
    core.load_torch(libtorch)
    with core.Engine() as engine:
        engine.add_gpulet(41, "cpu", 100, CORES[:2])
        run_mlp(engine, 41, compiled_mlp)
        assert len(threads_named("glet-g41")) == 2
        report = engine.resize_gpulet(41, "cpu", 50, CORES[1:2])
        assert (report.cores, report.intra_op_threads) == (CORES[1:2], 1)
        engine.measure(41, 5, 1, 2)
        report = engine.resize_gpulet(41, "cpu", 100, CORES[:2])
        assert (report.cores, report.intra_op_threads) == (CORES[:2], 2)
        engine.measure(41, 5, 1, 2)
        masks = [os.sched_getaffinity(thread) for thread in threads_named("glet-g41")]
        assert masks == [set(CORES[:2])] * 2
        with pytest.raises(DeviceError, match="core 99999 is not there"):
            engine.resize_gpulet(41, "cpu", 100, [99999])
        assert engine.partition(41).cores == CORES[:2]
        with pytest.raises(ArgumentError, match="of kind cpu and cannot become profiled"):
            engine.resize_gpulet(41, "profiled", 100)
