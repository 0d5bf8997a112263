"""Gpulets keep number and cores across plans; cores are whole and disjoint."""

from hypothesis import given
from hypothesis import strategies as st

from glet.plan.layout import arrange
from glet.types.device import DeviceInfo
from glet.types.plan import GpuletPlan, ModelShare

CPU = DeviceInfo(name="cpu", kind="cpu", type="cpu", cores=(2, 3, 5, 7))


def gpulet(share_pct: int, *models: str, dedup: int = 0) -> GpuletPlan:
    shares = tuple(ModelShare(model=model, batch=1) for model in models)
    return GpuletPlan(device=0, share_pct=share_pct, dedup=dedup, models=shares)


def test_cores_are_disjoint_and_rounded_down() -> None:
    placed = arrange((), [gpulet(50, "a"), gpulet(45, "b")], CPU, 0)
    assert [p.cores for p in placed] == [(2, 3), (5,)]
    assert [p.given_pct for p in placed] == [50.0, 25.0]


def test_less_than_a_core_says_what_would_be_valid() -> None:
    (placed,) = arrange((), [gpulet(20, "a")], CPU, 0)
    assert (placed.cores, placed.given_pct) == ((), 0.0)
    assert "the smallest share that works is 25 %" in placed.error


def test_the_same_plan_changes_nothing() -> None:
    plan = [gpulet(50, "a"), gpulet(50, "b", dedup=1)]
    first = arrange((), plan, CPU, 0)
    assert arrange(first, plan, CPU, 2) == first


def test_models_stay_where_they_are_when_lines_change_places() -> None:
    first = arrange((), [gpulet(50, "a"), gpulet(50, "b", dedup=1)], CPU, 0)
    swapped = arrange(first, [gpulet(50, "b"), gpulet(50, "a", dedup=1)], CPU, 2)
    assert [(p.number, p.cores) for p in swapped] == [(1, (5, 7)), (0, (2, 3))]


def test_a_gpulet_of_another_share_keeps_number_and_cores() -> None:
    first = arrange((), [gpulet(50, "a"), gpulet(50, "b", dedup=1)], CPU, 0)
    smaller = arrange(first, [gpulet(25, "a"), gpulet(50, "b")], CPU, 2)
    assert [(p.number, p.cores) for p in smaller] == [(0, (2,)), (1, (5, 7))]
    larger = arrange(smaller, [gpulet(50, "b"), gpulet(50, "a", dedup=1)], CPU, 2)
    assert [(p.number, p.cores) for p in larger] == [(1, (5, 7)), (0, (2, 3))]
    assert [p.given_pct for p in larger] == [50.0, 50.0]


def test_what_is_too_small_comes_back_when_it_is_not() -> None:
    first = arrange((), [gpulet(50, "a"), gpulet(20, "b")], CPU, 0)
    second = arrange(first, [gpulet(50, "a"), gpulet(25, "b")], CPU, 2)
    assert [bool(p.error) for p in (*first, *second)] == [False, True, False, False]
    assert second[1].number == 2


def test_emulated_devices_give_every_share_exactly() -> None:
    device = DeviceInfo(name="p", kind="profiled", type="p", emulated=True)
    (placed,) = arrange((), [gpulet(7, "a")], device, 0)
    assert (placed.given_pct, placed.cores, placed.error) == (7.0, (), "")


PLANS = st.lists(st.lists(st.sampled_from([10, 25, 33, 50, 75, 100]), max_size=4), max_size=4)


@given(PLANS)
def test_cores_are_never_given_twice(shares: list[list[int]]) -> None:
    placed = ()
    number = 0
    for plan in shares:
        fitting = [s for index, s in enumerate(plan) if sum(plan[: index + 1]) <= 100]
        placed = arrange(placed, [gpulet(s, dedup=i) for i, s in enumerate(fitting)], CPU, number)
        number = max((p.number + 1 for p in placed), default=number)
        cores = [core for p in placed for core in p.cores]
        assert len(set(cores)) == len(cores)
        assert set(cores) <= set(CPU.cores)
        for p in placed:
            assert len(p.cores) == p.share_pct * 4 // 100
            assert bool(p.error) == (not p.cores)
