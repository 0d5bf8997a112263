"""How much more than its rate a model is planned for, because requests come in bunches."""

import math
from statistics import NormalDist

# Above this mean the expansion is closer than a twentieth of a count up to quantile 0.9999.
EXACT_MEAN = 40.0
LEAST_TAIL = 1e-12


def poisson_quantile(mean: float, quantile: float) -> float:
    """The count that a Poisson variable of this mean does not exceed with that probability.

    Between the counts the tail falls as a power, so that a small change of the mean is a small
    change of the answer; 0 where even the count 0 is as likely as that. From EXACT_MEAN on by the
    expansion of Cornish and Fisher (1938), half a count taken off for continuity:
    m + z sqrt(m) + (z^2 - 1) / 6 + (z - z^3) / (72 sqrt(m)) - 1 / 2.
    """
    if mean <= 0.0:
        return 0.0
    if mean > EXACT_MEAN:
        z = NormalDist().inv_cdf(quantile)
        root = math.sqrt(mean)
        return mean + z * root + (z * z - 1.0) / 6.0 + (z - z**3) / (72.0 * root) - 0.5
    part = total = math.exp(-mean)
    count = 0
    if total >= quantile:
        return 0.0
    while total < quantile:
        count += 1
        before = total
        part *= mean / count
        total += part
    tail, left = 1.0 - before, max(1.0 - total, LEAST_TAIL)
    return count - 1 + math.log(tail / (1.0 - quantile)) / math.log(tail / left)


def padded_rps(rate_rps: float, window_s: float, quantile: float) -> float:
    """The rate at which all of a window's Poisson arrivals are served, in all but 1 - `quantile`.

    Requests are collected into batches, so what counts is not how close two of them come but how
    many come in a window: Q(rate * window) / window, Q being the quantile of their count, and never
    less than the rate. The shorter the window, the more has to be spare.
    """
    return max(rate_rps, poisson_quantile(rate_rps * window_s, quantile) / window_s)
