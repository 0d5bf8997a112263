"""What the core is told for each kind of partition."""

import os
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from glet.native import core
from glet.serve import engine_partition
from glet.serve.engine_partition import add_gpulet, engine_kinds, resize_gpulet
from glet.types.units import Units
from glet.wire.messages import AddGpulet, ResizeGpulet

CORES = sorted(os.sched_getaffinity(0))


class FakeEngine:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def add_gpulet(self, **arguments: Any) -> object:
        self.told.append(arguments)
        return SimpleNamespace(sms=56)

    resize_gpulet = add_gpulet


def add(kind: str, units: Units | None = None, cores: tuple[int, ...] = ()) -> AddGpulet:
    return AddGpulet(step=1, gpulet=3, kind=kind, share_pct=50, cores=cores, units=units)


@pytest.fixture
def with_green(monkeypatch: pytest.MonkeyPatch) -> None:
    """A core that makes green contexts, on a driver with one device."""
    fake = SimpleNamespace(
        Placement=lambda first, count, remainder: (first, count, remainder),
        cuda_probe=lambda: {"devices": [{"units": 15, "remainder_sms": 12}]},
    )
    monkeypatch.setattr(engine_partition, "core", fake)


def test_a_real_engine_takes_cores() -> None:
    with core.Engine() as engine:
        add_gpulet(engine, add("cpu", cores=(CORES[0],)))
        assert engine.partition(3).cores == [CORES[0]]


@pytest.mark.usefixtures("with_green")
def test_units_are_a_placement() -> None:
    engine = FakeEngine()
    add_gpulet(engine, msgspec.structs.replace(add("green", Units(7, 7)), priority=-2))
    step = ResizeGpulet(
        step=2, gpulet=3, kind="green", share_pct=100, cores=(), units=Units(0, 15, True)
    )
    resize_gpulet(engine, step)
    same = {"gpulet": 3, "kind": "green", "device": 0}
    assert engine.told == [
        same | {"share_pct": 50, "placement": (7, 7, False), "priority": -2},
        same | {"share_pct": 100, "placement": (0, 15, True)},
    ]


@pytest.mark.usefixtures("with_green")
def test_a_client_of_mps_has_all_that_it_sees() -> None:
    engine = FakeEngine()
    add_gpulet(engine, add("mps"))
    assert engine.told[0]["kind"] == "green"
    assert engine.told[0]["placement"] == (0, 15, True)
    assert engine_kinds() == ("green", "mps", "cpu", "profiled")


def test_a_client_without_green_contexts_is_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_partition, "core", SimpleNamespace())
    engine = FakeEngine()
    add_gpulet(engine, add("mps"))
    assert (engine.told[0]["kind"], engine.told[0]["cores"]) == ("cpu", CORES)
    assert engine_kinds() == ("mps", "cpu", "profiled")
