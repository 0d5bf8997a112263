"""Squishy bin packing of whole devices: the published example, several types, memory."""

import pytest

from glet.plan.assess import assess
from glet.plan.problem import Device, DeviceType, MemoryRules, Problem, Rules, Task
from glet.plan.timeshare import TimesharePlanner
from glet.profiles.device_profile import DeviceProfile, ModelProfile

# Latency in ms by batch on a whole device (Shen et al., SOSP 2019, section 4.1).
NEXUS = {
    "a": {4: 50.0, 8: 75.0, 16: 100.0},
    "b": {4: 50.0, 8: 90.0, 16: 125.0},
    "c": {4: 60.0, 8: 95.0, 16: 125.0},
}


def device_type(
    name: str, models: dict[str, dict[int, float]], *, share: int = 100, memory_mb: float = 0.0
) -> DeviceType:
    profiles = {
        model: ModelProfile(model, {share: batches}, memory_mb=500.0)
        for model, batches in models.items()
    }
    profile = DeviceProfile(name, profiles, memory_mb=memory_mb, where=name)
    return DeviceType(profile=profile, shares=(share,))


def problem(
    tasks: list[tuple[str, float, float]],
    *types: DeviceType,
    devices: int = 4,
    max_models: int = 3,
) -> Problem:
    return Problem(
        tasks=tuple(Task(model=m, rate_rps=rate, slo_ms=slo_ms) for m, rate, slo_ms in tasks),
        devices=tuple(
            Device(number=number, type=types[number % len(types)].name) for number in range(devices)
        ),
        types={kind.name: kind for kind in types},
        rules=Rules(
            latency_ratio=1.0,
            max_models=max_models,
            memory=MemoryRules(process_mb=100.0, usable=1.0),
        ),
    )


def test_the_published_example_of_three_models() -> None:
    # a: 75 + 8 / 64 s = 200 ms, every 125 ms. In that time 4 of b come: 75 + 50 = 125. With c it
    # would be too much: its 4 take 60.
    asked = problem(
        [("a", 64.0, 200.0), ("b", 32.0, 250.0), ("c", 32.0, 250.0)], device_type("gpu", NEXUS)
    )
    plan = TimesharePlanner().plan(asked)
    both, alone = plan.gpulets
    assert [(m.model, m.batch) for m in both.models] == [("a", 8), ("b", 4)]
    assert [m.duty_cycle_ms for m in both.models] == pytest.approx([125.0, 125.0])
    # c: 60 + (95 - 60) / 4 + 5 / 32 s = 225 ms; 6 would take 265.
    assert [(m.model, m.batch, m.duty_cycle_ms) for m in alone.models] == [("c", 5, 156.25)]
    judged = assess(asked, plan)
    assert judged.feasible
    assert judged.gpulets[0].models[0].latency_ms == pytest.approx(200.0)


def test_one_that_has_no_time_to_wait_is_alone() -> None:
    # 20 ms of 30: it may not wait for another, and its next request comes after 25.
    models = {"a": {1: 20.0, 8: 160.0}, "b": {1: 1.0, 8: 2.0}}
    asked = problem([("a", 40.0, 30.0), ("b", 10.0, 100.0)], device_type("gpu", models))
    plan = TimesharePlanner().plan(asked)
    assert [g.models[0].model for g in plan.gpulets] == ["a", "b"]
    assert assess(asked, plan).feasible


def test_no_more_models_than_allowed_share_a_device() -> None:
    models = {name: {1: 1.0, 8: 2.0} for name in "abcd"}
    tasks = [(name, 10.0, 100.0) for name in "abcd"]
    for most, sizes in ((1, [1, 1, 1, 1]), (3, [1, 3]), (4, [4])):
        plan = TimesharePlanner().plan(problem(tasks, device_type("gpu", models), max_models=most))
        assert sorted(len(gpulet.models) for gpulet in plan.gpulets) == sizes


def test_memory_keeps_models_apart() -> None:
    models = {name: {1: 1.0, 8: 2.0} for name in "ab"}
    tasks = [(name, 10.0, 100.0) for name in "ab"]
    for memory_mb, used in ((1100.0, 1), (1099.0, 2), (599.0, 0)):
        asked = problem(tasks, device_type("gpu", models, memory_mb=memory_mb))
        plan = TimesharePlanner().plan(asked)
        assert assess(asked, plan).devices_used == used
        assert bool(plan.unmet) == (used == 0)


def test_the_fastest_type_that_is_left_and_the_largest_share_it_gives() -> None:
    # `fast` serves 1000/s of a. `slow` serves 400 in 4 x 2 of each 10 ms, and b in the other 2.
    fast = device_type("fast", {"a": {1: 1.0, 10: 10.0}}, share=90)
    slow = device_type("slow", {"a": {1: 2.0, 10: 20.0}, "b": {1: 2.0, 10: 20.0}})
    asked = problem([("a", 2400.0, 20.0), ("b", 10.0, 20.0)], fast, slow)
    plan = TimesharePlanner().plan(asked)
    places = {(g.device, g.share_pct): [m.model for m in g.models] for g in plan.gpulets}
    assert places == {(0, 90): ["a"], (2, 90): ["a"], (1, 100): ["a", "b"]}
    assert plan.unmet == {}


def test_what_finds_no_device_is_unmet() -> None:
    asked = problem([("a", 2500.0, 20.0)], device_type("gpu", {"a": {1: 1.0, 10: 10.0}}), devices=2)
    plan = TimesharePlanner().plan(asked)
    assert plan.unmet == {"a": pytest.approx(500.0)}
    assert assess(asked, plan).faults == ()
