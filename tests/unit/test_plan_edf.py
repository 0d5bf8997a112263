"""Whole devices, earliest deadline first: rates over several, order, what holds in the digits."""

import msgspec
import pytest

from glet.plan.assess import assess
from glet.plan.edf import EdfPlanner, by_deadline
from glet.plan.fit import Want
from glet.plan.problem import Device, DeviceType, Problem, Rules, Task
from glet.profiles.device_profile import DeviceProfile, ModelProfile


def problem(
    tasks: list[tuple[str, float, float]], models: dict[str, dict[int, float]], devices: int = 4
) -> Problem:
    profiles = {name: ModelProfile(name, {100: batches}) for name, batches in models.items()}
    profile = DeviceProfile("gpu", profiles, memory_mb=0.0, where="gpu")
    return Problem(
        tasks=tuple(Task(model=m, rate_rps=rate, slo_ms=slo_ms) for m, rate, slo_ms in tasks),
        devices=tuple(Device(number=number, type="gpu") for number in range(devices)),
        types={"gpu": DeviceType(profile=profile, shares=(100,))},
        rules=Rules(latency_ratio=1.0),
    )


def test_a_rate_beyond_one_device_is_split_and_its_rest_shares() -> None:
    # 10 in 10 ms twice within 20: 1000/s a device. The rest of 100/s runs one by one, 0.1 of it.
    asked = problem(
        [("a", 2100.0, 20.0), ("b", 10.0, 100.0)],
        {"a": {1: 1.0, 10: 10.0}, "b": {1: 5.0, 8: 20.0}},
    )
    plan = EdfPlanner().plan(asked)
    rates = [sorted((m.model, round(m.rate_rps)) for m in g.models) for g in plan.gpulets]
    assert rates == [[("a", 1000)], [("a", 1000)], [("a", 100), ("b", 10)]]
    assert assess(asked, plan).feasible


def test_a_batch_that_another_cannot_wait_for_keeps_them_apart() -> None:
    # a has 8 ms to wait, b runs for 7 or for 9.
    tasks = [("a", 50.0, 10.0), ("b", 10.0, 90.0)]
    for length_ms, used in ((7.0, 1), (9.0, 2)):
        models = {"a": {1: 2.0, 8: 16.0}, "b": {1: length_ms, 8: 8 * length_ms}}
        asked = problem(tasks, models)
        judged = assess(asked, EdfPlanner().plan(asked))
        assert judged.feasible
        assert judged.devices_used == used


def test_the_fullest_device_that_takes_it() -> None:
    # 0.9, 0.6 and 0.3 of a device by themselves: the last joins the second.
    models = {"a": {1: 9.0}, "b": {1: 6.0}, "c": {1: 3.0}}
    tasks = [(name, 100.0, 500.0) for name in "abc"]
    asked = problem(tasks, models)
    plan = EdfPlanner().plan(asked)
    together = sorted([m.model for m in gpulet.models] for gpulet in plan.gpulets)
    assert together == [["a"], ["b", "c"]]
    assert assess(asked, plan).feasible


def test_rates_may_lose_their_last_digits() -> None:
    # At exactly these rates b's batches of 10 end with the objective: 9 gaps of 10 ms, 1 ms for a,
    # and 9 ms. At a little less they would be late.
    exact = Want("b", 100.0, 100.0, [0.9 * batch for batch in range(1, 11)])
    other = Want("a", 1.0, 1000.0, [1.0])
    found = by_deadline((exact, other), 1.0)
    assert found is not None
    assert found.wants[0].slo_ms == 100.0
    asked = problem(
        [("a", 1.0, 1000.0), ("b", 100.0, 100.0)], {"a": {1: 1.0}, "b": {1: 0.9, 10: 9.0}}
    )
    plan = EdfPlanner().plan(asked)
    assert len(plan.gpulets) == 1
    for lost in (0.0, 5e-6):
        gpulets = tuple(
            msgspec.structs.replace(
                gpulet,
                models=tuple(
                    msgspec.structs.replace(m, rate_rps=m.rate_rps * (1.0 - lost))
                    for m in gpulet.models
                ),
            )
            for gpulet in plan.gpulets
        )
        assert assess(asked, msgspec.structs.replace(plan, gpulets=gpulets)).faults == ()


def test_slowed_down_batches_use_more_of_the_time() -> None:
    want = Want("a", 100.0, 100.0, [1.0 * batch for batch in range(1, 11)])
    other = Want("b", 10.0, 200.0, [3.0])
    alone, slowed = by_deadline((want, other), 1.0), by_deadline((want, other), 2.0)
    assert alone is not None
    assert slowed is not None
    assert slowed.occupancy == pytest.approx(2.0 * alone.occupancy)
    assert by_deadline((want, other), 9.0) is None
