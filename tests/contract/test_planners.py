"""What every planner owes, over random instances; and that `glet` is never the worse choice."""

import math
from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from glet.plan.assess import Assessment, assess
from glet.plan.exhaustive import ExhaustivePlanner
from glet.plan.make import PLANNERS, make_planner
from glet.plan.problem import Device, DeviceType, MemoryRules, Planner, Problem, Rules, Task
from glet.profiles.device_profile import Demand, DeviceProfile, ModelProfile
from glet.profiles.interference import (
    BandwidthInterference,
    ConstantInterference,
    Interference,
    LinearInterference,
    NoInterference,
    Tenant,
    demands_of,
    draws_of,
)
from glet.types.plan import Plan, problems

OURS = "glet"
SHARES = ((20, 40, 50, 60, 80, 100), (14, 28, 42, 57, 71, 85, 100), (25, 50), (100,))
BATCHES = (1, 2, 4, 8, 16, 32)
SEEDS = (0.0, 0.137, 0.618)
# The same problems in every run; `derandomize=False` looks for new ones.
FAST = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
LONG = settings(FAST, max_examples=100)


class SizeInterference:
    """Grows with the neighbours' shares and batches; small gpulets and batches suffer more."""

    name = "size"

    def slowdown(self, victim: Tenant, others: Sequence[Tenant]) -> float:
        load = math.fsum(other.share_pct * (4 + other.batch) for other in others)
        return 1.0 + load / (8.0 * (50 + victim.share_pct) * (4 + victim.batch))


INTERFERENCES: tuple[Callable[[DeviceProfile], Interference], ...] = (
    lambda _: NoInterference(),
    lambda _: SizeInterference(),
    lambda _: ConstantInterference(1.15),
    lambda profile: LinearInterference((0.11, 0.72, 0.35, 0.09, 0.9), demands_of(profile)),
    lambda profile: BandwidthInterference(0.7, 0.8, draws_of(profile)),
)


def latency_ms(floor_ms: float, work_ms: float, saturation: float, share: int, batch: int) -> float:
    """A fixed part, and work that a small batch cannot spread over the whole device."""
    return floor_ms + work_ms * batch / min(share / 100, saturation * math.sqrt(batch))


@st.composite
def model_profiles(draw: st.DrawFn, name: str, slower: float) -> ModelProfile:
    floor_ms = slower * draw(st.sampled_from((0.2, 1.0, 3.0, 12.0)))
    work_ms = slower * draw(st.sampled_from((0.02, 0.1, 0.5, 2.0)))
    saturation = draw(st.sampled_from((0.1, 0.3, 0.6, 1.0)))
    largest = draw(st.sampled_from((4, 16, 32)))
    dram = draw(st.sampled_from((0.0, 0.2, 0.6)))
    return ModelProfile(
        name,
        {
            share: {
                batch: latency_ms(floor_ms, work_ms, saturation, share, batch)
                for batch in BATCHES
                if batch <= largest
            }
            for share in (10, 20, 25, 40, 50, 60, 80, 100)
        },
        memory_mb=draw(st.sampled_from((50.0, 600.0, 2500.0))),
        demands={1: Demand(l2=dram / 3, dram=dram / 2), 32: Demand(l2=dram / 2, dram=dram)},
    )


@st.composite
def device_types(draw: st.DrawFn, name: str, models: Sequence[str]) -> DeviceType:
    slower = draw(st.sampled_from((1.0, 1.0, 2.2)))
    profile = DeviceProfile(
        name,
        {model: draw(model_profiles(model, slower)) for model in models},
        memory_mb=draw(st.sampled_from((0.0, 4000.0, 11000.0))),
        where=name,
    )
    interference = draw(st.sampled_from(INTERFERENCES))(profile)
    return DeviceType(
        profile=profile, shares=draw(st.sampled_from(SHARES)), interference=interference
    )


@st.composite
def tasks(draw: st.DrawFn, model: str, profile: ModelProfile) -> Task:
    """An objective from below what is possible to easy, a rate from tiny to beyond one device."""
    batch = min(draw(st.sampled_from((1, 4, 32))), profile.max_batch)
    slo_ms = profile.latency_ms(100, batch) * draw(st.sampled_from((0.9, 1.2, 2.0, 2.4, 6.0)))
    whole_rps = 1000.0 * batch / profile.latency_ms(100, batch)
    part = draw(st.sampled_from((0.001, 0.02, 0.1, 0.3, 0.55, 0.9, 1.3)))
    return Task(model=model, rate_rps=whole_rps * part, slo_ms=slo_ms)


@st.composite
def instances(draw: st.DrawFn, most_models: int = 5) -> Problem:
    models = "abcdefgh"[: draw(st.integers(1, most_models))]
    types = [draw(device_types(name, models)) for name in ("x", "y")[: draw(st.integers(1, 2))]]
    names = draw(st.lists(st.sampled_from([t.name for t in types]), min_size=1, max_size=4))
    return Problem(
        tasks=tuple(draw(tasks(model, types[0].profile.model(model))) for model in models),
        devices=tuple(Device(number=3 * i, type=name) for i, name in enumerate(names)),
        types={t.name: t for t in types},
        rules=Rules(
            max_models=draw(st.integers(1, 4)),
            latency_ratio=draw(st.sampled_from((1.0, 1.1))),
            max_gpulets=draw(st.sampled_from((1, 2, 100))),
            memory=MemoryRules(shared_weights=draw(st.booleans())),
        ),
    )


def planner_of(name: str) -> Planner:
    """As everyone gets it; the exhaustive one gives up sooner: its promises do not change."""
    return ExhaustivePlanner(max_nodes=60) if name == "exhaustive" else make_planner(name)


def turned(problem: Problem) -> Problem:
    """The same problem, told in another order."""
    return msgspec.structs.replace(
        problem,
        tasks=problem.tasks[::-1],
        devices=problem.devices[::-1],
        types=dict(reversed(problem.types.items())),
    )


def check(name: str, problem: Problem, replay: Callable[..., list[tuple[object, ...]]]) -> None:
    plan = planner_of(name).plan(problem)
    note(f"{name}: {plan}")
    assert problems(plan.gpulets) == []
    assert {g.device for g in plan.gpulets} <= {device.number for device in problem.devices}
    assert {*plan.models(), *plan.unmet} == {task.model for task in problem.tasks}
    for task in problem.tasks:
        placed = sum(m.rate_rps for g in plan.gpulets for m in g.models if m.model == task.model)
        assert placed + plan.unmet.get(task.model, 0.0) == pytest.approx(task.rate_rps, rel=1e-5)
    assert all(m.rate_rps > 0 for g in plan.gpulets for m in g.models)
    assert all(rate > 0 for rate in plan.unmet.values())
    assert assess(problem, plan).faults == ()
    assert replay(problem, plan, SEEDS) == []
    assert planner_of(name).plan(problem) == plan
    assert planner_of(name).plan(turned(problem)) == plan


def unmet_parts(problem: Problem, plan: Plan) -> float:
    return sum(plan.unmet.get(task.model, 0.0) / task.rate_rps for task in problem.tasks)


def check_ours(problem: Problem) -> None:
    """Everything that another planner places, ours does; then on no more devices."""
    plans = {name: planner_of(name).plan(problem) for name in sorted(PLANNERS)}
    judged: dict[str, Assessment] = {name: assess(problem, p) for name, p in plans.items()}
    note("\n".join(f"{name}: {plan}" for name, plan in plans.items()))
    ours = judged[OURS]
    for name, other in judged.items():
        if other.feasible:
            assert ours.feasible, f"{name} places everything"
            assert ours.devices_used <= other.devices_used, f"{name} needs fewer devices"
        elif not other.faults:
            mine, theirs = (unmet_parts(problem, plans[n]) for n in (OURS, name))
            assert mine <= theirs + 1e-4, f"{name} leaves less unmet"


@pytest.mark.parametrize("name", sorted(PLANNERS))
@FAST
@given(problem=instances())
def test_planner(
    name: str, problem: Problem, replay: Callable[..., list[tuple[object, ...]]]
) -> None:
    check(name, problem, replay)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PLANNERS))
@LONG
@given(problem=instances(most_models=8))
def test_planner_at_length(
    name: str, problem: Problem, replay: Callable[..., list[tuple[object, ...]]]
) -> None:
    check(name, problem, replay)


@pytest.mark.parametrize("name", sorted(PLANNERS))
def test_nothing_to_do_and_nothing_to_do_it_with(name: str) -> None:
    profile = DeviceProfile(
        "x", {"a": ModelProfile("a", {100: {1: 1.0, 8: 2.0}})}, memory_mb=0.0, where="x"
    )
    types = {"x": DeviceType(profile=profile, shares=(100,))}
    task = Task(model="a", rate_rps=10.0, slo_ms=10.0)
    devices = (Device(number=0, type="x"),)
    planner = planner_of(name)
    assert planner.plan(Problem(tasks=(), devices=devices, types=types)) == Plan()
    assert planner.plan(Problem(tasks=(task,), devices=(), types=types)).unmet == {"a": 10.0}


@pytest.mark.skipif(OURS not in PLANNERS, reason="there is no planner of ours")
@FAST
@given(problem=instances())
def test_ours_is_never_worse(problem: Problem) -> None:
    check_ours(problem)


@pytest.mark.slow
@pytest.mark.skipif(OURS not in PLANNERS, reason="there is no planner of ours")
@LONG
@given(problem=instances(most_models=6))
def test_ours_is_never_worse_at_length(problem: Problem) -> None:
    check_ours(problem)
