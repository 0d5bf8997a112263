"""The steps by which glet's planner makes a plan: menus, pieces, merging, packing, inserting."""

import numpy as np
import pytest

from glet.plan.build import build, cut, merge, pack
from glet.plan.dissolve import dissolve
from glet.plan.insert import insert
from glet.plan.keep import kept
from glet.plan.menu import Menu, least_area
from glet.plan.problem import Device, DeviceType, MemoryRules, Problem, Rules, Task
from glet.plan.search import empty, ruin_and_recreate
from glet.plan.space import Slot, Space
from glet.plan.split import split
from glet.profiles.device_profile import DeviceProfile, ModelProfile
from glet.profiles.interference import ConstantInterference, Interference, NoInterference
from glet.types.plan import GpuletPlan, ModelShare, Plan

SHARES = (20, 40, 60, 80, 100)


def menu(
    rates: dict[str, float],
    *,
    work_ms: float = 2.0,
    slo_ms: float = 100.0,
    interference: Interference = NoInterference(),  # noqa: B008
    memory: MemoryRules = MemoryRules(shared_weights=True),  # noqa: B008
) -> Menu:
    """Models of `work_ms` a request on the whole device, in inverse proportion on a part of it."""
    table = {s: {b: 1.0 + work_ms * b * 100.0 / s for b in (1, 32)} for s in SHARES}
    profiles = {name: ModelProfile(name, table, memory_mb=1000.0) for name in rates}
    kind = DeviceType(
        profile=DeviceProfile("d", profiles, memory_mb=10_000.0, where="d"),
        shares=SHARES,
        interference=interference,
    )
    problem = Problem(
        tasks=tuple(Task(model=m, rate_rps=r, slo_ms=slo_ms) for m, r in rates.items()),
        devices=(Device(number=0, type="d"),),
        types={"d": kind},
        rules=Rules(latency_ratio=1.0, memory=memory),
    )
    return Menu(problem, kind)


def slot(made: Menu, share_pct: int, **rates: float) -> Slot:
    parts = tuple(sorted(rates.items()))
    size = SHARES.index(share_pct)
    found = made.fit(parts, size)
    assert found is not None
    return Slot(size, parts, found)


def rates_of(slots: list[Slot]) -> dict[str, float]:
    total: dict[str, float] = {}
    for each in slots:
        for model, rate_rps in each.parts:
            total[model] = total.get(model, 0.0) + rate_rps
    return total


def share(slots: list[Slot]) -> int:
    return sum(SHARES[each.size] for each in slots)


def test_least_area_is_that_of_the_best_batch_within_the_objective() -> None:
    tables = np.array([[10.0, 12.0, 40.0], [6.0, 8.0, 30.0]])
    # Half: batch 2 waits for half of 12 ms and runs 12; the whole: 3 requests in 30 ms are late.
    area = least_area(tables, (50, 100), slo_ms=20.0)
    assert area == pytest.approx(min(0.5 * 0.012 / 2, 0.008 / 2))
    assert least_area(tables, (50, 100), slo_ms=5.0) == np.inf


def test_a_menu_leaves_out_what_no_share_serves() -> None:
    made = menu({"a": 10.0}, slo_ms=2.9)
    assert not made.serves("a")
    made = menu({"a": 10.0}, slo_ms=3.1)
    # 3 ms a request on the whole device, one at a time.
    assert made.serves("a")
    assert SHARES[made.least["a"]] == 100
    assert made.lone_rps["a"][-1] == pytest.approx(1000.0 / 3.0)


@pytest.mark.parametrize("rate_rps", [1.0, 80.0, 433.0, 1000.0, 5000.0])
def test_cut_carries_the_rate_and_takes_no_more_than_one_piece_too_many(rate_rps: float) -> None:
    made = menu({"a": rate_rps})
    pieces = cut(made, "a", rate_rps)
    assert rates_of(pieces)["a"] == pytest.approx(rate_rps)
    needed_pct = 100.0 * rate_rps * made.area["a"]
    assert needed_pct <= share(pieces) <= 1.15 * needed_pct + 20


def test_merge_puts_small_pieces_together() -> None:
    made = menu(dict.fromkeys("abcd", 20.0))
    pieces = [slot(made, 20, **{name: 20.0}) for name in "abcd"]
    merged = merge(made, pieces)
    assert rates_of(merged) == pytest.approx(dict.fromkeys("abcd", 20.0))
    assert share(merged) < share(pieces)
    assert all(len(each.parts) <= 3 for each in merged)


def test_merge_leaves_apart_what_would_be_late() -> None:
    made = menu(dict.fromkeys("ab", 50.0), slo_ms=23.0)
    pieces = [slot(made, 20, **{name: 50.0}) for name in "ab"]
    # A request takes 11 ms; with a turn of the other before it 33.
    assert share(merge(made, pieces)) >= share(pieces)


def test_dissolve_gives_a_badly_used_gpulet_up() -> None:
    made = menu({"a": 150.0, "b": 150.0, "c": 10.0})
    slots = [slot(made, 40, a=130.0), slot(made, 40, b=130.0), slot(made, 20, c=10.0)]
    fewer = dissolve(made, slots, budget=1000)
    assert rates_of(fewer) == pytest.approx(rates_of(slots))
    # One of 40 % goes beside the other, which grows by 20 %.
    assert share(fewer) == 60
    assert dissolve(made, slots, budget=0) == slots


def test_pack_fills_devices_best_fit_and_says_what_is_left() -> None:
    made = menu({"a": 1.0})
    spaces = [Space(number, made) for number in range(2)]
    slots = [slot(made, pct, a=1.0) for pct in (60, 40, 80, 20, 60)]
    left = pack(slots, spaces)
    assert sorted(space.free_pct for space in spaces) == [0, 0]
    assert left == [("a", 1.0)]


def test_a_space_refuses_what_does_not_hold() -> None:
    made = menu({"a": 1.0, "b": 1.0})
    space = Space(0, made)
    assert space.put(slot(made, 80, a=1.0))
    assert not space.put(slot(made, 40, b=1.0))
    assert space.free_pct == 20
    assert space.put(slot(made, 20, b=1.0))
    assert space.drop(0).has("a")
    assert space.free_pct == 80


def test_a_space_counts_memory_by_the_rules() -> None:
    # 9,000 MB are usable; a gpulet is 1,230 and 1,000 for its model.
    apart = menu({"a": 1.0}, memory=MemoryRules())
    space = Space(0, apart)
    assert [space.put(slot(apart, 20, a=1.0)) for _ in range(5)] == [True] * 4 + [False]
    shared = menu({"a": 1.0}, memory=MemoryRules(shared_weights=True))
    space = Space(0, shared)
    assert all(space.put(slot(shared, 20, a=1.0)) for _ in range(5))


def test_a_space_settles_what_neighbours_do_to_each_other() -> None:
    made = menu({"a": 60.0, "b": 60.0}, interference=ConstantInterference(1.5))
    space = Space(0, made)
    assert space.put(slot(made, 40, a=60.0))
    assert [each.factor for each in space.slots] == [1.0]
    assert space.put(slot(made, 40, b=60.0))
    assert [each.factor for each in space.slots] == [1.5, 1.5]
    full = Space(1, made)
    most = made.lone_rps["a"][1] * 0.99
    assert full.put(slot(made, 40, a=most))
    # Beside anybody it would be late.
    assert not full.put(slot(made, 40, b=60.0))
    assert len(full.slots) == 1


def test_insert_takes_time_beside_others_before_share_of_its_own() -> None:
    made = menu({"a": 60.0, "b": 20.0})
    spaces = [Space(0, made)]
    assert spaces[0].put(slot(made, 40, a=60.0))
    assert insert("b", 20.0, spaces) == 0.0
    assert spaces[0].used_pct == 40
    assert len(spaces[0].slots) == 1


def test_insert_splits_over_devices_only_when_it_has_to() -> None:
    made = menu({"a": 900.0, "b": 900.0})
    spaces = [Space(number, made) for number in range(2)]
    for space in spaces:
        assert space.put(slot(made, 60, b=made.lone_rps["b"][2]))
    rate_rps = made.lone_rps["a"][1] * 1.5
    assert insert("a", rate_rps, spaces, split=False) == rate_rps
    assert insert("a", rate_rps, spaces) == 0.0
    assert all(any(each.has("a") for each in space.slots) for space in spaces)
    assert insert("a", 900.0, spaces) > 0.0


def test_build_reports_what_is_left_over() -> None:
    made = menu({"a": 2000.0, "b": 30.0})
    spaces = [Space(number, made) for number in range(2)]
    left = build(made, {"a": 2000.0, "b": 30.0}, spaces, 1.0)
    placed = rates_of([each for space in spaces for each in space.slots])
    assert placed.get("b", 0.0) + left.get("b", 0.0) == pytest.approx(30.0)
    assert placed["a"] + left["a"] == pytest.approx(2000.0)
    assert left["a"] > 0.0


def judge(spaces: object, left: dict[str, float]) -> tuple[float, ...]:
    assert isinstance(spaces, list)
    return (sum(left.values()), sum(1 for space in spaces if space.slots))


def test_empty_frees_a_device_that_others_have_room_for() -> None:
    made = menu({"a": 60.0, "b": 60.0, "c": 10.0})
    spaces = [Space(number, made) for number in range(3)]
    for space, (name, rate_rps) in zip(
        spaces, (("a", 60.0), ("b", 60.0), ("c", 10.0)), strict=True
    ):
        assert space.put(slot(made, 40, **{name: rate_rps}))
    after, left = empty(spaces, {}, judge, stop=10_000)
    assert left == {}
    assert sum(1 for space in after if space.slots) == 1
    assert rates_of([each for space in after for each in space.slots]) == pytest.approx(
        {"a": 60.0, "b": 60.0, "c": 10.0}
    )


def test_ruin_and_recreate_keeps_all_rates_and_is_never_worse() -> None:
    made = menu({"a": 60.0, "b": 60.0, "c": 10.0})
    spaces = [Space(number, made) for number in range(3)]
    for space, (name, rate_rps) in zip(
        spaces, (("a", 60.0), ("b", 60.0), ("c", 10.0)), strict=True
    ):
        assert space.put(slot(made, 100, **{name: rate_rps}))
    rng = np.random.default_rng(0)
    after, left = ruin_and_recreate(spaces, {}, judge, (made.fits + 500, -1.0), rng)
    assert judge(after, left) <= judge(spaces, {})
    assert rates_of([each for space in after for each in space.slots]) == pytest.approx(
        {"a": 60.0, "b": 60.0, "c": 10.0}
    )


def test_kept_keeps_gpulets_and_places_the_rest() -> None:
    made = menu({"a": 300.0, "b": 20.0})
    models = (ModelShare(model="a", batch=4, rate_rps=100.0), ModelShare(model="z", batch=1))
    current = Plan(gpulets=(GpuletPlan(device=1, share_pct=40, models=models),))
    spaces = [Space(number, made) for number in range(2)]
    left = kept(current, {"a": 300.0, "b": 20.0}, spaces)
    assert left == {}
    # The gpulet keeps what it carries, the device in use takes the rest.
    assert SHARES[spaces[1].slots[0].size] == 40
    assert spaces[1].slots[0].rate_of("a") > 100.0
    assert not spaces[0].slots
    placed = rates_of([each for space in spaces for each in space.slots])
    assert placed == pytest.approx({"a": 300.0, "b": 20.0})


def test_split_gives_every_rate_to_some_type() -> None:
    made = menu({"a": 300.0, "b": 20.0})
    problem = Problem(
        tasks=tuple(
            Task(model=m, rate_rps=r, slo_ms=100.0) for m, r in (("a", 300.0), ("b", 20.0))
        ),
        devices=(Device(number=0, type="d"),),
        types={"d": made.type},
        rules=made.rules,
    )
    assert split(problem, {"d": made}) == {"d": pytest.approx({"a": 300.0, "b": 20.0})}
