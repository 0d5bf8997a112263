"""Traces by formula: requests per interval, as pure functions of their parameters.

All return counts of shape (intervals,), float64, >= 0. Whole numbers come from `whole()`.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from glet.errors import ConfigError

Counts = NDArray[np.float64]
FLUX_STEPS = (0.4, 0.8, 1.2, 1.0, 0.6, 1.4, 0.9, 0.5)
"""Factors of the mean rate, one per phase: load that goes up and down in steps."""


def constant(rate_rps: float, intervals: int, interval_s: float) -> Counts:
    """The same in every interval."""
    return np.full(intervals, checked("rate_rps", rate_rps) * interval_s)


def sinusoid(
    rate_rps: float, intervals: int, interval_s: float, *, depth: float, period_s: float
) -> Counts:
    """`rate_rps` on average, up and down by the part `depth` (0..1) of it."""
    if not (0.0 <= depth <= 1.0 and period_s > 0.0):
        raise ConfigError(f"depth {depth:g}, period_s {period_s:g}; valid: 0..1, and above 0")
    middle = (np.arange(intervals) + 0.5) * interval_s
    wave = 1.0 + depth * np.sin(2.0 * np.pi * middle / period_s)
    return np.asarray(checked("rate_rps", rate_rps) * interval_s * wave)


def spike(
    rate_rps: float,
    intervals: int,
    interval_s: float,
    *,
    factor: float,
    span_s: tuple[float, float],
) -> Counts:
    """`rate_rps`, and `factor` times that from the first to the second time of `span_s`."""
    at = np.arange(intervals) * interval_s
    inside = (at >= span_s[0]) & (at < span_s[1])
    base = checked("rate_rps", rate_rps) * interval_s
    return np.where(inside, base * checked("factor", factor), base)


def markov(
    rates_rps: tuple[float, ...],
    intervals: int,
    interval_s: float,
    *,
    stay_s: float,
    rng: np.random.Generator,
) -> Counts:
    """A Markov-modulated rate: one of `rates_rps`, `stay_s` on average, then any of the others."""
    if len(rates_rps) < 2 or not stay_s >= interval_s:
        raise ConfigError("give two rates or more, and a stay_s of an interval or more")
    state = 0
    found = np.empty(intervals)
    for index in range(intervals):
        found[index] = checked("rates_rps", rates_rps[state]) * interval_s
        if rng.random() < interval_s / stay_s:
            state = (state + int(rng.integers(1, len(rates_rps)))) % len(rates_rps)
    return found


def flux(rate_rps: float, intervals: int, interval_s: float, *, phase_s: float) -> Counts:
    """Load in steps: FLUX_STEPS times `rate_rps`, each for `phase_s`, again and again."""
    if not phase_s > 0.0:
        raise ConfigError(f"phase_s is {phase_s:g}; valid is above 0")
    phase = (np.arange(intervals) * interval_s / phase_s).astype(np.int64) % len(FLUX_STEPS)
    return np.asarray(checked("rate_rps", rate_rps) * interval_s * np.asarray(FLUX_STEPS)[phase])


def scaled(counts: Counts, factor: float) -> Counts:
    """Times `factor`."""
    return np.asarray(counts * checked("scale", factor))


def shifted(counts: Counts, intervals: int) -> Counts:
    """Later by so many intervals; what falls off the end comes first."""
    return np.roll(counts, intervals)


def mixed(parts: Mapping[str, Counts]) -> Counts:
    """All of them together; the length is that of the longest, the others end earlier."""
    total = np.zeros(max((len(part) for part in parts.values()), default=0))
    for part in parts.values():
        total[: len(part)] += part
    return total


def whole(counts: Counts, rounding: Literal["carry", "floor"] = "carry") -> Counts:
    """Whole requests: `carry` hands fractions to the next interval, `floor` loses them."""
    if rounding == "floor":
        return np.floor(counts)
    return np.asarray(np.diff(np.floor(np.cumsum(counts) + 1e-9), prepend=0.0))


def synthetic_day(seed: int = 10, jobs: int = 10, minutes: int = 360) -> dict[str, Counts]:
    """A day of the shape of Faro's evaluation day (EuroSys 2025): shape (minutes,) by job.

    Job j has the mean m_j = 432 + 69 j requests a minute and the count
    m_j (1 + 0.35 sin(2 pi t / 360 + 0.6 j) + 0.12 sin(2 pi t / 45 + j) + 0.07 z), z standard
    normal, at least 1 and rounded.
    """
    rng = np.random.default_rng(seed)
    t = np.arange(minutes)
    day = {}
    for j in range(jobs):
        slow = 0.35 * np.sin(2.0 * np.pi * t / 360.0 + 0.6 * j)
        quick = 0.12 * np.sin(2.0 * np.pi * t / 45.0 + j)
        noise = 0.07 * rng.standard_normal(minutes)
        day[f"job{j}"] = np.maximum(1.0, np.rint((432.0 + 69.0 * j) * (1 + slow + quick + noise)))
    return day


def checked(name: str, value: float) -> float:
    """Raises ConfigError unless the value is finite and not negative."""
    if not 0.0 <= value < np.inf:
        raise ConfigError(f"{name} is {value:g}; valid is a finite number, 0 or more")
    return value
