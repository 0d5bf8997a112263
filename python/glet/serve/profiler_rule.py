"""When a point is measured often enough: until its median is known well, within limits.

The interval of the median is the distribution-free one from order statistics (Conover, Practical
Nonparametric Statistics, section 3.2), as Hoefler and Belli, SC 2015, section 3.1.3, advise for
run times: those are not normally distributed.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from math import comb, floor, sqrt
from statistics import median

import msgspec
import numpy as np

from glet.clock import Clock

Run = Callable[[int], Sequence[int]]
"""Runs that often, returns each duration in nanoseconds."""

CONFIDENCE = 0.95
Z = 1.96
FEWEST = 6
# Up to here ranks are exact; beyond, the normal approximation differs by less than a rank.
EXACT = 100
# One look at the samples per so much measuring.
CHUNK_S = 0.1
# A point that is slower than the limits foresaw ends after so many of them, whatever is there.
PATIENCE = 4.0
# Tukey's far-out fence, and never what is within a twentieth of the median.
FENCE = 3.0
FENCE_AT_LEAST = 0.05


class StopRule(msgspec.Struct, frozen=True, kw_only=True):
    """How well a median has to be known, and what that may cost.

    Enough is: at least `least` samples over at least `least_s`, the 95 % interval of the median
    within `within` of it on both sides, and the medians of the first and the second half no
    further apart than twice that. Measuring also ends at `most` samples, or after `limit_s` with
    at least `least`. Warm-up is at least `warm_ups` runs and `warm_up_s`, and is not counted.
    """

    within: float = 0.02
    least: int = 7
    most: int = 10_000
    least_s: float = 0.5
    limit_s: float = 10.0
    warm_ups: int = 2
    warm_up_s: float = 0.2


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What was found at one point. Milliseconds.

    `low_ms` and `high_ms` bound the median with 95 % confidence; below six samples, with less, they
    are the least and the largest one. `outliers` counts samples far beyond the others. A point that
    is not `steady` hit a limit first.
    """

    samples: int
    p50_ms: float
    p99_ms: float
    low_ms: float
    high_ms: float
    outliers: int
    steady: bool


def measure_point(run: Run, rule: StopRule, clock: Clock) -> Measured:
    """Warms up, then runs until the rule is content."""
    one_ns = _warm_up(run, rule, clock)
    samples: list[int] = []
    start_s = clock.now_s()
    while True:
        samples += run(chunk_of(one_ns, rule.most - len(samples)))
        one_ns = median(samples)
        if is_enough(samples, clock.now_s() - start_s, rule):
            return summary(samples, rule)


def is_enough(samples: Sequence[int], elapsed_s: float, rule: StopRule) -> bool:
    """Whether measuring ends here, because the median is known or because a limit is reached."""
    if len(samples) >= rule.most or elapsed_s >= PATIENCE * rule.limit_s:
        return True
    if len(samples) < rule.least or elapsed_s < rule.least_s:
        return False
    return elapsed_s >= rule.limit_s or is_steady(samples, rule)


def is_steady(samples: Sequence[int], rule: StopRule) -> bool:
    """Whether the median is known within the rule, and did not move while it was measured."""
    if len(samples) < max(rule.least, FEWEST):
        return False
    middle = median(samples)
    low, high = median_bounds(samples)
    half = len(samples) // 2
    moved = abs(median(samples[:half]) - median(samples[half:])) if half else 0.0
    return max(high - middle, middle - low) <= rule.within * middle and (
        moved <= 2.0 * rule.within * middle
    )


def median_bounds(samples: Sequence[float]) -> tuple[float, float]:
    """Two of the samples that have the median between them with 95 % confidence at least.

    With fewer than `FEWEST` samples no two do: the least and the largest one.
    """
    rank = max(1, _lower_rank(len(samples)))
    ordered = sorted(samples)
    return ordered[rank - 1], ordered[-rank]


def summary(samples: Sequence[int], rule: StopRule) -> Measured:
    """What the samples, in nanoseconds, say of their point."""
    middle = max(median(samples), 1.0)
    low, high = median_bounds(samples)
    ordered = sorted(samples)
    return Measured(
        samples=len(samples),
        p50_ms=middle / 1e6,
        # The nearest rank: a latency that was seen. With fewer than 100 samples it is the largest.
        p99_ms=max(ordered[-(-99 * len(ordered) // 100) - 1], 1.0) / 1e6,
        low_ms=max(low, 1.0) / 1e6,
        high_ms=max(high, 1.0) / 1e6,
        outliers=_outliers(samples),
        steady=is_steady(samples, rule),
    )


def chunk_of(one_ns: float, most: int) -> int:
    """How many runs of that length go into one look."""
    return max(1, min(most, int(CHUNK_S * 1e9 / max(one_ns, 1.0))))


def _warm_up(run: Run, rule: StopRule, clock: Clock) -> float:
    """Duration of the last run in nanoseconds."""
    start_s, runs = clock.now_s(), 0
    while True:
        last_ns = run(1)[-1]
        runs += 1
        if runs >= rule.warm_ups and clock.now_s() - start_s >= rule.warm_up_s:
            return float(last_ns)


def _lower_rank(n: int) -> int:
    """The largest rank r with P(fewer than r of n samples lie below the median) <= 2.5 %."""
    if n > EXACT:
        return floor((n - Z * sqrt(n)) / 2.0)
    below = accumulate(comb(n, k) / 2.0**n for k in range(n))
    return sum(p <= (1.0 - CONFIDENCE) / 2.0 for p in below)


def _outliers(samples: Sequence[int]) -> int:
    quarter, middle, three_quarters = np.percentile(samples, (25, 50, 75))
    margin = max(FENCE * (three_quarters - quarter), FENCE_AT_LEAST * middle)
    return int(np.count_nonzero(np.asarray(samples) > three_quarters + margin))
