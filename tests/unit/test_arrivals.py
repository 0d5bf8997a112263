"""Shapes of arrival processes, and how they are written."""

import numpy as np
import pytest

from glet.errors import ConfigError
from glet.workload.arrivals import (
    ConstantArrivals,
    GammaArrivals,
    PoissonArrivals,
    TraceArrivals,
    parse_arrivals,
)


def gaps_cv(times: np.ndarray) -> float:
    gaps = np.diff(times)
    return float(np.std(gaps) / np.mean(gaps))


def test_constant_is_even() -> None:
    times = ConstantArrivals().times_s(4.0, 5.0, np.random.default_rng(0))
    assert len(times) == 20
    assert np.allclose(np.diff(times), 0.25)


@pytest.mark.parametrize("cv", [0.5, 1.0, 2.0])
def test_gamma_has_the_variation_asked_for(cv: float) -> None:
    times = GammaArrivals(cv).times_s(100.0, 1000.0, np.random.default_rng(1))
    assert gaps_cv(times) == pytest.approx(cv, rel=0.05)


def test_poisson_gaps_are_exponential() -> None:
    times = PoissonArrivals().times_s(100.0, 500.0, np.random.default_rng(2))
    assert gaps_cv(times) == pytest.approx(1.0, rel=0.05)
    assert np.mean(np.diff(times) > 0.01) == pytest.approx(np.exp(-1.0), rel=0.05)


def test_a_trace_keeps_its_proportions_and_repeats() -> None:
    trace = TraceArrivals(counts=(3.0, 0.0, 1.0), interval_s=10.0)
    times = trace.times_s(100.0, 60.0, np.random.default_rng(3))
    counts = np.histogram(times, bins=6, range=(0.0, 60.0))[0]
    assert counts[1] == counts[4] == 0
    assert counts[0] / counts[2] == pytest.approx(3.0, rel=0.2)
    assert counts[3] / counts[5] == pytest.approx(3.0, rel=0.2)
    assert trace.mean_rps() == pytest.approx(4.0 / 30.0)


def test_an_empty_trace_gives_none() -> None:
    trace = TraceArrivals(counts=(0.0, 0.0), interval_s=1.0)
    assert len(trace.times_s(10.0, 5.0, np.random.default_rng(4))) == 0


@pytest.mark.parametrize(
    ("text", "process"),
    [
        ("constant", ConstantArrivals()),
        ("poisson", PoissonArrivals()),
        ("gamma", GammaArrivals()),
        ("gamma:0.5", GammaArrivals(0.5)),
    ],
)
def test_names_of_processes(text: str, process: object) -> None:
    assert parse_arrivals(text) == process


@pytest.mark.parametrize("text", ["", "uniform", "gamma:x", "gamma:0", "gamma:nan", "poisson:2"])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="arrivals"):
        parse_arrivals(text)
