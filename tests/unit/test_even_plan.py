"""The even plan: equal gpulets, largest cost first, on whole cores."""

from glet.plan.even import EvenPlanner, Load, without
from glet.types.device import DeviceInfo
from glet.types.plan import GpuletPlan, ModelShare, Plan, problems


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


LOADS = {name: load(name, cost) for name, cost in (("a", 3.0), ("b", 5.0), ("c", 4.0), ("d", 1.0))}


def add(plan: Plan, model: str, cores: int = 2) -> Plan:
    made = EvenPlanner().add(plan, {0: cpu(cores)}, LOADS[model], LOADS)
    assert problems(made.gpulets) == []
    return made


def names(plan: Plan) -> list[tuple[int, list[str]]]:
    return [(g.share_pct, [share.model for share in g.models]) for g in plan.gpulets]


def test_one_more_model_moves_no_other() -> None:
    plan = EvenPlanner().plan({0: cpu(2)}, [LOADS["a"], LOADS["b"]])
    three = add(plan, "c")
    assert names(three) == [(50, ["b"]), (50, ["a", "c"])]
    assert three.gpulets[0] == plan.gpulets[0]
    assert sum(share.time_share for share in three.gpulets[1].models) == 1.0
    assert add(three, "c") == three


def test_one_more_model_gets_what_is_free() -> None:
    plan = EvenPlanner().plan({0: cpu(2)}, [LOADS["a"], LOADS["b"]])
    freed = without(plan, ["a"])
    assert names(freed) == [(50, ["b"])]
    assert names(add(freed, "d")) == [(50, ["b"]), (50, ["d"])]
    assert names(add(Plan(), "d")) == [(100, ["d"])]
    idle = Plan(gpulets=(GpuletPlan(device=0, share_pct=50, dedup=1), *freed.gpulets))
    assert names(add(idle, "d")) == [(50, ["d"]), (50, ["b"])]


def test_a_plan_with_rates_keeps_them() -> None:
    given = tuple(
        ModelShare(model=name, batch=4, rate_rps=20.0, duty_cycle_ms=10.0, time_share=0.5)
        for name in ("a", "b")
    )
    plan = Plan(gpulets=(GpuletPlan(device=0, share_pct=100, models=given),), unmet={"c": 5.0})
    made = add(plan, "c")
    assert made.gpulets[0].models[:2] == given
    assert made.gpulets[0].models[2].duty_cycle_ms == 10.0
    assert made.unmet == {}
    assert without(made, ["c"]).gpulets == plan.gpulets


def test_without_a_device_nothing_is_added() -> None:
    assert EvenPlanner().add(Plan(), {}, LOADS["a"], LOADS) == Plan()
