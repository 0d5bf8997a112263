"""The even plan: equal gpulets, largest cost first, on whole cores."""

from glet.plan.even import EvenPlanner, Load
from glet.types.device import DeviceInfo


def cpu(cores: int) -> DeviceInfo:
    return DeviceInfo(name="cpu", kind="cpu", type="cpu", cores=tuple(range(cores)))


def load(model: str, cost: float) -> Load:
    return Load(model=model, slo_ms=100.0, max_batch=8, cost=cost)


def test_largest_first_on_the_least_loaded() -> None:
    plan = EvenPlanner().plan({0: cpu(2)}, [load("a", 3), load("b", 5), load("c", 3)])
    assert [[m.model for m in g.models] for g in plan.gpulets] == [["b"], ["a", "c"]]
    assert [g.share_pct for g in plan.gpulets] == [50, 50]
    assert [g.dedup for g in plan.gpulets] == [0, 1]
    assert [m.time_share for m in plan.gpulets[1].models] == [0.5, 0.5]


def test_never_more_gpulets_than_models_or_cores() -> None:
    few = EvenPlanner().plan({0: cpu(8)}, [load("a", 1), load("b", 1), load("c", 1)])
    assert [g.share_pct for g in few.gpulets] == [33, 33, 33]
    one = EvenPlanner().plan({0: cpu(1)}, [load("a", 1), load("b", 1)])
    assert [(g.share_pct, len(g.models)) for g in one.gpulets] == [(100, 2)]


def test_emulated_devices_have_two_gpulets() -> None:
    device = DeviceInfo(name="p", kind="profiled", type="p", emulated=True)
    plan = EvenPlanner().plan({0: device, 3: device}, [load(name, 1) for name in "abcd"])
    assert sorted((g.device, g.share_pct) for g in plan.gpulets) == [
        (0, 50),
        (0, 50),
        (3, 50),
        (3, 50),
    ]


def test_without_devices_everything_is_unmet() -> None:
    plan = EvenPlanner().plan({}, [load("a", 1)])
    assert (plan.gpulets, plan.unmet) == ((), {"a": 0.0})
    assert EvenPlanner().plan({0: cpu(2)}, []).gpulets == ()
