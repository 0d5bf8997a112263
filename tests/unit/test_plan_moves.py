"""What a plan costs to get to, and device numbers that keep it little."""

from glet.plan.moves import moves, renumbered
from glet.types.plan import GpuletPlan, ModelShare, Plan


def gpulet(device: int, share_pct: int, *models: str, dedup: int = 0) -> GpuletPlan:
    return GpuletPlan(
        device=device,
        share_pct=share_pct,
        dedup=dedup,
        models=tuple(ModelShare(model=m, batch=1, rate_rps=1.0) for m in models),
    )


NOW = Plan(gpulets=(gpulet(0, 60, "a", "b"), gpulet(0, 40, "c"), gpulet(1, 100, "d")))


def test_the_same_plan_moves_nothing() -> None:
    assert moves(NOW, NOW) == 0


def test_another_batch_or_rate_moves_nothing() -> None:
    changed = Plan(
        gpulets=(
            GpuletPlan(
                device=1, share_pct=100, models=(ModelShare(model="d", batch=9, rate_rps=7.0),)
            ),
        )
    )
    assert moves(NOW, changed) == 0


def test_a_model_more_is_a_move_and_one_less_is_none() -> None:
    assert moves(NOW, Plan(gpulets=(gpulet(0, 60, "a", "b", "e"),))) == 1
    assert moves(NOW, Plan(gpulets=(gpulet(0, 60, "a"),))) == 0


def test_another_share_loads_all_of_a_gpulet_anew() -> None:
    assert moves(NOW, Plan(gpulets=(gpulet(0, 50, "a", "b"),))) == 2


def test_gpulets_of_one_share_are_told_apart_by_their_models() -> None:
    now = Plan(gpulets=(gpulet(0, 50, "a"), gpulet(0, 50, "b", dedup=1)))
    swapped = Plan(gpulets=(gpulet(0, 50, "b"), gpulet(0, 50, "a", dedup=1)))
    assert moves(now, swapped) == 0


def test_renumbered_finds_the_devices_again() -> None:
    types = {0: "x", 1: "x", 2: "x"}
    swapped = Plan(gpulets=(gpulet(1, 60, "a", "b"), gpulet(1, 40, "c"), gpulet(0, 100, "d")))
    again = renumbered(NOW, swapped, types)
    assert moves(NOW, swapped) == 4
    assert moves(NOW, again) == 0
    assert {g.device for g in again.gpulets} == {0, 1}


def test_renumbered_keeps_to_types_and_uses_every_device_once() -> None:
    types = {0: "x", 1: "y", 2: "x"}
    wanted = Plan(gpulets=(gpulet(0, 100, "d"), gpulet(1, 60, "a", "b"), gpulet(2, 40, "z")))
    again = renumbered(NOW, wanted, types)
    by_models = {tuple(m.model for m in g.models): g.device for g in again.gpulets}
    assert by_models[("a", "b")] == 1
    assert {types[by_models[("d",)]], types[by_models[("z",)]]} == {"x"}
    assert len(set(by_models.values())) == 3
