"""Units for jobs: the best allocation for tables of utility, exactly.

A table has a row per job and a column per number of replicas, 0 first; -inf where the job cannot
have so many. A replica of job j takes `units[j]`; all together take `quota` at most.
"""

from typing import NamedTuple

import numpy as np

from glet.errors import ArgumentError
from glet.policy.fleet.knapsack import Floats, Ints, best_sum, most_sum, price

# Differences of utility below are rounding.
SAME = 1e-9
# Up to here bounds of utility are all values of the table, from here on a grid.
EXACT_VALUES = 600
GRID = 64
# Prices per unit at which sums are bounded: so many, each that much above the one before.
TRIED = 10
DEARER = 1.6
LEAST_PRICE = 1e-3


class Allocation(NamedTuple):
    """Replicas by job, and what the objective is there."""

    replicas: Ints
    value: float


def allocate_sum(
    table: Floats, units: Ints, quota: int, weights: Floats | None = None
) -> Allocation:
    """Most utility in all: a multiple-choice knapsack, since the sum is separable."""
    _check(table, units, quota)
    worth = _weighted(table, weights)
    replicas = best_sum(worth, units, quota)
    return Allocation(replicas, float(_of(worth, replicas).sum()))


def allocate_even(
    table: Floats, units: Ints, quota: int, weights: Floats | None = None
) -> Allocation:
    """Smallest distance between the job with the least and the one with the most utility.

    A window [low, high] of utilities is possible when the cheapest choices inside it fit. Both ends
    are utilities of the table, so two hands walk over them in order. Of windows as narrow the one
    of the highest utility is taken, and inside it most utility in all. The value is min - max.
    """
    _check(table, units, quota)
    bounds = _bounds(table)
    low, high, best = 0, 0, (np.inf, 0, 0)
    while high < len(bounds):
        if _fits(_window(table, bounds[low], bounds[high]), units, quota):
            width = bounds[high] - bounds[low]
            if width <= best[0] + SAME:
                best = (min(width, best[0]), low, high)
            low += 1
            high = max(high, low)
        else:
            high += 1
    inside = _window(table, bounds[best[1]], bounds[best[2]])
    replicas = best_sum(_weighted(inside, weights), units, quota)
    found = _of(table, replicas)
    return Allocation(replicas, float(found.min() - found.max()))


def allocate_fair_sum(
    table: Floats,
    units: Ints,
    quota: int,
    weights: Floats | None = None,
    fairness: float | None = None,
) -> Allocation:
    """Most of the sum + fairness (min - max), by default as fair as there are jobs.

    With the least utility held at `low` or more and the greatest at `high` or less, the rest is a
    knapsack. The greatest is at least the mean, so with T the most the sum can be at all no value
    at `low` is above T (1 - fairness / J) + fairness low, and none at `low` and `high` above
    T + fairness (low - high); from the highest `low` that fits downwards that soon rules out the
    others. Weights count by their mean; 0 < fairness <= J.
    """
    _check(table, units, quota)
    jobs = len(table)
    pull = float(jobs) if fairness is None else fairness
    if not 0.0 < pull <= jobs:
        raise ArgumentError(f"fairness {pull:g} for {jobs} jobs; above 0 and at most that is valid")
    worth = _weighted(table, weights)
    bounds = _bounds(table)
    most = len(bounds) - 1
    top = float(_of(worth, best_sum(worth, units, quota)).sum())
    prices = _prices(worth, units, quota)
    best = Allocation(np.zeros(jobs, dtype=np.int64), -np.inf)
    for low in range(_highest(table, bounds, units, quota), -1, -1):
        if top * (1.0 - pull / jobs) + pull * bounds[low] <= best.value + SAME:
            break
        able = (top + pull * bounds[low] - best.value) / pull - SAME
        high = min(most, int(np.searchsorted(bounds, able, side="right")) - 1)
        while high >= low:
            inside = _window(table, bounds[low], bounds[high])
            if not _fits(inside, units, quota):
                break
            inside = np.where(np.isfinite(inside), worth, -np.inf)
            limit = most_sum(inside, units, quota, prices)
            able = (limit + pull * bounds[low] - best.value) / pull - SAME
            if able < bounds[high]:
                high = int(np.searchsorted(bounds, able, side="right")) - 1
                continue
            replicas = best_sum(inside, units, quota)
            found = _of(table, replicas)
            total = float(_of(worth, replicas).sum())
            value = total + pull * float(found.min() - found.max())
            if value > best.value + SAME:
                best = Allocation(replicas, value)
            # A lower `high` cannot raise the sum: it has to be so low that it pays by itself.
            enough = (total + pull * bounds[low] - best.value) / pull
            below = min(enough, float(found.max())) - SAME
            high = min(high - 1, int(np.searchsorted(bounds, below, side="right")) - 1)
    return best


def _prices(worth: Floats, units: Ints, quota: int) -> Floats:
    """Prices per unit that bounds of sums are looked for at: the one without windows, and above,
    since what a window forces jobs to take is not there for the others."""
    least = max(price(worth, units, quota), LEAST_PRICE)
    return np.append(0.0, least * DEARER ** np.arange(TRIED))


def _highest(table: Floats, bounds: Floats, units: Ints, quota: int) -> int:
    """The last of `bounds` that the utilities of all jobs can reach together."""
    fit, unfit = 0, len(bounds)
    while unfit - fit > 1:
        middle = (fit + unfit) // 2
        if _fits(_window(table, bounds[middle], np.inf), units, quota):
            fit = middle
        else:
            unfit = middle
    return fit


def _weighted(table: Floats, weights: Floats | None) -> Floats:
    """Rows times weights, so scaled that their mean is 1 and a sum is at most jobs * maximum."""
    if weights is None:
        return table
    return np.asarray(table * (weights / weights.mean())[:, None])


def _bounds(table: Floats) -> Floats:
    """Utilities that may be the least or the greatest, ascending: of the table, or a grid."""
    values = np.unique(table[np.isfinite(table)])
    if len(values) <= EXACT_VALUES:
        return values
    return np.unique(np.concatenate([values[[0, -1]], np.linspace(values[0], values[-1], GRID)]))


def _window(table: Floats, low: float, high: float) -> Floats:
    return np.where((table >= low - SAME) & (table <= high + SAME), table, -np.inf)


def _fits(table: Floats, units: Ints, quota: int) -> bool:
    """Whether the smallest choices of all jobs fit together."""
    able = np.isfinite(table)
    return bool(able.any(axis=1).all() and np.argmax(able, axis=1) @ units <= quota)


def _of(table: Floats, replicas: Ints) -> Floats:
    return np.asarray(table[np.arange(len(table)), replicas])


def _check(table: Floats, units: Ints, quota: int) -> None:
    """Raises ArgumentError where no allocation exists, or the question is malformed."""
    if table.ndim != 2 or units.shape != (len(table),) or not len(table):
        raise ArgumentError(
            f"utilities of shape {table.shape} with {len(units)} sizes; a row per size is valid"
        )
    if np.isnan(table).any() or np.any(table == np.inf):
        raise ArgumentError("a utility is not a number; finite ones and -inf are valid")
    if (units < 1).any():
        raise ArgumentError(f"a replica takes {int(units.min())} units; at least 1 is valid")
    able = np.isfinite(table)
    without = np.flatnonzero(~able.any(axis=1))
    if without.size:
        raise ArgumentError(f"job {without[0]} has no number of replicas that is possible")
    least = int(np.argmax(able, axis=1) @ units)
    if least > quota:
        raise ArgumentError(f"the least that all jobs need is {least} units, of {quota}")
