"""What is made of frontends' reports: rates, means, maxima, quantiles, devices."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glet.observe.counters import merged, quantile_ms
from glet.observe.observer import FORGET_S, Observer
from glet.observe.rates import MovingMean, RecentPeak
from glet.types.device import DeviceInfo
from glet.types.observation import Outcomes, StageObservation
from glet.types.plan import GpuletPlan
from glet.wire.counters import AppCounters, FrontendCounters, ModelCounters
from glet.wire.messages import (
    BackendState,
    ExecutorState,
    FrontendReport,
    FrontendToController,
    GpuletState,
    LoadedModel,
)


def report(sent_s: float, received: int = 0, **given: Any) -> FrontendReport:
    """Of one model `m`; `counters` are its other counts."""
    counters = {"ok": received, "good": received, **given.pop("counters", {})}
    models = (FrontendCounters(model="m", slo_ms=50.0, received=received, **counters),)
    said = {"name": "f", "incarnation": "1", "sent_s": sent_s, "models": models, **given}
    return FrontendReport(**said)


def observer(**given: Any) -> Observer:
    return Observer(**{"mean_s": 3.0, "peak_s": 5.0, **given})


def fed(counts: list[int], step_s: float = 0.25, **given: Any) -> Observer:
    """An observer that got these cumulative counts, `step_s` apart, the last at the end."""
    made = observer()
    for index, count in enumerate(counts):
        assert made.report(report(100.0 + index * step_s, count, **given), index * step_s)
    return made


def test_rates_are_over_the_last_second() -> None:
    made = fed([1000, 1000, 1025, 1050, 1075, 1100, 1150])
    (model,) = made.observe(1.5).models
    assert made.observe(1.5).span_s == pytest.approx(1.0)
    assert model.offered_rps == pytest.approx(125.0)
    assert model.goodput_rps == pytest.approx(125.0)
    assert model.outcomes == Outcomes(ok=125)
    assert model.peak_rps == pytest.approx(125.0)
    assert model.slo_ms == 50.0


def test_what_was_counted_before_the_first_report_is_of_no_span() -> None:
    (model,) = fed([123456]).observe(0.0).models
    assert (model.offered_rps, model.mean_rps, model.outcomes) == (0.0, 0.0, Outcomes())


def test_a_part_of_a_span_is_no_maximum() -> None:
    made = fed([0, 100, 100, 100, 100])
    early = fed([0, 100])
    assert early.observe(0.25).models[0].peak_rps == 0.0
    assert made.observe(1.0).models[0].peak_rps == pytest.approx(100.0)


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 500), st.booleans(), st.booleans()), min_size=1, max_size=20
    )
)
def test_nothing_is_lost_or_counted_twice(steps: list[tuple[int, bool, bool]]) -> None:
    """Restarts, repeated and overtaken reports: the counts over a long span are the truth."""
    made = observer(span_s=1000.0)
    life, count, total, now_s = 0, 7, 0, 0.0
    made.report(report(50.0, count, incarnation="0"), now_s)
    sent = [report(50.0, count, incarnation="0")]
    for more, restarts, repeats in steps:
        now_s += 0.25
        if restarts:
            life, count = life + 1, 0
        count += more
        total += more
        new = report(50.0 - 30.0 * life + now_s, count, incarnation=str(life))
        assert made.report(new, now_s)
        sent.append(new)
        if repeats:
            assert not any(made.report(old, now_s) for old in sent)
        (model,) = made.observe(now_s).models
        assert model.outcomes.ok == total
        assert model.offered_rps >= 0.0
        assert model.offered_rps == pytest.approx(total / now_s)


@given(st.lists(st.lists(st.integers(0, 100), min_size=4, max_size=4), min_size=1, max_size=4))
def test_frontends_add_up(frontends: list[list[int]]) -> None:
    made, alone = observer(), [observer() for _ in frontends]
    for number, counts in enumerate(frontends):
        total = 0
        for index, more in enumerate(counts):
            total += more
            said = report(10.0 * number + 0.5 * index, total, name=f"f{number}")
            made.report(said, 0.5 * index)
            alone[number].report(said, 0.5 * index)
    (model,) = made.observe(1.5).models
    parts = [one.observe(1.5).models[0] for one in alone]
    assert model.outcomes.ok == sum(part.outcomes.ok for part in parts)
    for field in ("offered_rps", "mean_rps", "goodput_rps", "peak_rps"):
        assert getattr(model, field) == pytest.approx(sum(getattr(p, field) for p in parts))


def test_a_silent_frontend_ages_out() -> None:
    made = fed([0, 100, 200])
    assert made.report(report(0.0, 0, name="g"), 0.5)
    for index in range(1, 12):
        made.report(report(index * 0.25, index * 10, name="g"), 0.5 + index * 0.25)
    (model,) = made.observe(3.25).models
    assert model.offered_rps == pytest.approx(40.0)
    assert made.alive(3.25)
    assert made.observe(9.0).models == ()
    assert not made.alive(9.0)


def test_counters_that_fall_within_a_life_start_anew() -> None:
    made = fed([100, 110, 5, 6, 7])
    assert made.observe(1.0).models[0].outcomes.ok == 10 + 5 + 1 + 1


def test_an_overtaken_report_changes_nothing() -> None:
    made = fed([0, 10, 20])
    before = made.observe(0.5)
    assert not made.report(report(100.25, 999), 0.5)
    assert made.observe(0.5) == before


@given(st.lists(st.floats(0.01, 3.0), min_size=1, max_size=8), st.floats(0.0, 1000.0))
def test_the_mean_does_not_depend_on_how_often_it_is_fed(cuts: list[float], rate: float) -> None:
    often, once = MovingMean(2.0), MovingMean(2.0)
    for mean in (often, once):
        mean.add(50.0, 1.5)
    for span_s in cuts:
        often.add(rate, span_s)
    once.add(rate, math.fsum(cuts))
    assert often.value == pytest.approx(once.value)
    low, high = sorted((50.0, rate))
    assert low - 1e-9 <= often.value <= high + 1e-9


@given(st.lists(st.tuples(st.floats(0.0, 2.0), st.floats(0.0, 1e6)), min_size=1))
def test_the_peak_is_the_largest_within_the_window(steps: list[tuple[float, float]]) -> None:
    peak, now_s, seen = RecentPeak(3.0), 0.0, []
    for step_s, value in steps:
        now_s += step_s
        peak.add(value, now_s)
        seen.append((now_s, value))
        assert peak.value(now_s) == max(v for at_s, v in seen if at_s >= now_s - 3.0)
    assert peak.value(now_s + 4.0) == 0.0


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=50), st.floats(0.0, 1.0))
def test_a_quantile_is_one_of_the_durations(durations: list[int], q: float) -> None:
    found = quantile_ms(merged([((ns, 1),) for ns in durations]), q)
    ranked = sorted(durations)
    assert found == pytest.approx(ranked[max(1, math.ceil(q * len(ranked) - 1e-9)) - 1] / 1e6)


def test_latencies_are_of_the_span() -> None:
    made = observer()
    for index, buckets in enumerate([((9_000_000, 5),), ((1_000_000, 98), (9_000_000, 7))]):
        said = report(float(index), 0, counters={"latency": buckets})
        made.report(said, float(index))
    (model,) = made.observe(1.0).models
    assert (model.p50_ms, model.p95_ms, model.p99_ms) == (1.0, 1.0, 9.0)
    assert fed([0, 0]).observe(0.25).models[0].p99_ms is None


def state(seq: int, at_s: float, **given: Any) -> BackendState:
    """One gpulet with one model: 10 batches of 4 and 100 ms of work a second."""
    counted = ModelCounters(
        gpulet=0,
        model=0,
        ok=int(40 * at_s),
        batches=int(10 * at_s),
        items=int(40 * at_s),
        waiting=3,
        correction=1.2,
        busy_ms=100.0 * at_s,
        at_s=at_s,
    )
    loaded = LoadedModel(name="m", model=0, batch=8, state="ready", latency_ms=((1, 2.0),))
    said: dict[str, Any] = {
        "seq": seq,
        "name": "b",
        "incarnation": "1",
        "number": 4,
        "device": DeviceInfo(name="b", kind="profiled", type="t", emulated=True, memory_mb=100),
        "plan": (GpuletPlan(device=4, share_pct=60),),
        "executors": (ExecutorState(executor=0, generation=1, state="ready"),),
        "gpulets": (
            GpuletState(
                gpulet=0, executor=0, share_pct=60, given_pct=50.0, state="ready", models=(loaded,)
            ),
        ),
        "counters": (counted,),
        **given,
    }
    return BackendState(**said)


def test_a_device_is_as_its_backend_says() -> None:
    made = observer()
    for index in range(4):
        made.report(report(float(index), states=(state(index, 10.0 + index),)), float(index))
    observation = made.observe(3.0)
    (device,) = observation.devices
    assert (device.device, device.alive, device.emulated, device.in_use) == (4, True, True, True)
    (gpulet,) = device.gpulets
    assert (gpulet.share_pct, gpulet.given_pct) == (60, 50.0)
    assert gpulet.busy == pytest.approx(0.1)
    (tenant,) = gpulet.models
    assert tenant.served_rps == pytest.approx(40.0)
    assert (tenant.mean_batch, tenant.waiting, tenant.correction) == (4.0, 3, 1.2)
    assert tenant.latency_ms == ((1, 2.0),)
    assert observation.plan.gpulets == (GpuletPlan(device=4, share_pct=60),)


def test_the_newest_state_counts_whoever_brings_it() -> None:
    made = observer()
    made.report(report(0.0, states=(state(7, 1.0),)), 0.0)
    old = state(6, 0.5, plan=())
    made.report(report(0.0, name="g", states=(old,)), 0.0)
    assert made.observe(0.0).plan.gpulets
    made.report(report(1.0, states=(state(1, 0.0, incarnation="2", plan=()),)), 1.0)
    assert not made.observe(1.0).plan.gpulets
    made.report(report(1.0, name="g", states=(state(9, 3.0),)), 1.0)
    assert not made.observe(1.0).plan.gpulets


def test_a_restarted_executor_counts_from_zero() -> None:
    made = observer()
    for index, at_s in enumerate((50.0, 51.0)):
        made.report(report(float(index), states=(state(index, at_s),)), float(index))
    again = (ExecutorState(executor=0, generation=2, state="ready"),)
    made.report(report(2.0, states=(state(2, 1.0, executors=again),)), 2.0)
    (tenant,) = made.observe(2.0).devices[0].gpulets[0].models
    assert (tenant.served_rps, tenant.busy) == (0.0, 0.0)
    made.report(report(3.0, states=(state(3, 2.0, executors=again),)), 3.0)
    (tenant,) = made.observe(3.0).devices[0].gpulets[0].models
    assert tenant.served_rps == pytest.approx(40.0)


def test_a_device_lives_while_a_frontend_hears_its_backend() -> None:
    made = observer()
    made.report(report(0.0, states=(state(0, 1.0),), silent=("b",)), 0.0)
    assert not made.observe(0.0).devices[0].alive
    made.report(report(0.0, name="g", states=(state(0, 1.0),)), 0.0)
    assert made.observe(0.0).devices[0].alive
    gone = made.observe(60.0).devices[0]
    assert not gone.alive
    assert gone.gpulets


def test_an_observation_is_json() -> None:
    made = fed([0, 1, 2], states=(state(0, 1.0),))
    observation = made.observe(0.5)
    text = msgspec.json.encode(observation)
    assert msgspec.json.decode(text, type=type(observation)) == observation


def test_apps_are_counted_like_models_with_the_stages_they_have_now() -> None:
    def app(received: int, budget_ms: float) -> AppCounters:
        return AppCounters(
            counted=FrontendCounters(
                model="app", slo_ms=80.0, received=received, ok=received, good=received // 2
            ),
            stages=(StageObservation(stage="s", model="m", requests=3, budget_ms=budget_ms),),
        )

    made = observer()
    for index in range(5):
        at_s = 0.25 * index
        apps = (app(20 * index, 60.0 + index),)
        made.report(report(100.0 + at_s, 60 * index, apps=apps), at_s)
    seen = made.observe(1.0)
    assert [model.model for model in seen.models] == ["m"]
    (found,) = seen.apps
    assert (found.app, found.slo_ms, found.stages[0].budget_ms) == ("app", 80.0, 64.0)
    assert found.offered_rps == pytest.approx(80.0)
    assert found.goodput_rps == pytest.approx(40.0)
    assert found.outcomes == Outcomes(ok=80)
    made.report(report(101.25, 300), 1.25)
    assert made.observe(1.25).apps == ()


def test_a_model_that_is_there_twice_counts_once() -> None:
    made = observer()
    twice = (FrontendCounters(model="m", slo_ms=50.0, received=0),) * 2
    for index in range(5):
        counted = tuple(msgspec.structs.replace(m, received=100 * index) for m in twice)
        assert made.report(report(1.0 + index, models=counted), float(index))
    assert made.observe(4.0).models[0].offered_rps == pytest.approx(100.0)


def test_frontends_that_went_long_ago_are_forgotten() -> None:
    made = observer()
    for index in range(50):
        made.report(report(1.0, name=f"f{index}"), index * FORGET_S / 10.0)
    assert len(made._frontends) <= 12
    assert made.alive(49 * FORGET_S / 10.0)


@pytest.mark.parametrize("sent_s", [float("nan"), float("inf"), -1.0, 1e300])
def test_no_report_comes_from_a_time_that_is_none(sent_s: float) -> None:
    data = msgspec.msgpack.encode(report(sent_s))
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(data, type=FrontendToController)
