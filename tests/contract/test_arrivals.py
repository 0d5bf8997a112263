"""What every arrival process owes."""

import numpy as np
import pytest

from glet.errors import ConfigError
from glet.workload.arrivals import (
    Arrivals,
    ConstantArrivals,
    GammaArrivals,
    PoissonArrivals,
    TraceArrivals,
)

PROCESSES = {
    "constant": ConstantArrivals(),
    "poisson": PoissonArrivals(),
    "gamma bursty": GammaArrivals(3.0),
    "gamma smooth": GammaArrivals(0.5),
    "trace": TraceArrivals(counts=(1.0, 0.0, 5.0, 2.0), interval_s=2.0),
}


@pytest.fixture(params=PROCESSES.values(), ids=PROCESSES.keys())
def process(request: pytest.FixtureRequest) -> Arrivals:
    return request.param


@pytest.mark.parametrize(("rate_rps", "seconds"), [(100.0, 8.0), (0.3, 40.0), (5.0, 0.1)])
def test_times_are_sorted_and_inside_the_span(
    process: Arrivals, rate_rps: float, seconds: float
) -> None:
    times = process.times_s(rate_rps, seconds, np.random.default_rng(1))
    assert times.dtype == np.float64
    assert np.all(np.diff(times) >= 0.0)
    assert np.all((times >= 0.0) & (times < seconds))


def test_the_mean_rate_is_the_one_asked_for(process: Arrivals) -> None:
    # 40 spans of 16 s at 50 a second: 32,000 expected. At cv 3 their standard error is 1.7 %:
    # five of them are allowed.

    rng = np.random.default_rng(2)
    counts = [len(process.times_s(50.0, 16.0, rng)) for _ in range(40)]
    assert sum(counts) == pytest.approx(32_000, rel=0.085)


def test_the_same_seed_gives_the_same_times(process: Arrivals) -> None:
    first, second = (process.times_s(20.0, 10.0, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, second)


def test_another_seed_gives_other_times(process: Arrivals) -> None:
    first, second = (process.times_s(20.0, 10.0, np.random.default_rng(s)) for s in (3, 4))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(("rate_rps", "seconds"), [(0.0, 10.0), (10.0, 0.0)])
def test_no_rate_or_no_time_gives_none(process: Arrivals, rate_rps: float, seconds: float) -> None:
    assert len(process.times_s(rate_rps, seconds, np.random.default_rng(5))) == 0


@pytest.mark.parametrize(
    ("rate_rps", "seconds"), [(-1.0, 1.0), (1.0, -1.0), (np.nan, 1.0), (1.0, np.inf)]
)
def test_rates_and_spans_that_mean_nothing_are_refused(
    process: Arrivals, rate_rps: float, seconds: float
) -> None:
    with pytest.raises(ConfigError, match="finite number"):
        process.times_s(rate_rps, seconds, np.random.default_rng(6))
