"""Steps between plans: they lead there, and what is made comes before what is broken."""

from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glet.errors import ArgumentError
from glet.plan.diff import PlanStep, applied, canonical, diff
from glet.plan.match import match
from glet.types.plan import GpuletPlan, ModelShare, Plan, problems

SHARES = (10, 20, 25, 40, 50, 60, 80, 100)


def gpulet(share_pct: int, *models: str, dedup: int = 0, device: int = 0) -> GpuletPlan:
    shares = tuple(ModelShare(model=model, batch=4) for model in models)
    return GpuletPlan(device=device, share_pct=share_pct, dedup=dedup, models=shares)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Valid plans of up to three devices."""
    gpulets: list[GpuletPlan] = []
    for device in range(draw(st.integers(1, 3))):
        free_pct = 100
        names: Counter[int] = Counter()
        for share_pct in draw(st.lists(st.sampled_from(SHARES), max_size=5)):
            if share_pct > free_pct:
                continue
            free_pct -= share_pct
            models = tuple(
                ModelShare(model=model, batch=draw(st.sampled_from([1, 8])))
                for model in sorted(draw(st.sets(st.sampled_from("abcde"), max_size=3)))
            )
            dedup = names[share_pct]
            names[share_pct] += 1
            gpulets.append(
                GpuletPlan(device=device, share_pct=share_pct, dedup=dedup, models=models)
            )
    plan = Plan(gpulets=tuple(gpulets))
    assert problems(plan.gpulets) == []
    return plan


def used_pct(plan: Plan) -> Counter[int]:
    used: Counter[int] = Counter()
    for part in plan.gpulets:
        used[part.device] += part.share_pct
    return used


@given(plans(), plans(), st.booleans())
def test_the_steps_lead_to_the_wanted_plan(current: Plan, wanted: Plan, overlaps: bool) -> None:
    steps = diff(current, wanted, overlaps=overlaps)
    assert applied(current, steps).gpulets == canonical(wanted).gpulets


@settings(max_examples=50)
@given(plans(), plans())
def test_shares_never_exceed_the_device(current: Plan, wanted: Plan) -> None:
    steps = diff(current, wanted)
    for count in range(len(steps) + 1):
        assert max(used_pct(applied(current, steps[:count])).values(), default=0) <= 100


@settings(max_examples=50)
@given(plans(), plans(), st.booleans())
def test_who_is_served_before_and_after_is_served_in_between(
    current: Plan, wanted: Plan, overlaps: bool
) -> None:
    both = set(current.models()) & set(wanted.models())
    together = used_pct(current) + used_pct(wanted)
    if not overlaps and max(together.values(), default=0) > 100:
        return
    steps = diff(current, wanted, overlaps=overlaps)
    for count in range(len(steps) + 1):
        assert both <= set(applied(current, steps[:count]).models())


@given(plans())
def test_nothing_to_do_is_no_step(plan: Plan) -> None:
    assert diff(plan, plan) == ()
    assert diff(plan, canonical(plan)) == ()


@settings(max_examples=50)
@given(plans(), plans())
def test_what_is_the_same_in_both_plans_is_left_alone(current: Plan, wanted: Plan) -> None:
    touched = {(s.device, s.share_pct, s.dedup) for s in diff(current, wanted)}
    alone = Counter(
        kind(part)
        for part in current.gpulets
        if (part.device, part.share_pct, part.dedup) not in touched
    )
    in_both = Counter(map(kind, current.gpulets)) & Counter(map(kind, wanted.gpulets))
    assert in_both <= alone


def kind(part: GpuletPlan) -> tuple[int, int, tuple[ModelShare, ...]]:
    return (part.device, part.share_pct, part.models)


def test_a_gpulet_that_differs_in_its_share_is_resized() -> None:
    steps = diff(Plan(gpulets=(gpulet(50, "a"),)), Plan(gpulets=(gpulet(60, "a"),)))
    assert steps == (
        PlanStep(kind="resize", device=0, share_pct=50, dedup=0, to_share_pct=60, to_dedup=0),
    )


def test_a_model_is_loaded_and_switched_before_it_is_drained_elsewhere() -> None:
    current = Plan(gpulets=(gpulet(50, "a", "b"), gpulet(40, "c")))
    wanted = Plan(gpulets=(gpulet(50, "a"), gpulet(40, "c", "b")))
    steps = diff(current, wanted)
    assert [(s.kind, s.share_pct, s.model) for s in steps] == [
        ("load", 40, "b"),
        ("switch", 40, "b"),
        ("drain", 50, "b"),
        ("unload", 50, "b"),
    ]


def test_without_room_one_shrinks_before_the_other_grows() -> None:
    current = Plan(gpulets=(gpulet(40, "a"), gpulet(60, "b")))
    wanted = Plan(gpulets=(gpulet(60, "a"), gpulet(40, "b")))
    pairs = [(s.share_pct, s.to_share_pct) for s in diff(current, wanted)]
    assert pairs == [(60, 40), (40, 60)]
    overlapping = [(s.share_pct, s.to_share_pct) for s in diff(current, wanted, overlaps=True)]
    assert overlapping == [(40, 60), (60, 40)]


def test_room_comes_from_the_gpulet_that_is_missed_least() -> None:
    current = Plan(gpulets=(gpulet(50, "a"), gpulet(50, "b", dedup=1), gpulet(10, "a", device=1)))
    wanted = Plan(gpulets=(gpulet(100, "b"), gpulet(10, "a", device=1)))
    steps = diff(current, wanted)
    assert [(s.kind, s.model) for s in steps] == [
        ("drain", "a"),
        ("unload", "a"),
        ("release", ""),
        ("resize", ""),
    ]


def test_a_move_to_another_device_is_made_there_first() -> None:
    current = Plan(gpulets=(gpulet(100, "a"),))
    wanted = Plan(gpulets=(gpulet(100, "a", device=1),))
    kinds = [(s.kind, s.device) for s in diff(current, wanted)]
    made, broken = kinds[:3], kinds[3:]
    assert made == [("create", 1), ("load", 1), ("switch", 1)]
    assert broken == [("drain", 0), ("unload", 0), ("release", 0)]


def test_a_step_that_does_not_fit_is_refused() -> None:
    step = PlanStep(kind="drain", device=0, share_pct=50, dedup=0, model="b")
    with pytest.raises(ArgumentError, match="gpulet 50 % dedup 0 of device 0 does not serve 'b'"):
        applied(Plan(gpulets=(gpulet(50, "a"),)), [step])


@settings(max_examples=50)
@given(plans(), plans())
def test_the_match_has_most_models_in_common_and_then_least_change(
    current: Plan, wanted: Plan
) -> None:
    now, then = current.on_device(0), wanted.on_device(0)
    pairs = match(now, then)
    assert len(set(pairs.values())) == len(pairs) == min(len(now), len(then))
    assert worth(now, then, pairs) == best_worth(now, then)


def worth(
    now: tuple[GpuletPlan, ...], then: tuple[GpuletPlan, ...], pairs: dict[int, int]
) -> tuple[int, int]:
    def names(part: GpuletPlan) -> set[str]:
        return {share.model for share in part.models}

    common = sum(len(names(now[n]) & names(then[t])) for t, n in pairs.items())
    return common, -sum(abs(now[n].share_pct - then[t].share_pct) for t, n in pairs.items())


def best_worth(now: tuple[GpuletPlan, ...], then: tuple[GpuletPlan, ...]) -> tuple[int, int]:
    if len(now) >= len(then):
        options = [dict(enumerate(p)) for p in permutations(range(len(now)), len(then))]
    else:
        chosen = permutations(range(len(then)), len(now))
        options = [{t: n for n, t in enumerate(p)} for p in chosen]
    return max(worth(now, then, pairs) for pairs in options)
