"""Latency models and utilities of fleets, against published values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glet.policy.fleet.latency import (
    Service,
    batch_latency_s,
    batch_rate_rps,
    burst_latency_s,
    mdc_latency_s,
    mdc_table_s,
    mdc_within,
)
from glet.policy.fleet.utility import relaxed_utility, step_penalty, step_utility, strict_penalty
from glet.types.fleet import BatchLatency

# (rate, seconds, replicas) -> seconds at the 99th percentile, of the published code.
GOLDEN = {
    (40, 0.15, 8): 0.284066,
    (40, 0.15, 7): 0.458785,
    (40, 0.15, 6): 1.331796,
    (16, 0.18, 5): 0.308735,
    (16, 0.18, 4): 0.487693,
    (16, 0.18, 3.6): 0.713298,
    (16, 0.18, 3): 2.914904,
    (16, 0.18, 2): 6.449853,
    (24, 0.18, 5): 0.739233,
    (10, 0.18, 3): 0.447661,
    (10, 0.18, 2): 2.180584,
    (10, 0.18, 1): 15.87217,
    (0.5, 0.18, 1): 0.397308,
}


@pytest.mark.parametrize(("case", "latency_s"), GOLDEN.items())
def test_mdc_is_as_published(case: tuple[float, float, float], latency_s: float) -> None:
    rate_rps, service_s, replicas = case
    found = float(mdc_latency_s(rate_rps, service_s, replicas))
    assert found == pytest.approx(latency_s, rel=2e-6)
    if replicas == int(replicas):
        service = Service(np.array(service_s), np.array(0.99))
        table = mdc_table_s(np.array(float(rate_rps)), service, 9)
        assert float(table[int(replicas)]) == pytest.approx(latency_s, rel=2e-6)


def test_mean_latency_is_as_published() -> None:
    assert float(mdc_latency_s(40, 0.15, 8, -1)) == pytest.approx(0.163387, rel=1e-5)
    assert float(mdc_latency_s(16, 0.18, 4, -1)) == pytest.approx(0.216980, rel=1e-5)


@pytest.mark.parametrize(
    ("rate_rps", "waits"),
    [(8.0, (0.358, 0.704, 1.051, 1.856)), (9.5, (2.836, 4.222, 5.608, 8.827))],
)
def test_waits_of_the_published_table(rate_rps: float, waits: tuple[float, ...]) -> None:
    found = mdc_latency_s(rate_rps, 1.0, 10, (0.8, 0.9, 0.95, 0.99), relaxed_rho=None)
    # M/D/c is taken to wait half as long.
    assert 2.0 * (found - 1.0) == pytest.approx(waits, abs=2e-3)


@given(
    rate_rps=st.floats(0.01, 200.0),
    service_s=st.floats(0.001, 2.0),
    q=st.floats(0.5, 0.999),
)
@settings(max_examples=60, deadline=None)
def test_more_replicas_are_never_slower(rate_rps: float, service_s: float, q: float) -> None:
    table = mdc_table_s(np.array(rate_rps), Service(np.array(service_s), np.array(q)), 40)
    assert np.isinf(table[0])
    assert (np.diff(table[1:]) <= 1e-9 * table[1:-1]).all()
    one_by_one = mdc_latency_s(rate_rps, service_s, np.arange(41.0), q)
    assert table[1:] == pytest.approx(one_by_one[1:])


def test_latency_has_no_end_only_without_relaxation() -> None:
    assert np.isinf(mdc_latency_s(20.0, 0.1, 2.0, relaxed_rho=None))
    assert float(mdc_latency_s(20.0, 0.1, 2.0)) < float(mdc_latency_s(30.0, 0.1, 2.0)) < 1e3
    assert np.isinf(mdc_latency_s(1.0, 0.1, 0.0))


def test_burst_is_work_over_replicas() -> None:
    assert burst_latency_s(10.0, 0.2, np.array([0.0, 1.0, 4.0])).tolist() == [np.inf, 2.0, 0.5]


def test_batches_carry_what_single_requests_cannot() -> None:
    single = (BatchLatency(replicas=1, batch=1, latency_ms=10.0),)
    both = (*single, BatchLatency(replicas=1, batch=8, latency_ms=20.0))
    rates = np.array([10.0, 200.0])
    alone, batched = batch_latency_s(rates, single, 0.99, 2), batch_latency_s(rates, both, 0.99, 2)
    assert alone[1, 0] == batched[1, 0] == pytest.approx(alone[2, 0])
    assert batched[1, 1] < 0.1 < alone[1, 1]
    assert batch_rate_rps(both, 1, 45.0) == 400.0
    assert batch_rate_rps(both, 1, 25.0) == 100.0
    assert batch_rate_rps(both, 1, 15.0) == 0.0


def test_utility_falls_and_penalties_are_the_published_lines() -> None:
    assert relaxed_utility([0.1, 0.72, 1.44], 0.72).tolist() == [1.0, 1.0, 0.5]
    assert relaxed_utility(1.44, 0.72, 2.0) == 0.25
    assert step_utility([0.72, 0.73], 0.72).tolist() == [1.0, 0.0]
    found = strict_penalty([0.0, 0.001, 0.03, 0.055, 0.08, 1.0])
    assert found == pytest.approx([0.0, 0.0, 0.25, 0.375, 0.5, 1.0])
    assert step_penalty([0.0, 0.01, 0.011, 0.05, 0.1, 0.11]).tolist() == [
        0.0, 0.0, 0.25, 0.25, 0.5, 1.0,
    ]  # fmt: skip


@given(
    rate_rps=st.floats(0.1, 60.0),
    service_s=st.floats(0.02, 0.5),
    replicas=st.integers(1, 12),
    percentile=st.floats(0.5, 0.999),
)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_the_part_within_is_the_percentile_turned_round(
    rate_rps: float, service_s: float, replicas: int, percentile: float
) -> None:
    service = Service(np.array(service_s), np.array(percentile))
    latency_s = mdc_latency_s(rate_rps, service_s, replicas, percentile)
    part = mdc_within(np.array(rate_rps), service, np.asarray(latency_s), 12)[replicas]
    if rate_rps * service_s / replicas > 0.95:
        # What is too much is refused, so no more than there is capacity for.
        assert part <= 0.95 * replicas / (rate_rps * service_s) + 1e-9
    elif latency_s > service_s * (1.0 + 1e-9):
        assert part == pytest.approx(percentile, abs=1e-6)
    else:
        assert part >= percentile - 1e-6


def test_nobody_is_within_less_than_the_service() -> None:
    service = Service(np.array(0.2), np.array(0.99))
    assert (mdc_within(np.array(1.0), service, np.array(0.1), 3) == 0.0).all()
    assert mdc_within(np.array(1.0), service, np.array(5.0), 3)[0] == 0.0
