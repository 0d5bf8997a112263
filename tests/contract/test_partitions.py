"""What every kind of partition keeps, whatever a gpulet is made of."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from glet.errors import ArgumentError
from glet.native import core
from glet.serve.engine_partition import add_gpulet, resize_gpulet
from glet.types.units import Units
from glet.wire.messages import AddGpulet, ResizeGpulet

FAR_NS = 60_000_000_000
KINDS = ("cpu", "profiled", pytest.param("green", marks=pytest.mark.gpu))
SPEC = core.Signature(
    [core.TensorSpec("x", "float32", [4])], [core.TensorSpec("y", "float32", [4])]
)
PLAN = core.ModelPlan(
    core.LatencyTable([(1, 1000), (8, 2000)]), core.QueueLimits(capacity=10_000, max_batch=8)
)
X = np.zeros(4, dtype=np.float32)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Green ones only where there is a GPU that can be cut."""
    if request.param == "green" and not core.cuda_probe()["available"]:
        pytest.skip(f"no GPU that can be split: {core.cuda_probe()['why']}")
    found: str = request.param
    return found


@pytest.fixture
def engine() -> Iterator[Any]:
    with core.Engine() as made:
        yield made


def place(kind: str, number: int) -> dict[str, Any]:
    """Core or unit `number`, as far as there are so many."""
    if kind == "cpu":
        usable = core.usable_cores()
        return {"cores": (usable[number % len(usable)],)}
    if kind == "green":
        units = core.cuda_probe()["devices"][0]["units"]
        return {"cores": (), "units": Units(number % units, 1)}
    return {"cores": ()}


def add(engine: Any, kind: str, gpulet: int, number: int) -> Any:
    where = place(kind, number)
    return add_gpulet(engine, AddGpulet(step=0, gpulet=gpulet, kind=kind, share_pct=7, **where))


def resize(engine: Any, kind: str, gpulet: int, number: int) -> None:
    where = place(kind, number)
    resize_gpulet(engine, ResizeGpulet(step=0, gpulet=gpulet, kind=kind, share_pct=7, **where))


def submit(engine: Any, gpulet: int, tags: range, due_ns: int) -> None:
    engine.submit([(tag, gpulet, 5, due_ns, [X]) for tag in tags])


def outcomes(engine: Any, count: int) -> dict[int, str]:
    """By tag; nothing may come twice."""
    found: dict[int, str] = {}
    while len(found) < count and engine.wait(FAR_NS):
        for done in engine.drain():
            assert done.tag not in found
            found[done.tag] = done.outcome
    return found


def test_every_request_is_answered_once(engine: Any, kind: str) -> None:
    add(engine, kind, 1, 0)
    engine.load_null(1, 5, SPEC, 8, PLAN)
    submit(engine, 1, range(500), core.now_ns() + FAR_NS)
    submit(engine, 1, range(500, 510), core.now_ns() - 1)
    found = outcomes(engine, 510)
    assert [found[tag] for tag in range(500)] == ["ok"] * 500
    assert {found[tag] for tag in range(500, 510)} == {"late"}


def test_a_resize_under_load_loses_nothing(engine: Any, kind: str) -> None:
    add(engine, kind, 1, 0)
    engine.load_null(1, 5, SPEC, 8, PLAN)
    for turn in range(20):
        tags = range(turn * 50, turn * 50 + 50)
        submit(engine, 1, tags, core.now_ns() + FAR_NS)
        resize(engine, kind, 1, turn % 2)
    assert set(outcomes(engine, 1000).values()) == {"ok"}


def test_two_beside_each_other_and_one_goes(engine: Any, kind: str) -> None:
    for gpulet in (1, 2):
        add(engine, kind, gpulet, gpulet - 1)
        engine.load_null(gpulet, 5, SPEC, 8, PLAN)
    submit(engine, 1, range(100), core.now_ns() + FAR_NS)
    submit(engine, 2, range(100, 200), core.now_ns() + FAR_NS)
    engine.remove_gpulet(1, core.now_ns() + FAR_NS)
    submit(engine, 2, range(200, 300), core.now_ns() + FAR_NS)
    assert set(outcomes(engine, 300).values()) == {"ok"}
    # Its place is free again.
    add(engine, kind, 3, 0)


def test_a_number_that_is_taken_is_refused(engine: Any, kind: str) -> None:
    add(engine, kind, 1, 0)
    with pytest.raises(ArgumentError):
        add(engine, kind, 1, 0)
    add(engine, kind, 2, 1)
