"""What is characteristic of each published planner, on cases that can be worked out by hand."""

import pytest

from glet.plan.edf import EdfPlanner
from glet.plan.elastic import ElasticPlanner
from glet.plan.elastic_cuts import Cuts
from glet.plan.fit import Want
from glet.plan.menu import Menu
from glet.plan.problem import Device, DeviceType, MemoryRules, Problem, Rules, Task
from glet.plan.selftuning import SelftuningPlanner, gap_at, max_min_fair, tuned
from glet.plan.squishy import merged, packed, residue, saturated
from glet.plan.timeshare import TimesharePlanner
from glet.profiles.device_profile import DeviceProfile, Latencies, ModelProfile
from glet.profiles.interference import ConstantInterference, Interference, NoInterference
from glet.types.plan import Plan

SHARES = (20, 40, 50, 60, 80, 100)
# 5 ms and 1 ms a request: 6, 7, 8, ... 37 ms.
LINE = tuple(5.0 + batch for batch in range(1, 33))


def line(floor_ms: float, work_ms: float, saturation: float = 1.0) -> Latencies:
    """A floor and work per request; a share beyond `saturation` brings nothing."""
    return {
        share: {b: floor_ms + work_ms * b / min(share / 100.0, saturation) for b in (1, 32)}
        for share in SHARES
    }


def problem(
    tasks: list[tuple[str, float, float]],
    models: dict[str, Latencies],
    devices: int = 4,
    interference: Interference = NoInterference(),  # noqa: B008
) -> Problem:
    profiles = {name: ModelProfile(name, table, memory_mb=100.0) for name, table in models.items()}
    kind = DeviceType(
        profile=DeviceProfile("d", profiles, memory_mb=0.0, where="d"),
        shares=SHARES,
        interference=interference,
    )
    return Problem(
        tasks=tuple(Task(model=m, rate_rps=r, slo_ms=s) for m, r, s in tasks),
        devices=tuple(Device(number=number, type="d") for number in range(devices)),
        types={"d": kind},
        rules=Rules(latency_ratio=1.0, memory=MemoryRules(shared_weights=True)),
    )


def menu_of(asked: Problem) -> Menu:
    return Menu(asked, asked.types["d"])


def used(plan: Plan) -> int:
    return len({gpulet.device for gpulet in plan.gpulets})


# Squishy bins: Nexus, SOSP 2019, section 6.1.


def test_saturated_is_the_largest_batch_within_half_the_objective() -> None:
    # 2 L(b) <= 50: L(20) = 25.
    assert saturated(LINE, 50.0) == (20, pytest.approx(800.0))
    assert saturated(LINE, 50.0, factor=1.25) == (15, pytest.approx(600.0))
    assert saturated(LINE, 5.0) == (0, 0.0)


def test_a_residue_is_collected_as_long_as_the_objective_allows() -> None:
    # L(b) + b / r <= SLO: 5 + b + 10 b <= 49 for b = 4, in a cycle of 40 ms.
    found = residue(Want("a", 100.0, 49.0, LINE))
    assert found is not None
    assert found.fit.batches == (4,)
    assert found.fit.duty_ms == (pytest.approx(40.0),)
    assert found.occupancy == pytest.approx(9.0 / 40.0)


def test_residues_merge_in_the_shorter_cycle() -> None:
    one = residue(Want("a", 100.0, 49.0, LINE))
    other = residue(Want("b", 50.0, 87.0, LINE))
    assert one is not None
    assert other is not None
    # b alone: 5 + b + 20 b <= 87 for b = 3, every 60 ms. In 40 ms 2 of its requests come.
    assert other.fit.batches == (3,)
    both = merged(one, other)
    assert both is not None
    assert both.fit.batches == (4, 2)
    assert both.fit.duty_ms == (pytest.approx(40.0), pytest.approx(40.0))
    assert both.occupancy == pytest.approx((9.0 + 7.0) / 40.0)


def test_residues_do_not_merge_when_one_would_be_late() -> None:
    one = residue(Want("a", 100.0, 49.0, LINE))
    # A cycle of 40 ms and 6 ms to run are beyond 45 ms... of nobody but the tighter.
    tight = residue(Want("b", 400.0, 20.0, LINE))
    assert one is not None
    assert tight is not None
    # 5 + b + 2.5 b <= 20 for b = 4, every 10 ms, of which it uses 9: no time for the other.
    assert tight.fit.batches == (4,)
    assert merged(one, tight) is None


def test_a_slow_model_has_what_is_left_of_its_objective() -> None:
    found = residue(Want("a", 2.0, 49.0, LINE))
    assert found is not None
    assert found.fit.batches == (1,)
    assert found.fit.duty_ms == (pytest.approx(43.0),)


def test_packed_takes_all_or_nothing() -> None:
    wants = [Want("a", 100.0, 49.0, LINE), Want("b", 50.0, 87.0, LINE)]
    assert packed(wants) is not None
    assert packed([*wants, Want("c", 400.0, 20.0, LINE)]) is None


def test_timeshare_fills_devices_first_and_shares_the_rest() -> None:
    # A device serves 800/s of a model: 2 whole ones, and both rests on a third.
    asked = problem(
        [("a", 900.0, 50.0), ("b", 900.0, 50.0)], {"a": line(5.0, 1.0), "b": line(5.0, 1.0)}
    )
    plan = TimesharePlanner().plan(asked)
    assert plan.unmet == {}
    assert used(plan) == 3
    assert all(gpulet.share_pct == 100 for gpulet in plan.gpulets)
    shared = [gpulet for gpulet in plan.gpulets if len(gpulet.models) == 2]
    assert len(shared) == 1
    assert [m.rate_rps for m in shared[0].models] == pytest.approx([100.0, 100.0])


# Earliest deadline first.


def test_edf_serves_objectives_that_turns_cannot() -> None:
    # A cycle of both takes 14 ms, and a, which runs 2, may not wait for it within 15. By deadlines
    # a waits at most for one b of 12 ms.
    models = {"a": line(0.5, 1.5), "b": line(0.0, 12.0)}
    asked = problem([("a", 50.0, 15.0), ("b", 10.0, 400.0)], models, devices=1)
    edf = EdfPlanner().plan(asked)
    assert edf.unmet == {}
    (gpulet,) = edf.gpulets
    assert len(gpulet.models) == 2
    assert gpulet.share_pct == 100
    assert TimesharePlanner().plan(asked).unmet != {}


# Elastic partitioning: gpulet, ATC 2022, section 4.


def test_the_knee_is_the_step_with_most_throughput_per_percent() -> None:
    # Beyond 40 % nothing is gained.
    asked = problem([("a", 10.0, 100.0)], {"a": line(1.0, 1.0, saturation=0.4)})
    menu = menu_of(asked)
    cuts = Cuts(menu)
    assert SHARES[cuts.knee("a")] == 40
    assert SHARES[cuts.ideal("a", 1.0)] == 20
    assert SHARES[cuts.ideal("a", menu.lone_rps["a"][0] * 1.01)] == 40


def test_elastic_cuts_in_two_that_make_a_whole() -> None:
    tasks = [(name, 30.0, 100.0) for name in "abcd"]
    # Times so long that no two share a gpulet: 40 ms on 20 %, turns of two take 120.
    asked = problem(tasks, {name: line(0.0, 8.0) for name in "abcd"}, devices=8)
    plan = ElasticPlanner().plan(asked)
    assert plan.unmet == {}
    for number in range(8):
        shares = sorted(gpulet.share_pct for gpulet in plan.on_device(number))
        assert len(shares) <= 2
        assert len(shares) < 2 or sum(shares) <= 100


def test_elastic_takes_turns_where_nothing_is_free() -> None:
    # The third and the fourth model find both halves taken, and time on them.
    asked = problem(
        [(name, 10.0, 200.0) for name in "abcd"],
        {name: line(1.0, 1.0) for name in "abcd"},
        devices=1,
    )
    plan = ElasticPlanner().plan(asked)
    assert plan.unmet == {}
    assert sorted(len(gpulet.models) for gpulet in plan.gpulets) in ([1, 3], [2, 2], [4])


def test_elastic_counts_a_small_rest_as_served_only_when_told() -> None:
    models = {"a": line(5.0, 1.0)}
    asked = problem([("a", 805.0, 50.0)], models, devices=1)
    exact, slack = ElasticPlanner().plan(asked), ElasticPlanner(slack_rps=15.0).plan(asked)
    assert exact.unmet == {"a": pytest.approx(5.0)}
    assert slack.unmet == {"a": pytest.approx(5.0)}
    two = problem([("a", 805.0, 50.0)], models, devices=2)
    assert used(ElasticPlanner().plan(two)) == 2
    assert used(ElasticPlanner(slack_rps=15.0).plan(two)) == 1


def test_elastic_checks_interference_of_both_sides() -> None:
    # Gpulets that are filled to the last request alone are late beside anybody.
    models = {"a": line(0.0, 5.0), "b": line(0.0, 5.0)}
    tasks = [("a", 99.0, 25.0), ("b", 99.0, 25.0)]
    calm = ElasticPlanner().plan(problem(tasks, models))
    rough = ElasticPlanner().plan(problem(tasks, models, interference=ConstantInterference(1.3)))
    assert used(calm) < used(rough)
    assert calm.unmet == rough.unmet == {}


# Guided self-tuning.


def test_tuning_ends_at_the_smallest_share_that_is_enough() -> None:
    menu = menu_of(problem([("a", 10.0, 100.0)], {"a": line(0.0, 4.0)}))
    # 50 requests/s of 4 / share ms: a fifth of the device, but for batches.
    for start_pct in (20.0, 60.0, 100.0):
        size = tuned(menu, "a", 49.0, start_pct)
        assert menu.lone_rps["a"][size] >= 49.0
        assert SHARES[size] <= 40
    assert SHARES[tuned(menu, "a", 240.0, 20.0)] == 100


def test_the_gap_is_positive_where_more_is_needed() -> None:
    menu = menu_of(problem([("a", 10.0, 100.0)], {"a": line(0.0, 4.0)}))
    most_rps = menu.lone_rps["a"][0]
    assert gap_at(menu, "a", 2.0 * most_rps, 0) == pytest.approx(0.5)
    assert gap_at(menu, "a", 0.2 * most_rps, len(SHARES) - 1) < 0.0


def test_max_min_fair_gives_nobody_more_than_is_asked_and_the_rest_evenly() -> None:
    assert max_min_fair({"a": 10.0, "b": 60.0, "c": 80.0}, 100.0) == pytest.approx(
        {"a": 10.0, "b": 45.0, "c": 45.0}
    )
    assert max_min_fair({"a": 10.0, "b": 20.0}, 100.0) == {"a": 10.0, "b": 20.0}


def test_selftuning_is_fair_when_too_much_is_asked() -> None:
    asked = problem(
        [("a", 400.0, 100.0), ("b", 400.0, 100.0)],
        {"a": line(0.0, 4.0), "b": line(0.0, 4.0)},
        devices=1,
    )
    plan = SelftuningPlanner().plan(asked)
    assert {g.share_pct for g in plan.gpulets} == {50}
    assert plan.unmet["a"] == pytest.approx(plan.unmet["b"])
    assert all(len(gpulet.models) == 1 for gpulet in plan.gpulets)
