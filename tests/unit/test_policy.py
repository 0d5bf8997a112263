"""Head room, `follow` and `published` by numbers."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glet.policy.follow import FollowPolicy, FollowSettings
from glet.policy.headroom import EXACT_MEAN, padded_rps, poisson_quantile
from glet.policy.published import PublishedPolicy, PublishedSettings
from glet.types.observation import ModelObservation, Observation
from glet.types.plan import GpuletPlan, ModelShare, Plan

FAST = settings(max_examples=200, deadline=None, derandomize=True)
MEANS = st.floats(1e-3, 1e5)
QUANTILES = st.floats(0.5, 0.9999)


def distribution(mean: float, count: int) -> float:
    """P(N <= count), term by term in logarithms."""
    terms = (-mean + k * math.log(mean) - math.lgamma(k + 1) for k in range(count + 1))
    return math.fsum(math.exp(term) for term in terms)


@FAST
@given(mean=st.floats(0.01, 200.0), quantile=QUANTILES)
def test_counts_above_the_quantile_are_as_rare_as_said(mean: float, quantile: float) -> None:
    found = poisson_quantile(mean, quantile)
    above = math.ceil(found + 0.1)
    assert distribution(mean, above) >= quantile - 1e-9
    below = math.floor(found - 0.1)
    if below >= 0 and found > 0.0:
        assert distribution(mean, below) <= quantile + 1e-9


@FAST
@given(mean=MEANS, quantile=QUANTILES, part=st.floats(1e-4, 1.0))
def test_quantiles_rise_without_jumps(mean: float, quantile: float, part: float) -> None:
    now, more = poisson_quantile(mean, quantile), poisson_quantile(mean * (1 + part), quantile)
    assert now <= more + 0.05
    # Beyond what the mean grows by, only the deviation grows.
    assert more - now <= mean * part * 4.0 + 4.0 * math.sqrt(mean * part) + 0.1


def test_both_ways_to_a_quantile_meet() -> None:
    for quantile in (0.5, 0.9, 0.99, 0.9999):
        below = poisson_quantile(EXACT_MEAN, quantile)
        assert poisson_quantile(EXACT_MEAN * (1 + 1e-9), quantile) == pytest.approx(below, abs=0.05)


def test_head_room_is_less_over_longer_windows_and_for_higher_rates() -> None:
    parts = [padded_rps(rate, 0.25, 0.99) / rate for rate in (10.0, 100.0, 1000.0, 10_000.0)]
    assert parts == sorted(parts, reverse=True)
    assert 1.0 < parts[-1] < 1.06
    assert padded_rps(100.0, 2.0, 0.99) < padded_rps(100.0, 0.25, 0.99)
    assert padded_rps(0.001, 0.25, 0.99) == 0.001


def told(
    policy: FollowPolicy | PublishedPolicy, now_s: float, rate_rps: float, peak_rps: float = 0.0
) -> float:
    model = ModelObservation(
        model="a",
        slo_ms=50.0,
        offered_rps=rate_rps,
        mean_rps=rate_rps,
        peak_rps=max(rate_rps, peak_rps),
    )
    found = policy.targets(Observation(now_s=now_s, span_s=1.0, models=(model,)))
    return found[0].rate_rps


def test_follow_grows_at_once_and_shrinks_after_a_while() -> None:
    policy = FollowPolicy(FollowSettings(shrink_after_s=10.0))
    low = told(policy, 0.0, 100.0)
    high = told(policy, 1.0, 300.0)
    assert high > 300.0
    assert [told(policy, 2.0 + s, 100.0) for s in range(10)] == [high] * 10
    assert told(policy, 12.0, 100.0) == low


def test_follow_holds_the_most_that_was_needed_meanwhile() -> None:
    policy = FollowPolicy(FollowSettings(shrink_after_s=10.0))
    told(policy, 0.0, 300.0)
    told(policy, 1.0, 100.0)
    told(policy, 5.0, 200.0)
    shrunk = told(policy, 11.0, 100.0)
    assert shrunk == told(FollowPolicy(FollowSettings()), 0.0, 200.0)


def test_follow_starts_to_wait_anew_when_load_comes_back() -> None:
    policy = FollowPolicy(FollowSettings(shrink_after_s=10.0))
    high = told(policy, 0.0, 300.0)
    told(policy, 1.0, 100.0)
    assert told(policy, 8.0, 300.0) == high
    assert told(policy, 12.0, 100.0) == high


def test_a_peak_that_chance_explains_does_not_count_and_another_does() -> None:
    by_chance = told(FollowPolicy(FollowSettings()), 0.0, 100.0, 130.0)
    assert by_chance == told(FollowPolicy(FollowSettings()), 0.0, 100.0)
    assert told(FollowPolicy(FollowSettings()), 0.0, 100.0, 200.0) > 200.0


def test_a_mean_above_every_recent_span_is_old() -> None:
    model = ModelObservation(
        model="a", slo_ms=50.0, offered_rps=20.0, mean_rps=300.0, peak_rps=40.0
    )
    seen = Observation(now_s=0.0, span_s=1.0, models=(model,))
    found = FollowPolicy(FollowSettings()).targets(seen)
    assert found[0].rate_rps == told(FollowPolicy(FollowSettings()), 0.0, 40.0)


def test_what_was_planned_before_is_held() -> None:
    plan = Plan(
        gpulets=(
            GpuletPlan(
                device=0, share_pct=50, models=(ModelShare(model="a", batch=4, rate_rps=500.0),)
            ),
        )
    )
    model = ModelObservation(model="a", slo_ms=50.0)
    policy = FollowPolicy(FollowSettings(shrink_after_s=5.0, min_rps=2.0))
    found = [
        policy.targets(Observation(now_s=float(s), span_s=1.0, models=(model,), plan=plan))
        for s in range(6)
    ]
    assert [targets[0].rate_rps for targets in found] == [500.0] * 5 + [2.0]


def test_published_factors_and_thresholds() -> None:
    policy = PublishedPolicy(PublishedSettings())
    assert told(policy, 0.0, 100.0) == pytest.approx(150.0)
    assert told(policy, 20.0, 104.0) == pytest.approx(150.0)
    assert told(policy, 40.0, 106.0) == pytest.approx(159.0)
    assert told(policy, 60.0, 96.0) == pytest.approx(159.0)
    assert told(policy, 80.0, 95.0) == pytest.approx(142.5)
    assert told(policy, 100.0, 1000.0) == pytest.approx(1200.0)
    # 10 requests/s are enough, if not 5 %.
    assert told(policy, 120.0, 1011.0) == pytest.approx(1213.2)
