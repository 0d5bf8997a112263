"""The proven lower bound: right on problems small enough to count by hand, and never too high."""

import math

import pytest

from glet.plan.bound import Rows, lower_bound
from glet.plan.glet import GletPlanner
from glet.plan.problem import Device, DeviceType, MemoryRules, Problem, Rules, Task
from glet.profiles.device_profile import DeviceProfile, ModelProfile

NO_OVERHEAD = MemoryRules(process_mb=0.0, usable=1.0)


def problem(
    rates: dict[str, float],
    *,
    devices: int = 9,
    memory_mb: float = 0.0,
    weights_mb: float = 0.0,
    memory: MemoryRules = NO_OVERHEAD,
    max_models: int = 3,
) -> Problem:
    """Models of 10 ms a request on the whole device, 20 ms on half of it, due in 100 ms."""
    latencies = {50: {1: 20.0}, 100: {1: 10.0}}
    profiles = {name: ModelProfile(name, latencies, memory_mb=weights_mb) for name in rates}
    kind = DeviceType(
        profile=DeviceProfile("d", profiles, memory_mb=memory_mb, where="d"), shares=(50, 100)
    )
    return Problem(
        tasks=tuple(Task(model=m, rate_rps=r, slo_ms=100.0) for m, r in rates.items()),
        devices=tuple(Device(number=number, type="d") for number in range(devices)),
        types={"d": kind},
        rules=Rules(latency_ratio=1.0, memory=memory, max_models=max_models),
    )


@pytest.mark.parametrize(
    ("rate_rps", "bound"), [(1.0, 1), (99.0, 1), (100.0, 1), (101.0, 2), (450.0, 5)]
)
def test_work(rate_rps: float, bound: int) -> None:
    # 10 ms a request is 100 requests/s a device, at either share.
    assert lower_bound(problem({"a": rate_rps})) == bound


def test_work_of_several_adds_up() -> None:
    assert lower_bound(problem({"a": 150.0, "b": 149.0})) == 3


def test_memory_of_processes() -> None:
    # 400 MB each, one model a gpulet: 2,000 MB in all. Shares alone would allow three devices.
    rules = MemoryRules(process_mb=100.0, usable=1.0)
    asked = problem(
        dict.fromkeys("abcde", 1.0), memory_mb=500.0, weights_mb=300.0, memory=rules, max_models=1
    )
    assert lower_bound(asked) == 4


def test_memory_of_shared_weights() -> None:
    # 100 MB once, then 300 MB each: three fit in 1,000 MB.
    rules = MemoryRules(process_mb=100.0, usable=1.0, shared_weights=True)
    asked = problem(
        dict.fromkeys("abcde", 1.0), memory_mb=1000.0, weights_mb=300.0, memory=rules, max_models=5
    )
    assert lower_bound(asked) == 2


def test_smallest_shares() -> None:
    # The smallest gpulet is half a device and holds one model.
    assert lower_bound(problem(dict.fromkeys("abcde", 1.0), max_models=1)) == 3


def test_more_than_there_are_when_it_cannot_be() -> None:
    assert lower_bound(problem({"a": 1000.0}, devices=3)) == 10
    assert lower_bound(problem({"a": 301.0}, devices=3)) == 4


def test_models_that_nothing_serves_are_left_out() -> None:
    asked = problem({"a": 150.0})
    hopeless = Task(model="z", rate_rps=1.0, slo_ms=1.0)
    profiles = {
        name: ModelProfile(name, {50: {1: 20.0}, 100: {1: 10.0}}, memory_mb=0.0) for name in "az"
    }
    kind = DeviceType(
        profile=DeviceProfile("d", profiles, memory_mb=0.0, where="d"), shares=(50, 100)
    )
    both = Problem(
        tasks=(*asked.tasks, hopeless),
        devices=asked.devices,
        types={"d": kind},
        rules=asked.rules,
    )
    assert lower_bound(both) == 2


def test_nothing_needs_nothing() -> None:
    assert lower_bound(problem({})) == 0
    assert lower_bound(problem({"a": 1.0}, devices=0)) == 0


@pytest.mark.parametrize("rate_rps", [60.0, 130.0, 260.0])
def test_glet_reaches_it_where_work_is_all(rate_rps: float) -> None:
    asked = problem({"a": rate_rps, "b": rate_rps})
    plan = GletPlanner().plan(asked)
    assert not plan.unmet
    used = len({gpulet.device for gpulet in plan.gpulets})
    assert lower_bound(asked) <= used <= math.ceil(2 * rate_rps / 100.0) + 1


def test_rows_say_when_they_contradict() -> None:
    rows = Rows()
    x = rows.variable(1.0, cost=1.0)
    rows.at_least([(x, 1.0)], 2.0)
    assert rows.minimum() is None
    assert rows.solution() == [0.0]


def test_rows_round_up_what_is_whole() -> None:
    rows = Rows()
    n = rows.variable(None, cost=1.0, whole=True)
    rows.at_least([(n, 1.0)], 2.2)
    assert rows.minimum() == 3
    assert rows.solution() == [3.0]
