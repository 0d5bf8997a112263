"""The rules of the published autoscalers, step by step."""

from collections.abc import Iterable

import msgspec
import pytest

from glet.policy.fleet.expected import ForecastSettings, Schedule
from glet.policy.fleet.faro import FaroSettings
from glet.policy.fleet.grants import Grants
from glet.policy.fleet.make import AutoscalerSettings, default_settings, make_autoscaler
from glet.policy.fleet.mark import MarkSettings
from glet.policy.fleet.ours import GletSettings
from glet.types.fleet import FleetJob, FleetObservation

JOB = FleetJob(model="a", slo_ms=720.0, nominal_ms=180.0, processing_ms=150.0)


def at(now_s: float, *jobs: FleetJob, quota: int = 10) -> FleetObservation:
    return FleetObservation(now_s=now_s, quota=quota, jobs=jobs)


def job(**changes: object) -> FleetJob:
    return msgspec.structs.replace(JOB, **changes)


def targets_of(
    settings: AutoscalerSettings, latencies: Iterable[float | None], target: int = 4
) -> list[int]:
    made = make_autoscaler(settings)
    found = []
    for number, mean_ms in enumerate(latencies, start=1):
        seen = at(10.0 * number, job(target=target, mean_ms=mean_ms), quota=20)
        target = made.targets(seen).replicas.get("a", target)
        found.append(target)
    return found


def test_one_more_after_30_s_above_and_one_less_after_600_s_below() -> None:
    above = [1000.0] * 3
    assert targets_of(default_settings("aiad"), [*above, *above]) == [4, 4, 5, 5, 5, 6]
    # A moment below starts the count anew; no answers count as below.
    assert targets_of(default_settings("aiad"), [1000.0, 1000.0, None, 1000.0]) == [4] * 4
    assert targets_of(default_settings("aiad"), [100.0] * 60)[-2:] == [4, 3]
    assert targets_of(default_settings("additive"), [100.0] * 60)[-1] == 4


def test_one_shot_moves_in_proportion() -> None:
    assert targets_of(default_settings("one_shot"), [1080.0] * 3) == [4, 4, 6]
    assert targets_of(default_settings("one_shot"), [360.0] * 60)[-2:] == [4, 2]


def test_fair_share_divides_the_quota() -> None:
    made = make_autoscaler(default_settings("fair_share"))
    jobs = [job(model=f"m{n}") for n in range(10)]
    assert set(made.targets(at(10.0, *jobs, quota=36)).replicas.values()) == {3}


def test_growth_is_granted_in_order_and_tried_again() -> None:
    grants = Grants()
    a, b = job(model="a", target=4), job(model="b", target=4)
    first = grants.granted(at(0.0, a, b), {"a": 7, "b": 6}, trials=2)
    assert first.replicas == {"a": 6}
    # What was cut is tried once more, when there is more.
    later = at(10.0, job(model="a", target=6), b, quota=12)
    assert grants.granted(later, {}, trials=1).replicas == {"a": 7, "b": 5}
    assert grants.granted(at(20.0, a, b, quota=20), {}, trials=1).replicas == {}


def test_who_gives_up_comes_first_and_who_is_busy_waits() -> None:
    grants = Grants()
    full = at(0.0, job(model="a", target=5), job(model="b", target=5))
    assert grants.granted(full, {"a": 7, "b": 3}, 1).replicas == {"a": 7, "b": 3}
    busy = at(0.0, job(model="a", target=1, changing=True))
    assert grants.granted(busy, {"a": 3}, trials=2).replicas == {}
    assert grants.granted(at(10.0, job(target=1)), {}, 1).replicas == {"a": 3}


def test_stages_are_due_once_and_then_at_multiples() -> None:
    schedule = Schedule(60.0, 300.0)
    due = [s for s in range(10, 1000, 10) if schedule.due(float(s))]
    assert due == [60, 300, 600, 900]


def test_mark_sizes_for_the_highest_rate() -> None:
    made = make_autoscaler(MarkSettings(forecast=ForecastSettings(method="last")))
    # 20 requests/s, of which a replica answers 4 within 720 ms.
    assert made.targets(at(60.0, job(arrivals=(1200.0,)))).replicas == {"a": 5}


def test_sizing_moves_two_at_a_time_to_what_the_rate_needs() -> None:
    made = make_autoscaler(default_settings("sizing"))
    # ceil(20 / (0.9 / 0.15)) = 4
    assert made.targets(at(30.0, job(recent_rps=20.0, target=1))).replicas == {"a": 3}
    assert made.targets(at(60.0, job(recent_rps=20.0, target=3))).replicas == {"a": 4}
    limited = job(recent_rps=20.0, target=6, rate_limit_rps=3.5)
    assert made.targets(at(90.0, limited)).replicas == {"a": 7}


def test_thresholds_hold_what_came_for_180_s() -> None:
    made = make_autoscaler(default_settings("threshold_v2"))
    assert made.targets(at(30.0, job(busy=0.95, target=2))).replicas == {"a": 3}
    assert made.targets(at(60.0, job(busy=0.1, target=3))).replicas == {}
    assert made.targets(at(210.0, job(busy=0.1, target=3))).replicas == {"a": 2}
    steps = make_autoscaler(default_settings("threshold_v1"))
    assert steps.targets(at(30.0, job(busy=0.83, target=2))).replicas == {"a": 4}
    assert steps.targets(at(60.0, job(busy=0.81, target=2), quota=3)).replicas == {"a": 3}


def test_faro_raises_the_quantile_only_while_something_is_free() -> None:
    counts = (6000.0,) * 16
    settings = FaroSettings(forecast=ForecastSettings(method="ewma"))
    calm = msgspec.structs.replace(settings, adaptive_quantile=False)
    wide = at(300.0, job(arrivals=counts), quota=60)
    plain = make_autoscaler(calm).targets(wide).replicas["a"]
    safer = make_autoscaler(settings).targets(wide).replicas["a"]
    assert plain < safer < 60
    tight = at(300.0, job(arrivals=counts), quota=plain)
    assert make_autoscaler(settings).targets(tight).replicas["a"] == plain


def test_glet_follows_what_arrived_so_far_both_ways() -> None:
    sure = {"doubts": (1.0,), "doubt_chances": (1.0,)}
    made = make_autoscaler(GletSettings(method="ewma", unit_cost=0.01, move_gain=0.0, **sure))
    counts = (600.0,) * 16
    usual = job(arrivals=counts, so_far=300.0, replicas=4, target=4)
    high, low = (msgspec.structs.replace(usual, so_far=n) for n in (900.0, 60.0))
    found = [made.targets(at(990.0, one, quota=20)).replicas["a"] for one in (low, usual, high)]
    assert found[0] < found[1] < found[2]


def test_glet_within_the_objective_buys_what_it_saves() -> None:
    """A unit more than the load needs is worth little: the dearer, the fewer."""
    counts = (900.0,) * 16
    settings = GletSettings(method="ewma", utility="within", move_gain=0.0)
    found = []
    for unit_cost in (0.0, 0.02, 0.5):
        made = make_autoscaler(msgspec.structs.replace(settings, unit_cost=unit_cost))
        one = job(arrivals=counts, so_far=0.0, replicas=6, target=6)
        found.append(made.targets(at(960.0, one, quota=12)).replicas["a"])
    assert found[0] > found[1] > found[2]


def test_glet_gives_a_weighty_model_more() -> None:
    made = make_autoscaler(GletSettings(method="ewma"))
    jobs = [
        job(model=name, weight=weight, arrivals=(1200.0,) * 16, so_far=0.0, replicas=3, target=3)
        for name, weight in (("light", 1.0), ("heavy", 9.0))
    ]
    found = made.targets(at(960.0, *jobs, quota=6)).replicas
    assert found["heavy"] > found["light"]


def test_refused_requests_are_said_by_who_may_refuse() -> None:
    counts = (1800.0,) * 16
    overloaded = at(960.0, job(arrivals=counts, so_far=0.0, replicas=3, target=3), quota=3)
    shed = make_autoscaler(GletSettings(method="ewma", objective="penalty_sum"))
    assert shed.targets(overloaded).accept["a"] < 1.0
    assert make_autoscaler(GletSettings(method="ewma")).targets(overloaded).accept == {}


def test_a_processing_time_is_needed() -> None:
    unknown = msgspec.structs.replace(JOB, nominal_ms=0.0, processing_ms=0.0)
    with pytest.raises(Exception, match="'a': processing time is not known"):
        make_autoscaler(default_settings("sizing")).targets(at(30.0, unknown))
