"""Guided self-tuning: whole devices first, fairness, the last free pieces, neighbours."""

import pytest

from glet.plan.assess import assess
from glet.plan.menu import Menu
from glet.plan.problem import Device, DeviceType, MemoryRules, Problem, Rules, Task
from glet.plan.selftuning import SelftuningPlanner, allotted, max_min_fair
from glet.profiles.device_profile import DeviceProfile, ModelProfile
from glet.profiles.interference import ConstantInterference, Interference, NoInterference

SHARES = tuple(range(10, 101, 10))
CALM = NoInterference()


def proportional(name: str, whole_rps: float) -> ModelProfile:
    """One request at a time; throughput in proportion to the share."""
    latencies = {share: {1: 100_000.0 / (share * whole_rps)} for share in SHARES}
    return ModelProfile(name, latencies, memory_mb=100.0)


def problem(
    rates: dict[str, float],
    devices: int = 1,
    *,
    interference: Interference = CALM,
    max_gpulets: int = 100,
    memory_mb: float = 0.0,
) -> Problem:
    profiles = {name: proportional(name, 100.0) for name in rates}
    profile = DeviceProfile("gpu", profiles, memory_mb=memory_mb, where="gpu")
    kind = DeviceType(profile=profile, shares=SHARES, interference=interference)
    return Problem(
        tasks=tuple(Task(model=m, rate_rps=rate, slo_ms=1000.0) for m, rate in rates.items()),
        devices=tuple(Device(number=number, type="gpu") for number in range(devices)),
        types={"gpu": kind},
        rules=Rules(
            latency_ratio=1.0,
            max_gpulets=max_gpulets,
            memory=MemoryRules(process_mb=100.0, usable=1.0),
        ),
    )


def served(asked: Problem) -> dict[str, list[int]]:
    """Shares that each model has."""
    plan = SelftuningPlanner().plan(asked)
    assert assess(asked, plan).faults == ()
    found: dict[str, list[int]] = {}
    for gpulet in plan.gpulets:
        (model,) = gpulet.models
        found.setdefault(model.model, []).append(gpulet.share_pct)
    return found


def test_each_has_the_share_it_needs_and_no_turns() -> None:
    assert served(problem({"a": 10.0, "b": 29.0, "c": 60.0})) == {"a": [10], "b": [30], "c": [60]}


def test_whole_devices_first_then_what_the_rest_needs() -> None:
    asked = problem({"a": 230.0, "b": 70.0}, devices=3)
    menu = Menu(asked, asked.types["gpu"])
    sizes = [(SHARES[size], model) for size, model in allotted(menu, {"a": 230.0, "b": 70.0}, 3)]
    assert sorted(sizes) == [(30, "a"), (70, "b"), (100, "a"), (100, "a")]
    assert served(asked) == {"a": [100, 100, 30], "b": [70]}


def test_who_asks_for_little_has_it_and_others_have_the_same() -> None:
    assert max_min_fair({"a": 20.0, "b": 90.0, "c": 60.0}, 100.0) == {
        "a": 20.0,
        "b": 40.0,
        "c": 40.0,
    }
    assert served(problem({"a": 20.0, "b": 90.0, "c": 60.0})) == {"a": [20], "b": [40], "c": [40]}


def test_what_fair_shares_leave_is_offered_again() -> None:
    # A third each is 30 of these shares; the last 10 go to one of the worst served.
    assert served(problem({"a": 100.0, "b": 100.0, "c": 100.0})) == {
        "a": [30, 10],
        "b": [30],
        "c": [30],
    }


def test_the_fullest_device_that_has_room() -> None:
    # 70 and 60 on two devices; the 30 goes beside the 70, the 20 beside the 60.
    asked = problem({"a": 70.0, "b": 60.0, "c": 30.0, "d": 20.0}, devices=3)
    plan = SelftuningPlanner().plan(asked)
    together = [
        [gpulet.models[0].model for gpulet in plan.on_device(number)] for number in range(3)
    ]
    assert together == [["a", "c"], ["b", "d"], []]


@pytest.mark.parametrize(("limits", "most"), [({"max_gpulets": 2}, 2), ({"memory_mb": 650.0}, 3)])
def test_limits_of_a_device(limits: dict[str, int], most: int) -> None:
    asked = problem({name: 10.0 for name in "abcde"}, **limits)
    plan = SelftuningPlanner().plan(asked)
    assert len(plan.gpulets) == most
    assert len(plan.unmet) == 5 - most
    assert assess(asked, plan).faults == ()


def test_neighbours_take_from_full_gpulets_and_room_gives_it_back() -> None:
    rates = {"a": 50.0, "b": 50.0}
    asked = problem(rates, devices=2, interference=ConstantInterference(1.1))
    plan = SelftuningPlanner().plan(asked)
    judged = assess(asked, plan)
    assert judged.feasible
    # 1.1 times as slow 50 % carry 45 of 50, which is more than the 85 % that neighbours leave.
    beside = [len(plan.on_device(number)) for number in range(2)]
    assert max(beside) >= 2
    tight = problem(rates, devices=1, interference=ConstantInterference(1.1))
    assert sum(SelftuningPlanner().plan(tight).unmet.values()) == pytest.approx(100.0 - 100.0 / 1.1)
