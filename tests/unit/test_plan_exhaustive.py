"""The ideal, against searches that leave out nothing."""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations, product

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glet.errors import ArgumentError
from glet.plan.assess import assess
from glet.plan.ceiling import Capacity, Ceiling, Resource, layouts_of, without
from glet.plan.exhaustive import MOST_DEVICES, MOST_TASKS, ExhaustivePlanner
from glet.plan.fit import Want, fit, most_rate_rps
from glet.plan.problem import Device, DeviceType, MemoryRules, Problem, Rules, Task
from glet.profiles.device_profile import DeviceProfile, ModelProfile
from glet.profiles.interference import ConstantInterference
from glet.types.plan import Plan

PUBLISHED = (20, 40, 50, 60, 80, 100)
RULES = Rules(latency_ratio=1.0)


def model(name: str, floor_ms: float, work_ms: float, saturation: float) -> ModelProfile:
    return ModelProfile(
        name,
        {
            share: {
                batch: floor_ms + work_ms * batch / min(share / 100, saturation * batch**0.5)
                for batch in (1, 2, 4, 8, 16, 32)
            }
            for share in (20, 40, 50, 60, 80, 100)
        },
        memory_mb=1000.0,
    )


# a fills a device with large batches only, b never uses more than 40 % of it, c is for all sizes.
MODELS = {
    "a": model("a", 1.0, 0.5, 0.3),
    "b": model("b", 2.0, 0.4, 0.1),
    "c": model("c", 0.5, 1.0, 1.0),
}


def problem(
    *tasks: tuple[str, float, float],
    devices: int = 2,
    shares: tuple[int, ...] = PUBLISHED,
    memory_mb: float = 0.0,
    rules: Rules = RULES,
) -> Problem:
    profile = DeviceProfile("t", MODELS, memory_mb=memory_mb, where="here")
    return Problem(
        tasks=tuple(Task(model=m, rate_rps=rate, slo_ms=slo_ms) for m, rate, slo_ms in tasks),
        devices=tuple(Device(number=number, type="t") for number in range(devices)),
        types={"t": DeviceType(profile=profile, shares=shares)},
        rules=rules,
    )


def short(asked: Problem, plan: Plan) -> float:
    return sum(plan.unmet.get(task.model, 0.0) / task.rate_rps for task in asked.tasks)


def test_layouts() -> None:
    assert layouts_of(PUBLISHED, 1) == ((100,),)
    assert layouts_of(PUBLISHED, 2) == ((100,), (20, 80), (40, 60), (50, 50))
    assert {*layouts_of((25, 50, 100), 3)} == {(100,), (50, 50), (25, 25, 50)}
    assert layouts_of((14, 28, 42, 57), 2) == ((42, 57),)
    assert layouts_of((30,), 3) == ((30, 30, 30),)
    assert layouts_of((), 2) == ()
    assert without((20, 80), (80,)) == (20,)
    assert without((50, 50), (50, 50)) == ()
    assert without((20, 80), (50,)) is None


def test_one_device_when_one_is_enough() -> None:
    asked = problem(("a", 100, 40), ("b", 100, 40), ("c", 100, 40), devices=4)
    found = ExhaustivePlanner().search(asked)
    judged = assess(asked, found.plan)
    assert (judged.feasible, judged.devices_used, found.complete) == (True, 1, True)


def test_splits_a_rate_over_devices() -> None:
    # c alone on a whole device: 2 (0.5 + b) <= 41, so 20 in 20.5 ms.
    asked = problem(("c", 1900, 41))
    found = ExhaustivePlanner().search(asked)
    assert found.complete
    assert assess(asked, found.plan).devices_used == 2
    assert found.plan.unmet == {}
    more = problem(("c", 2000, 41))
    left = ExhaustivePlanner().search(more).plan.unmet["c"]
    assert left == pytest.approx(2000 - 2 * 20 / 0.0205, rel=1e-3)


def test_cuts_where_no_whole_device_would_do() -> None:
    # b is as fast on 40 %, and 60 % of c's device are enough for it: two models, one device.
    asked = problem(("b", 350, 30), ("c", 400, 30), devices=1)
    cut = ExhaustivePlanner().search(asked).plan
    assert assess(asked, cut).feasible
    assert [g.share_pct for g in cut.gpulets] == [60, 40]
    whole = ExhaustivePlanner(most_gpulets=1).search(asked)
    assert whole.complete
    assert whole.plan.unmet


def test_three_gpulets_where_asked() -> None:
    asked = problem(
        ("a", 5, 4.5), ("b", 5, 6.5), ("c", 5, 6), devices=1, shares=(20, 40, 60),
        rules=Rules(latency_ratio=1.0, max_models=1),
    )  # fmt: skip
    two, three = (ExhaustivePlanner(most_gpulets=most).search(asked) for most in (2, 3))
    assert two.complete
    assert short(asked, two.plan) == pytest.approx(1.0)
    assert three.plan.unmet == {}
    assert sum(g.share_pct for g in three.plan.gpulets) <= 100


@pytest.mark.parametrize(("shared", "devices"), [(False, 2), (True, 1)])
def test_memory_is_kept(shared: bool, devices: int) -> None:
    # 3330 MB hold two models in one process, and not two processes with a model each.
    rules = Rules(latency_ratio=1.0, max_models=1, memory=MemoryRules(shared_weights=shared))
    asked = problem(("b", 100, 40), ("c", 100, 40), memory_mb=3700.0, rules=rules)
    judged = assess(asked, ExhaustivePlanner().plan(asked))
    assert (judged.feasible, judged.devices_used) == (True, devices)


def test_neighbours_are_allowed_for() -> None:
    asked = problem(("b", 350, 30), ("c", 400, 30), devices=1)
    device = asked.types["t"]
    for factor, feasible in ((1.02, True), (2.0, False)):
        slower = msgspec.structs.replace(device, interference=ConstantInterference(factor))
        with_it = msgspec.structs.replace(asked, types={"t": slower})
        judged = assess(with_it, ExhaustivePlanner().plan(with_it))
        assert judged.faults == ()
        assert judged.feasible is feasible


def test_the_best_so_far_after_few_steps() -> None:
    asked = problem(("a", 900, 40), ("b", 700, 60), ("c", 900, 50), devices=3)
    few = ExhaustivePlanner(max_nodes=3).search(asked)
    assert not few.complete
    assert assess(asked, few.plan).faults == ()
    assert 0.0 < short(asked, few.plan) < 3.0
    more = ExhaustivePlanner().search(asked)
    assert short(asked, more.plan) <= short(asked, few.plan)


def test_a_model_without_profile_on_one_type_goes_to_the_other() -> None:
    other = DeviceProfile("o", {"a": MODELS["a"]}, memory_mb=0.0, where="there")
    asked = problem(("a", 50, 40), ("c", 50, 40), devices=1)
    both = msgspec.structs.replace(
        asked,
        devices=(Device(number=0, type="o"), Device(number=1, type="t")),
        types={**asked.types, "o": DeviceType(profile=other, shares=(100,))},
    )
    plan = ExhaustivePlanner().plan(both)
    assert plan.unmet == {}
    assert {g.device for g in plan.gpulets if any(m.model == "c" for m in g.models)} == {1}


def test_absurd_sizes_and_settings() -> None:
    with pytest.raises(ArgumentError, match=f"17 devices .* valid is 0..{MOST_DEVICES}$"):
        ExhaustivePlanner().plan(problem(("a", 1, 9), devices=17))
    many = [(f"m{i}", 1.0, 9.0) for i in range(11)]
    with pytest.raises(ArgumentError, match=f"11 tasks .* valid is 0..{MOST_TASKS}$"):
        ExhaustivePlanner().plan(problem(*many))
    for most in (0, 4):
        with pytest.raises(ArgumentError, match=f"most_gpulets is {most}; valid is 1, 2 or 3"):
            ExhaustivePlanner(most_gpulets=most)


SLOS = {"a": (8.0, 30.0), "b": (10.0, 30.0), "c": (6.0, 40.0)}
# Never equal, so that no two models have one duty cycle by chance.
RATES = {"a": (30, 150, 400, 900), "b": (31, 149, 403, 890), "c": (29, 151, 397, 910)}
TASKS = st.tuples(
    *[
        st.tuples(st.just(name), st.sampled_from(RATES[name]), st.sampled_from(slos))
        for name, slos in SLOS.items()
    ]
)


def fillings(asked: Problem, share: int, left: dict[str, float]) -> Iterator[dict[str, float]]:
    """Whole models, and at most one in part."""

    def want(name: str, rate: float) -> Want:
        table = MODELS[name].tables((share,))[0].tolist()
        return Want(name, rate, asked.task(name).slo_ms, table)

    names = [name for name, rate in left.items() if rate > 0]
    for size in range(asked.rules.max_models + 1):
        for whole in combinations(names, size):
            wants = [want(name, left[name]) for name in whole]
            if wants and fit(wants) is None:
                continue
            served = {name: left[name] for name in whole}
            yield served
            for name in (n for n in names if n not in whole and size < asked.rules.max_models):
                yield served | {name: most_rate_rps(want(name, left[name]), wants, steps=12)}


def least_short(asked: Problem, shares: Sequence[int], left: dict[str, float]) -> float:
    """By filling gpulets of these shares in this order in every way."""
    best = sum(rate / asked.task(name).rate_rps for name, rate in left.items())
    if not shares:
        return best
    for served in fillings(asked, shares[0], left):
        after = {name: rate - served.get(name, 0.0) for name, rate in left.items()}
        after = {name: rate if rate > 1e-6 else 0.0 for name, rate in after.items()}
        best = min(best, least_short(asked, shares[1:], after))
        if best == 0.0:
            return best
    return best


def least_of_all(asked: Problem, devices: int) -> float:
    layouts = layouts_of(asked.types["t"].shares, 2)
    left = {task.model: task.rate_rps for task in asked.tasks}
    orders = {
        order
        for chosen in product(layouts, repeat=devices)
        for order in permutations([share for layout in chosen for share in layout])
    }
    return min(least_short(asked, order, left) for order in orders)


@settings(max_examples=12, deadline=None)
@given(tasks=TASKS, max_models=st.integers(1, 2))
def test_as_good_as_a_search_that_leaves_out_nothing(
    tasks: tuple[tuple[str, float, float], ...], max_models: int
) -> None:
    rules = Rules(latency_ratio=1.0, max_models=max_models)
    asked = problem(*tasks, shares=(40, 60, 100), rules=rules)
    found = ExhaustivePlanner(max_nodes=100_000).search(asked)
    judged = assess(asked, found.plan)
    assert found.complete
    assert judged.faults == ()
    for devices in (1, 2):
        best = least_of_all(asked, devices)
        if best <= 1e-3:
            assert judged.devices_used <= devices
            assert short(asked, found.plan) <= 1e-3
            return
    assert short(asked, found.plan) == pytest.approx(best, abs=2e-3)


@given(
    most=st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500)), min_size=2, max_size=2),
    wanted=st.tuples(st.floats(1, 2000), st.floats(1, 2000)),
    parts=st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_no_way_to_fill_beats_the_ceiling(
    most: list[tuple[float, float]],
    wanted: tuple[float, float],
    parts: list[float],
) -> None:
    capacity = Capacity(((100,), (50, 50)), {50: most[0], 100: most[1]})
    ceiling = Ceiling(wanted, [capacity], [2])
    bound = ceiling.short(wanted, [Resource(0), Resource(0)])
    for shares in ((100, 100), (50, 50, 100), (50, 50, 50, 50)):
        served = [0.0, 0.0]
        for share, part in zip(shares, parts, strict=False):
            served[0] += part * capacity.most_rps[share][0]
            served[1] += (1.0 - part) * capacity.most_rps[share][1]
        missing = [max(0.0, w - s) / w for w, s in zip(wanted, served, strict=True)]
        assert bound <= math.fsum(missing) + 1e-6
