"""The plan that serves, kept: at other rates, repaired, and what a change of it costs."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glet.plan.assess import assess
from glet.plan.draft import deduped, gpulets_of
from glet.plan.glet import GletPlanner
from glet.plan.keep import KeptCost, Repair, stayed
from glet.plan.menu import menus
from glet.plan.moves import moves
from glet.plan.problem import Device, DeviceType, MemoryRules, Problem, Rules, Task
from glet.plan.search import insert_all
from glet.plan.space import Space
from glet.profiles.device_profile import DeviceProfile, ModelProfile
from glet.profiles.interference import ConstantInterference, NoInterference
from glet.types.plan import Plan

NAMES = tuple("abcdef")
SHARES = (10, 20, 30, 40, 50, 60, 80, 100)
FAST = settings(max_examples=40, deadline=None, derandomize=True)
FACTORS = st.sampled_from((0.0, 0.3, 0.9, 1.0, 1.0, 1.1, 1.6, 4.0))


def device_type(*, disturbed: bool = False) -> DeviceType:
    points = {share: {b: 1.0 + b * 100.0 / share for b in (1, 2, 4, 8, 16)} for share in SHARES}
    models = {name: ModelProfile(name, points, memory_mb=5.0) for name in NAMES}
    profile = DeviceProfile("gpu", models, memory_mb=100_000.0, where="gpu")
    interference = ConstantInterference(1.1) if disturbed else NoInterference()
    return DeviceType(profile=profile, shares=SHARES, interference=interference)


def problem(rates: dict[str, float], devices: int = 4, *, disturbed: bool = False) -> Problem:
    return Problem(
        tasks=tuple(
            Task(model=name, rate_rps=rate, slo_ms=60.0) for name, rate in rates.items() if rate
        ),
        devices=tuple(Device(number=number, type="gpu") for number in range(devices)),
        types={"gpu": device_type(disturbed=disturbed)},
        rules=Rules(memory=MemoryRules(process_mb=0.0, shared_weights=True)),
        move_cost=0.01,
    )


BEFORE = dict(zip(NAMES, (30.0, 100.0, 10.0, 250.0, 60.0, 5.0), strict=True))
PLAN = GletPlanner(effort=0.2).plan(problem(BEFORE))
RATES = st.fixed_dictionaries({name: FACTORS for name in NAMES}).map(
    lambda factors: {name: BEFORE[name] * factor for name, factor in factors.items()}
)


def test_at_the_same_rates_the_plan_is_the_same() -> None:
    assert PLAN.unmet == {}
    assert stayed(problem(BEFORE), PLAN, recheck=False) == PLAN
    assert assess(problem(BEFORE), stayed(problem(BEFORE), PLAN, recheck=True)).feasible
    assert Repair().plan(problem(BEFORE), PLAN) == PLAN


@FAST
@given(rates=RATES, recheck=st.booleans(), disturbed=st.booleans())
def test_staying_moves_nothing_and_keeps_every_promise(
    rates: dict[str, float], recheck: bool, disturbed: bool
) -> None:
    asked = problem(rates, disturbed=disturbed)
    stay = stayed(asked, PLAN, recheck=recheck or disturbed)
    assert moves(PLAN, stay) == 0
    assert assess(asked, stay).faults == ()
    there = {(gpulet.device, gpulet.share_pct) for gpulet in PLAN.gpulets}
    assert {(gpulet.device, gpulet.share_pct) for gpulet in stay.gpulets} <= there
    for name in NAMES:
        if 0.0 < rates[name] <= BEFORE[name] and not disturbed:
            assert name not in stay.unmet


def test_one_model_that_grows_takes_nothing_from_those_beside_it() -> None:
    grown = BEFORE | {"d": 2500.0}
    stay = stayed(problem(grown), PLAN, recheck=False)
    assert set(stay.unmet) == {"d"}
    carried = sum(s.rate_rps for g in stay.gpulets for s in g.models if s.model == "d")
    assert carried >= BEFORE["d"] * 0.999


def test_gpulets_on_devices_that_are_lost_go() -> None:
    used = sorted({gpulet.device for gpulet in PLAN.gpulets})
    asked = problem(BEFORE)
    left = msgspec.structs.replace(asked, devices=(Device(number=used[0] + 1, type="gpu"),))
    stay = stayed(left, PLAN, recheck=False)
    assert {gpulet.device for gpulet in stay.gpulets} <= {used[0] + 1}
    lost = {s.model for g in PLAN.gpulets if g.device == used[0] for s in g.models}
    assert lost <= set(stay.unmet)


@FAST
@given(rates=RATES, devices=st.integers(1, 4), disturbed=st.booleans())
def test_a_repair_serves_all_that_staying_serves(
    rates: dict[str, float], devices: int, disturbed: bool
) -> None:
    asked = problem(rates, devices, disturbed=disturbed)
    repair = Repair()
    found = repair.plan(asked, PLAN)
    assert assess(asked, found).faults == ()
    stay = stayed(asked, PLAN, recheck=True)
    for name, unmet_rps in found.unmet.items():
        assert unmet_rps <= stay.unmet.get(name, 0.0) * (1.0 + 1e-6) + 1e-6
    # What it remembers of the first call does not show in the second.
    assert repair.plan(asked, PLAN) == found


def test_a_repair_leaves_devices_alone_that_have_nothing_to_do_with_it() -> None:
    grown = BEFORE | {"c": 11.0}
    found = Repair().plan(problem(grown), PLAN)
    assert found.unmet == {}
    hosts = {g.device for g in found.gpulets for s in g.models if s.model == "c"}
    for number in {gpulet.device for gpulet in PLAN.gpulets} - hosts:
        assert found.on_device(number) == PLAN.on_device(number)


@FAST
@given(factors=st.lists(RATES, min_size=1, max_size=3))
def test_the_cost_of_what_is_kept_is_that_of_the_whole_plan(
    factors: list[dict[str, float]],
) -> None:
    cost = KeptCost(PLAN, 0.25)
    for rates in factors:
        asked = problem(rates)
        made = menus(asked)
        spaces = [Space(device.number, made["gpu"]) for device in asked.devices]
        insert_all(sorted((n, r) for n, r in rates.items() if r), [], list(spaces))
        found = cost.of(spaces)
        plan = _plan(spaces)
        used = {gpulet.device for gpulet in plan.gpulets}
        moved = moves(PLAN, plan)
        assert found == (
            pytest.approx(len(used) + 0.25 * moved),
            moved,
            sum(gpulet.share_pct for gpulet in plan.gpulets),
        )


def _plan(spaces: list[Space]) -> Plan:
    return Plan(gpulets=deduped(g for space in spaces for g in gpulets_of(space)))
