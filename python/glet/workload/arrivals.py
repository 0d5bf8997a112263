"""Arrival processes: when requests come, as pure functions of a rate, a span and a generator.

Every process is a frozen struct with `times_s(rate_rps, seconds, rng)`: sorted times in
[0, seconds), `rate_rps * seconds` of them on average, the same for the same generator state.
"""

import math
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from glet.errors import ConfigError

TimesS = NDArray[np.float64]

KINDS = ("constant", "poisson", "gamma", "gamma:CV", "trace:FILE")
"""How arrival processes are written on a command line."""


MAX_CV = 100.0


class Arrivals(Protocol):
    """An arrival process."""

    def times_s(self, rate_rps: float, seconds: float, rng: np.random.Generator) -> TimesS:
        """Sorted times in [0, seconds), in seconds; a rate of 0 gives none."""
        ...


class ConstantArrivals(msgspec.Struct, frozen=True, tag="constant"):
    """Evenly spaced, from a random phase, so that several models do not march in step."""

    def times_s(self, rate_rps: float, seconds: float, rng: np.random.Generator) -> TimesS:
        check_span(rate_rps, seconds)
        if rate_rps == 0.0:
            return np.empty(0)
        count = math.ceil(rate_rps * seconds) + 1
        times: TimesS = (np.arange(count, dtype=np.float64) + rng.random()) / rate_rps
        return times[times < seconds]


class PoissonArrivals(msgspec.Struct, frozen=True, tag="poisson"):
    """Independent arrivals: exponential gaps."""

    def times_s(self, rate_rps: float, seconds: float, rng: np.random.Generator) -> TimesS:
        return renewal_times_s(rate_rps, seconds, 1.0, rng)


class GammaArrivals(msgspec.Struct, frozen=True, tag="gamma"):
    """Gaps from a gamma distribution: bursty above cv 1, Poisson at 1, smoother below.

    `cv` is the standard deviation of a gap over its mean, above 0 and at most 100.
    """

    cv: float = 2.0

    def __post_init__(self) -> None:
        if not 0.0 < self.cv <= MAX_CV:
            raise ValueError(
                f"a coefficient of variation of {self.cv}, not above 0 and <= {MAX_CV}"
            )

    def times_s(self, rate_rps: float, seconds: float, rng: np.random.Generator) -> TimesS:
        return renewal_times_s(rate_rps, seconds, self.cv, rng)


class TraceArrivals(msgspec.Struct, frozen=True, tag="trace"):
    """A recorded shape: Poisson arrivals inside each interval, with the trace's own proportions.

    `counts` holds requests per interval of `interval_s`. The trace is repeated when the span is
    longer, and scaled so that its mean over one repetition is the rate asked for.
    """

    counts: tuple[float, ...]
    interval_s: float

    def times_s(self, rate_rps: float, seconds: float, rng: np.random.Generator) -> TimesS:
        check_span(rate_rps, seconds)
        total = sum(self.counts)
        if rate_rps == 0.0 or total == 0.0:
            return np.empty(0)
        intervals = math.ceil(seconds / self.interval_s)
        counts = np.resize(np.asarray(self.counts), intervals)
        expected = counts * (rate_rps * self.interval_s * len(self.counts) / total)
        drawn = rng.poisson(expected)
        starts = np.repeat(np.arange(intervals) * self.interval_s, drawn)
        times = np.sort(starts + rng.random(len(starts)) * self.interval_s)
        return times[times < seconds]

    def mean_rps(self) -> float:
        """The rate at which the trace was recorded."""
        return sum(self.counts) / (len(self.counts) * self.interval_s)


def renewal_times_s(rate_rps: float, seconds: float, cv: float, rng: np.random.Generator) -> TimesS:
    """Arrivals with independent gamma gaps of mean 1/rate and coefficient of variation `cv`.

    The process starts ten gaps (times the square of cv, when bursty) before the span and is cut
    there: started at an arrival, a bursty process would give too many.
    """
    check_span(rate_rps, seconds)
    if rate_rps == 0.0 or seconds == 0.0:
        return np.empty(0)
    shape = 1.0 / cv**2
    warm_up_s = 0.0 if cv == 1.0 else 10.0 * max(1.0, cv**2) / rate_rps
    until_s = warm_up_s + seconds
    pieces = []
    last_s = 0.0
    while last_s < until_s:
        count = math.ceil((until_s - last_s) * rate_rps * 1.1) + 16
        gaps = rng.gamma(shape, 1.0 / (shape * rate_rps), count)
        piece = last_s + np.cumsum(gaps)
        pieces.append(piece)
        last_s = float(piece[-1])
    times = np.concatenate(pieces) - warm_up_s
    return times[(times >= 0.0) & (times < seconds)]


def check_span(rate_rps: float, seconds: float) -> None:
    """Raises ConfigError unless both are finite and not negative."""
    for name, value in (("rate_rps", rate_rps), ("seconds", seconds)):
        if not (math.isfinite(value) and value >= 0.0):
            raise ConfigError(f"{name} is {value}; give a finite number, 0 or more")


def parse_arrivals(text: str) -> ConstantArrivals | PoissonArrivals | GammaArrivals:
    """`constant`, `poisson`, `gamma` or `gamma:CV`; raises ConfigError for anything else."""
    kind, _, argument = text.partition(":")
    if text == "constant":
        return ConstantArrivals()
    if text == "poisson":
        return PoissonArrivals()
    if kind == "gamma":
        try:
            return GammaArrivals(float(argument)) if argument else GammaArrivals()
        except ValueError as error:
            raise ConfigError(f"arrivals {text!r}: {error}; give gamma:CV, as in gamma:2") from None
    raise ConfigError(f"unknown arrivals {text!r}; valid are {', '.join(KINDS)}")
