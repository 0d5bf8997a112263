"""Traffic by formula, and trace files with an index."""

from pathlib import Path

import numpy as np
import pytest

from glet.config.resource import resource
from glet.errors import ConfigError
from glet.workload import generate
from glet.workload.trace import ANY_MODEL, parse_trace, read_days, read_trace


def test_formulas_have_the_mean_that_was_asked_for() -> None:
    assert generate.constant(2.0, 3, 10.0).tolist() == [20.0, 20.0, 20.0]
    wave = generate.sinusoid(5.0, 100, 1.0, depth=0.5, period_s=100.0)
    assert wave.mean() == pytest.approx(5.0)
    assert wave.max() == pytest.approx(7.5, rel=1e-3)
    spike = generate.spike(1.0, 6, 1.0, factor=9.0, span_s=(2.0, 4.0))
    assert spike.tolist() == [1, 1, 9, 9, 1, 1]
    steps = generate.flux(10.0, 16, 1.0, phase_s=2.0)
    assert steps[::2].tolist() == [10.0 * step for step in generate.FLUX_STEPS]
    states = generate.markov((1.0, 4.0), 5000, 1.0, stay_s=20.0, rng=np.random.default_rng(1))
    assert set(states) == {1.0, 4.0}
    assert states.mean() == pytest.approx(2.5, rel=0.15)


def test_scaling_shifting_mixing_and_whole_requests() -> None:
    counts = np.array([1.0, 2.0, 3.0])
    assert generate.scaled(counts, 0.5).tolist() == [0.5, 1.0, 1.5]
    assert generate.shifted(counts, 1).tolist() == [3.0, 1.0, 2.0]
    assert generate.mixed({"a": counts, "b": np.ones(2)}).tolist() == [2.0, 3.0, 3.0]
    assert generate.whole(np.full(4, 0.5)).tolist() == [0.0, 1.0, 0.0, 1.0]
    assert generate.whole(np.full(4, 1.5), "floor").tolist() == [1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf")])
def test_rates_are_checked(rate: float) -> None:
    with pytest.raises(ConfigError, match="rate_rps"):
        generate.constant(rate, 1, 1.0)


def test_the_synthetic_day_is_its_formula() -> None:
    shipped = read_trace(resource("traces", "day-10x360.csv"), 60.0)
    day = generate.synthetic_day()
    assert list(shipped) == list(day)
    for name, trace in shipped.items():
        assert list(trace.counts) == day[name].tolist()


def test_a_trace_may_number_its_lines(tmp_path: Path) -> None:
    traces = parse_trace("minute,a,b\n0,1,2\n1,3,4\n", "t.csv", 60.0)
    assert {name: trace.counts for name, trace in traces.items()} == {"a": (1, 3), "b": (2, 4)}
    assert parse_trace("1 5\n1 7\n", "t.txt", 1.0)[ANY_MODEL].counts == (5, 7)
    path = tmp_path / "days.csv"
    path.write_text("day,minute,a\n1,0,5\n1,1,6\n2,0,7\n2,1,8\n")
    assert read_days(path, 60.0) == {"a": ((5, 6), (7, 8))}
    path.write_text("day,minute,a\n1,0,5\n1,1,6\n2,0,7\n")
    with pytest.raises(ConfigError, match="not equally long"):
        read_days(path, 60.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("minute,a\n0,1\n2,1\n", "t.csv:3: minute 2 where 1 is expected"),
        ("day,minute,a\n1,0,1\n1,0,1\n", "t.csv:3: minute 0 where 1 is expected"),
        ("a,b\n1,2\n1\n", "t.csv:3: 1 values where 2 are expected"),
        ("a\n1\n-1\n", "t.csv:3: '-1' is not a number of requests"),
        ("a\nnan\n", "t.csv:2: 'nan' is not a number of requests"),
    ],
)
def test_gaps_and_wrong_values_are_located(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_trace(text, "t.csv", 60.0)
