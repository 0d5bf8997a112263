"""Every broken promise has its line, and what a plan gives is counted by hand."""

import math
from collections.abc import Sequence

import msgspec
import pytest

from glet.plan.assess import assess, latencies_ms, memory_limit_mb, memory_of, slowdowns
from glet.plan.fit import Want
from glet.plan.problem import Device, DeviceType, MemoryRules, Problem, Rules, Task
from glet.profiles.device_profile import DeviceProfile, ModelProfile
from glet.profiles.interference import Interference, NoInterference, Tenant
from glet.types.plan import GpuletPlan, ModelShare, Plan


def table(floor_ms: float, work_ms: float, largest: int = 32) -> list[float]:
    return [floor_ms + work_ms * batch for batch in range(1, largest + 1)]


def profile(memory_mb: float = 10000.0) -> DeviceProfile:
    """Twice as slow on half of the device: a takes 2 + batch ms, b 4 + 2 batch."""
    models = {
        name: ModelProfile(
            name,
            {
                100: dict(enumerate(table(floor, work), start=1)),
                50: dict(enumerate(table(2 * floor, 2 * work), start=1)),
            },
            memory_mb=size_mb,
        )
        for name, floor, work, size_mb in (("a", 2, 1, 500), ("b", 4, 2, 3000), ("u", 0, 1, 10))
    }
    return DeviceProfile("t", models, memory_mb=memory_mb, where="here")


class PerNeighbour(NoInterference):
    """A tenth slower per neighbour, twice that beside b; u does not care."""

    name = "per neighbour"

    def slowdown(self, victim: Tenant, others: Sequence[Tenant]) -> float:
        return 1.0 if victim.model == "u" else 1.0 + 0.1 * sum(1 + (o.model == "b") for o in others)


A = Task(model="a", rate_rps=500.0, slo_ms=8.0)
B = Task(model="b", rate_rps=100.0, slo_ms=40.0)
# 2 come in 4 ms and take 4 ms.
A_WHOLE = ModelShare(model="a", batch=2, rate_rps=500.0, duty_cycle_ms=4.0)
B_WHOLE = ModelShare(model="b", batch=1, rate_rps=100.0, duty_cycle_ms=10.0)


def problem(
    *tasks: Task,
    interference: Interference = NoInterference(),  # noqa: B008 (it has no state)
    memory_mb: float = 10000.0,
    rules: Rules = Rules(latency_ratio=1.0),  # noqa: B008 (frozen)
) -> Problem:
    device = DeviceType(profile=profile(memory_mb), shares=(50, 100), interference=interference)
    return Problem(
        tasks=tasks or (A,),
        devices=(Device(number=0, type="t"), Device(number=7, type="t")),
        types={"t": device},
        rules=rules,
    )


def plan(*models: ModelShare, share_pct: int = 100, device: int = 0) -> Plan:
    return Plan(gpulets=(GpuletPlan(device=device, share_pct=share_pct, models=models),))


def test_a_sound_plan() -> None:
    judged = assess(problem(A, B), Plan(gpulets=(*plan(A_WHOLE).gpulets,), unmet={"b": 100.0}))
    assert judged.faults == ()
    assert (judged.devices_used, judged.feasible) == (1, False)
    assert judged.unmet == {"b": 100.0}
    assert judged.memory_mb == {0: 1730.0}
    ((served,),) = [gpulet.models for gpulet in judged.gpulets]
    assert (served.model, served.batch, served.slowdown) == ("a", 2, 1.0)
    assert served.latency_ms == pytest.approx(8.0)
    assert served.occupancy == pytest.approx(1.0, rel=1e-4)
    assert judged.gpulets[0].occupancy == served.occupancy
    assert assess(problem(A), plan(A_WHOLE)).feasible


def test_an_idle_gpulet_uses_no_device() -> None:
    both = Plan(gpulets=(*plan(A_WHOLE).gpulets, GpuletPlan(device=7, share_pct=50)))
    judged = assess(problem(A), both)
    assert (judged.faults, judged.devices_used) == ((), 1)
    assert judged.memory_mb == {0: 1730.0, 7: 0.0}


def test_latencies_of_turns() -> None:
    short, long = Want("a", 250, 99, table(2, 1)), Want("b", 100, 99, table(4, 2))
    # The cycle of 6 + 8 ms, in which 3.5 and 1.4 come, and the own batch.
    assert latencies_ms([short, long], [4, 2], 1.0, turns=True) == [20.0, 22.0]
    assert latencies_ms([short, long], [3, 2], 1.0, turns=True) == [math.inf, math.inf]
    # 1.5 times as long: 21 ms, in which 5.25 come.
    assert latencies_ms([short, long], [4, 3], 1.5, turns=True) == [math.inf, math.inf]
    # One comes in a cycle of 3 ms, however large a batch may be.
    assert latencies_ms([short], [2], 1.0, turns=True) == [6.0]
    assert latencies_ms([short, long], [9, 9], 1.0, turns=True) == [20.0, 22.0]
    # One at a time, each before the next comes.
    assert latencies_ms([short._replace(rate_rps=333)], [1], 1.0, turns=True) == [3.0]
    assert latencies_ms([short._replace(rate_rps=334)], [1], 1.0, turns=True) == [math.inf]


def test_latencies_of_deadlines() -> None:
    # a every 10 ms for 1 ms, behind one batch of b that has just begun; b's jobs of 6, every 4 ms
    # for 2.8 ms: the first of the six waits 5 / 1.5 ms, then behind one a.
    urgent, patient = Want("a", 100, 4, table(0, 1)), Want("b", 1500, 21, table(1, 0.3))
    found = latencies_ms([urgent, patient], [1, 6], 1.0, turns=False)
    assert found == pytest.approx([3.8, 5 / 1.5 + 3.8], rel=1e-5)
    assert latencies_ms([urgent, patient], [1, 20], 1.0, turns=False) == [math.inf, math.inf]


def test_own_duty_cycles_are_judged_by_deadlines() -> None:
    tasks = (Task(model="u", rate_rps=100, slo_ms=4), Task(model="a", rate_rps=400, slo_ms=60))
    shares = (
        ModelShare(model="u", batch=1, rate_rps=100, duty_cycle_ms=10.0),
        ModelShare(model="a", batch=1, rate_rps=200, duty_cycle_ms=5.0),
    )
    # By turns u had to wait for a cycle of 4 ms and itself.
    judged = assess(problem(*tasks), msgspec.structs.replace(plan(*shares), unmet={"a": 200.0}))
    assert judged.faults == ()
    assert [m.latency_ms for m in judged.gpulets[0].models] == pytest.approx([4.0, 4.0], rel=1e-4)
    turns = [msgspec.structs.replace(share, duty_cycle_ms=4.0) for share in shares]
    judged = assess(problem(*tasks), msgspec.structs.replace(plan(*turns), unmet={"a": 200.0}))
    assert len(judged.faults) == 1
    assert "u takes up to 5.000 ms, its SLO is 4 ms" in judged.faults[0]


def faults_of(asked: Problem, offered: Plan) -> str:
    """The one fault there is."""
    judged = assess(asked, offered)
    assert not judged.feasible
    (fault,) = judged.faults
    return fault


def test_over_the_whole_device() -> None:
    half = ModelShare(model="b", batch=1, rate_rps=50, duty_cycle_ms=20.0)
    gpulets = tuple(GpuletPlan(device=0, share_pct=share, models=(half,)) for share in (100, 50))
    assert faults_of(problem(B), Plan(gpulets=gpulets)) == (
        "shares of device 0 add up to 150 %; at most 100 is valid"
    )


def test_memory() -> None:
    # 1230 + 500 of 90 % of 1900.
    assert faults_of(problem(A, memory_mb=1900.0), plan(A_WHOLE)) == (
        "device 0: needs 1730 MB, 1710 MB are usable"
    )
    assert assess(problem(A, memory_mb=1930.0), plan(A_WHOLE)).feasible
    assert assess(problem(A, memory_mb=0.0), plan(A_WHOLE)).feasible  # not known: no limit


def test_memory_by_hand() -> None:
    device = problem().types["t"]
    apart, shared = Rules(), Rules(memory=MemoryRules(shared_weights=True))
    gpulets = [["a", "b"], ["a"], []]
    assert memory_of(gpulets, device, apart) == 2 * 1230 + 2 * 500 + 3000
    assert memory_of(gpulets, device, shared) == 1230 + 500 + 3000
    assert memory_of([[]], device, shared) == 0.0
    assert memory_limit_mb(device, apart) == 9000.0
    assert memory_limit_mb(device, Rules(memory=MemoryRules(usable=0.5))) == 5000.0


def test_beyond_the_objective() -> None:
    tight = msgspec.structs.replace(A, slo_ms=7.5)
    assert faults_of(problem(tight), plan(A_WHOLE)) == (
        "gpulet 100 % of device 0: a takes up to 8.000 ms, its SLO is 7.5 ms"
    )
    slower = problem(A, rules=Rules(latency_ratio=1.1))
    assert "a takes up to inf ms" in faults_of(slower, plan(A_WHOLE))
    small = msgspec.structs.replace(A_WHOLE, batch=1)
    assert "a takes up to inf ms" in faults_of(problem(A), plan(small))


def test_neighbours_slow_down() -> None:
    asked = problem(msgspec.structs.replace(B, slo_ms=15.0), interference=PerNeighbour())
    half = ModelShare(model="b", batch=1, rate_rps=50, duty_cycle_ms=20.0)
    pair = Plan(
        gpulets=tuple(
            GpuletPlan(device=0, share_pct=50, dedup=dedup, models=(half,)) for dedup in (0, 1)
        )
    )
    judged = assess(asked, pair)
    assert [g.models[0].slowdown for g in judged.gpulets] == [1.2, 1.2]
    assert [g.models[0].latency_ms for g in judged.gpulets] == pytest.approx([14.4, 14.4])
    assert judged.feasible
    alone = plan(msgspec.structs.replace(B_WHOLE, rate_rps=100.0))
    assert assess(asked, alone).gpulets[0].models[0].slowdown == 1.0
    tighter = msgspec.structs.replace(asked, tasks=(msgspec.structs.replace(B, slo_ms=14.0),))
    assert len(assess(tighter, pair).faults) == 2


def test_slowdown_is_the_worst_of_each_gpulet() -> None:
    a, b, u = (Tenant(model, 4, 50) for model in "abu")
    worst = slowdowns(PerNeighbour(), [u, a], [[a, b], [a], []])
    assert worst == pytest.approx(1.3)  # beside b and a
    assert slowdowns(PerNeighbour(), [u], [[b]]) == 1.0
    assert slowdowns(PerNeighbour(), [], [[b]]) == 1.0
    assert slowdowns(PerNeighbour(), [a], []) == 1.0


@pytest.mark.parametrize(
    ("tasks", "offered", "messages"),
    [
        pytest.param(
            (A,),
            plan(A_WHOLE, msgspec.structs.replace(B_WHOLE, duty_cycle_ms=4.0)),
            ["gpulet 100 % of device 0: nobody asked for b"],
            id="not asked for",
        ),
        pytest.param(
            (A, Task(model="z", rate_rps=1, slo_ms=9)),
            plan(ModelShare(model="z", batch=1, rate_rps=1)),
            ["gpulet 100 % of device 0: here: has no model 'z'", "a: 0 rps are placed"],
            id="no profile",
        ),
        pytest.param(
            (B,),
            plan(B_WHOLE, share_pct=70),
            ["gpulet 70 % of device 0: is a share that t cannot give"],
            id="no such share",
        ),
        pytest.param(
            (A,),
            plan(msgspec.structs.replace(A_WHOLE, batch=33)),
            ["profile of 'a' has no batch 33; valid is 1..32"],
            id="no such batch",
        ),
        pytest.param((A,), plan(A_WHOLE, device=3), ["device 3 is not there"], id="no such device"),
        pytest.param(
            (A,),
            plan(msgspec.structs.replace(A_WHOLE, rate_rps=499.0)),
            ["a: 499 rps are placed and 0 unmet, wanted are 500"],
            id="too little",
        ),
        pytest.param(
            (A,),
            msgspec.structs.replace(plan(A_WHOLE), unmet={"a": 5.0}),
            ["a: 500 rps are placed and 5 unmet, wanted are 500"],
            id="too much",
        ),
    ],
)
def test_faults(tasks: tuple[Task, ...], offered: Plan, messages: list[str]) -> None:
    found = assess(problem(*tasks), offered).faults
    for message in messages:
        assert any(message in fault for fault in found), found


def test_limits_of_the_rules() -> None:
    two = Rules(latency_ratio=1.0, max_models=1, max_gpulets=1)
    asked = problem(B, Task(model="u", rate_rps=1, slo_ms=90), rules=two)
    b, u = (
        ModelShare(model=model, batch=batch, rate_rps=rate, duty_cycle_ms=20.0)
        for model, batch, rate in (("b", 4, 100.0), ("u", 1, 1.0))
    )
    assert faults_of(asked, plan(b, u)) == "gpulet 100 % of device 0: has more than 1 models"
    apart = tuple(
        GpuletPlan(device=0, share_pct=50, dedup=dedup, models=(model,))
        for dedup, model in enumerate((b, u))
    )
    idle = Plan(gpulets=(apart[0], GpuletPlan(device=0, share_pct=50, dedup=1)), unmet={"u": 1.0})
    slower = msgspec.structs.replace(
        asked, tasks=(msgspec.structs.replace(B, slo_ms=60.0), asked.tasks[1])
    )
    assert faults_of(slower, Plan(gpulets=apart)) == "device 0: more than 1 gpulets"
    assert assess(slower, idle).faults == ()
