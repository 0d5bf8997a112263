"""What every policy owes, over random observations."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glet.config.cluster import ControlConfig
from glet.errors import ConfigError
from glet.policy.make import POLICIES, make_policy
from glet.types.observation import ModelObservation, Observation
from glet.types.plan import GpuletPlan, ModelShare, Plan

NAMES = ("a", "b", "c")
RATES = st.sampled_from((0.0, 0.3, 1.0, 17.0, 125.0, 900.0, 50_000.0))
SERVED = ModelShare(model="a", batch=4, rate_rps=70.0)
PLAN = Plan(gpulets=(GpuletPlan(device=0, share_pct=50, models=(SERVED,)),))


@st.composite
def models(draw: st.DrawFn, name: str) -> ModelObservation:
    return ModelObservation(
        model=name,
        slo_ms=draw(st.sampled_from((5.0, 50.0, 2000.0))),
        offered_rps=draw(RATES),
        mean_rps=draw(RATES),
        peak_rps=draw(RATES),
        outstanding=draw(st.integers(0, 100)),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Observation]:
    found = []
    now_s = 0.0
    for _ in range(draw(st.integers(1, 8))):
        now_s += draw(st.sampled_from((0.25, 1.0, 30.0)))
        names = draw(st.lists(st.sampled_from(NAMES), unique=True))
        here = tuple(draw(models(name)) for name in names)
        found.append(Observation(now_s=now_s, span_s=1.0, models=here, plan=PLAN))
    return found


@pytest.mark.parametrize("name", POLICIES)
@settings(max_examples=50, deadline=None, derandomize=True)
@given(history=histories())
def test_a_target_for_every_model_by_name_and_the_same_again(
    name: str, history: list[Observation]
) -> None:
    config = ControlConfig()
    one, two = make_policy(name, config), make_policy(name, config)
    assert one.name == name
    for observation in history:
        targets = one.targets(observation)
        assert targets == two.targets(observation)
        assert [target.model for target in targets] == sorted(m.model for m in observation.models)
        slo_ms = {model.model: model.slo_ms for model in observation.models}
        for target in targets:
            assert target.slo_ms == slo_ms[target.model]
            assert math.isfinite(target.rate_rps)
            assert target.rate_rps >= (config.min_rps if one.plans else 0.0)


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "static"])
def test_at_a_constant_rate_more_than_it_is_planned_and_always_the_same(name: str) -> None:
    policy = make_policy(name, ControlConfig())
    model = ModelObservation(
        model="a", slo_ms=50.0, offered_rps=100.0, mean_rps=100.0, peak_rps=100.0
    )
    seen = {
        policy.targets(Observation(now_s=float(t), span_s=1.0, models=(model,)))[0].rate_rps
        for t in range(100)
    }
    assert len(seen) == 1
    assert 100.0 < seen.pop() < 200.0


def test_static_wants_what_the_plan_promises() -> None:
    found = make_policy("static", ControlConfig()).targets(
        Observation(
            now_s=0.0,
            span_s=1.0,
            models=tuple(
                ModelObservation(model=name, slo_ms=9.0, mean_rps=5.0) for name in ("b", "a")
            ),
            plan=PLAN,
        )
    )
    assert [(target.model, target.rate_rps) for target in found] == [("a", 70.0), ("b", 0.0)]


def test_an_unknown_policy_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no policy is called 'folow'; did you mean 'follow'"):
        make_policy("folow", ControlConfig())
