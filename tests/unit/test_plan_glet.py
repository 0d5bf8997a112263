"""What glet's planner does beyond the contract: kept plans, types of devices, many gpulets."""

import msgspec
import pytest

from glet.plan.assess import assess
from glet.plan.elastic import ElasticPlanner
from glet.plan.glet import GletPlanner, coarser
from glet.plan.moves import moves
from glet.plan.peak import peak_factor
from glet.plan.problem import Device, DeviceType, MemoryRules, Problem, Rules, Task
from glet.plan.timeshare import TimesharePlanner
from glet.profiles.device_profile import DeviceProfile, Latencies, ModelProfile
from glet.profiles.interference import ConstantInterference
from glet.types.plan import Plan

SHARES = tuple(range(10, 101, 10))


def latencies(floor_ms: float, work_ms: float) -> Latencies:
    """A floor, and work in proportion to the batch and inversely to the share."""
    return {
        share: {batch: floor_ms + work_ms * batch * 100.0 / share for batch in (1, 8, 32)}
        for share in SHARES
    }


def kind(name: str, models: dict[str, tuple[float, float]]) -> DeviceType:
    profiles = {
        model: ModelProfile(model, latencies(*numbers), memory_mb=100.0)
        for model, numbers in models.items()
    }
    profile = DeviceProfile(name, profiles, memory_mb=16_000.0, where=name)
    return DeviceType(profile=profile, shares=SHARES)


def problem(
    rates: dict[str, float],
    kinds: dict[DeviceType, int] | None = None,
    *,
    slo_ms: float = 100.0,
    current: Plan | None = None,
    move_cost: float = 0.0,
) -> Problem:
    """Models of 1 ms a request and a floor of 2 ms, on eight devices unless `kinds` says more."""
    given = [(kind("x", dict.fromkeys("abcdefgh", (2.0, 1.0))), 8)]
    pairs = list(kinds.items()) if kinds is not None else given
    names = [each.name for each, count in pairs for _ in range(count)]
    return Problem(
        tasks=tuple(Task(model=m, rate_rps=r, slo_ms=slo_ms) for m, r in rates.items()),
        devices=tuple(Device(number=number, type=name) for number, name in enumerate(names)),
        types={each.name: each for each, _ in pairs},
        rules=Rules(latency_ratio=1.0, memory=MemoryRules(shared_weights=True)),
        current=current,
        move_cost=move_cost,
    )


def used(plan: Plan) -> int:
    return len({gpulet.device for gpulet in plan.gpulets})


def test_a_plan_that_still_holds_is_kept() -> None:
    rates = dict.fromkeys("abcdef", 300.0)
    now = GletPlanner().plan(problem(rates))
    again = GletPlanner().plan(problem(rates, current=now, move_cost=0.01))
    assert again.unmet == {}
    assert moves(now, again) == 0


def test_a_cost_of_moves_keeps_them_few() -> None:
    now = GletPlanner().plan(problem(dict.fromkeys("abcdef", 300.0)))
    grown = {**dict.fromkeys("abcdef", 300.0), "a": 420.0, "g": 100.0}
    dear = GletPlanner().plan(problem(grown, current=now, move_cost=0.5))
    assert dear.unmet == {}
    # What is new has to be loaded, and a little room made for it; the rest stays where it is.
    assert 1 <= moves(now, dear) <= 4


def test_a_device_is_freed_only_when_that_is_worth_the_moves() -> None:
    now = GletPlanner().plan(problem(dict.fromkeys("abcdef", 800.0)))
    fallen = dict.fromkeys("abcdef", 200.0)
    cheap = GletPlanner().plan(problem(fallen, current=now, move_cost=0.001))
    dear = GletPlanner().plan(problem(fallen, current=now, move_cost=100.0))
    assert used(cheap) < used(now)
    assert moves(now, dear) == 0
    assert cheap.unmet == dear.unmet == {}


def test_a_model_that_nobody_asks_for_any_more_goes() -> None:
    now = GletPlanner().plan(problem(dict.fromkeys("abc", 300.0)))
    later = GletPlanner().plan(problem(dict.fromkeys("ab", 300.0), current=now, move_cost=1.0))
    assert later.models() == ("a", "b")
    assert moves(now, later) == 0


def test_a_current_plan_on_devices_that_are_gone_is_no_harm() -> None:
    now = GletPlanner().plan(problem(dict.fromkeys("abcdef", 800.0)))
    fewer = problem(dict.fromkeys("ab", 300.0), current=now, move_cost=1.0)
    left = msgspec.structs.replace(fewer, devices=(Device(number=77, type="x"),))
    plan = GletPlanner().plan(left)
    assert {gpulet.device for gpulet in plan.gpulets} == {77}
    assert plan.unmet == {}


def test_models_go_to_the_type_of_device_where_they_lose_least() -> None:
    # On `fast` a takes a quarter of its time, b as long as on `slow`: 5 ms of work a request.
    fast = kind("fast", {"a": (0.1, 1.25), "b": (0.1, 5.0)})
    slow = kind("slow", {"a": (0.1, 5.0), "b": (0.1, 5.0)})
    asked = problem({"a": 500.0, "b": 150.0}, {fast: 1, slow: 1})
    plan = GletPlanner().plan(asked)
    assert plan.unmet == {}
    assert assess(asked, plan).faults == ()
    on_fast = sum(m.rate_rps for g in plan.on_device(0) for m in g.models if m.model == "a")
    assert on_fast > 400.0


def test_more_than_two_gpulets_where_two_waste_share() -> None:
    # Five models of a fifth of a device each, at objectives that leave no time to take turns.
    rates = dict.fromkeys("abcde", 110.0)
    asked = problem(rates, slo_ms=26.0)
    plan = GletPlanner().plan(asked)
    elastic = ElasticPlanner().plan(asked)
    assert plan.unmet == {}
    assert max(len(plan.on_device(number)) for number in range(8)) > 2
    assert used(plan) < used(elastic)


def test_taking_turns_on_a_whole_device_where_cutting_it_wastes_time() -> None:
    # All floor: a share of a device is as fast as the device, so time is what there is to share.
    floor_only = kind("x", dict.fromkeys("abc", (9.0, 0.001)))
    asked = problem(dict.fromkeys("abc", 20.0), {floor_only: 3})
    plan = GletPlanner().plan(asked)
    assert plan.unmet == {}
    assert used(plan) == used(TimesharePlanner().plan(asked)) == 1


def test_interference_is_planned_for() -> None:
    calm = kind("x", dict.fromkeys("abcd", (2.0, 1.0)))
    rough = msgspec.structs.replace(calm, interference=ConstantInterference(1.4))
    rates = dict.fromkeys("abcd", 430.0)
    for each in (calm, rough):
        asked = problem(rates, {each: 4})
        plan = GletPlanner().plan(asked)
        assert plan.unmet == {}
        assert assess(asked, plan).faults == ()
    slowed = assess(asked, plan)
    shared = [g for g in slowed.gpulets if len(plan.on_device(g.device)) > 1]
    assert all(model.slowdown == 1.4 for g in shared for model in g.models)


def test_what_does_not_fit_is_unmet_and_the_devices_are_full() -> None:
    asked = problem(dict.fromkeys("abcd", 900.0), {kind("x", dict.fromkeys("abcd", (2.0, 1.0))): 2})
    plan = GletPlanner().plan(asked)
    assert sum(plan.unmet.values()) > 0
    assert used(plan) == 2
    served = sum(m.rate_rps for g in plan.gpulets for m in g.models)
    # A device serves 32 requests in 34 ms at best.
    assert served > 0.85 * 2 * 941.0


@pytest.mark.parametrize("others", [(TimesharePlanner(), ElasticPlanner())])
def test_the_peak_is_never_below_the_others(others: tuple[object, ...]) -> None:
    calm = kind("x", {"a": (1.0, 0.5), "b": (4.0, 2.0), "c": (2.0, 5.0)})
    asked = problem({"a": 300.0, "b": 60.0, "c": 25.0}, {calm: 1})
    peaks = [peak_factor(other, asked) for other in others]  # type: ignore[arg-type]
    ours = peak_factor(GletPlanner(), asked, peaks)
    assert ours >= max(peaks) > 0.0


def test_effort_and_seed_change_the_search_and_nothing_else() -> None:
    asked = problem(dict.fromkeys("abcdefgh", 777.0))
    for planner in (GletPlanner(effort=0.0), GletPlanner(effort=3.0, seed=5)):
        plan = planner.plan(asked)
        assert assess(asked, plan).faults == ()
        assert planner.plan(asked) == plan


def test_coarser_keeps_the_shares_that_are_tens_then_the_published() -> None:
    fine = msgspec.structs.replace(kind("x", {"a": (2.0, 1.0)}), shares=tuple(range(10, 101)))
    asked = problem({"a": 50.0}, {fine: 1})
    coarse = coarser(asked)
    assert coarse is not None
    assert coarse.types["x"].shares == SHARES
    coarsest = coarser(coarse)
    assert coarsest is not None
    assert coarsest.types["x"].shares == (20, 40, 50, 60, 80, 100)
    assert coarser(coarsest) is None
