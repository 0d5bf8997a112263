"""The multiple-choice knapsack: one choice per job, most value in all, within a capacity."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Values closer than this are the same.
SAME = 1e-9
HALVINGS = 50
# Choices whose values are that close at a price are as good as each other there.
TIED = 1e-12
# Prices tried at once, for tables of up to SMALL / MOST_TRIED entries.
MOST_TRIED = 31
SMALL = 20_000


def best_sum(values: Floats, units: Ints, quota: int) -> Ints:
    """The choice per row (column number) of most value; column n of row j takes n * units[j].

    -inf is no choice; the smallest choices of all rows have to fit. Exact: a price per unit that
    just lets everything fit gives an upper bound (the Lagrangian dual), filling what is left gives
    a lower one, and a choice whose loss at that price is above their distance is in no better
    solution (Dyer, Kayal and Walker 1984; Pisinger 1995). Dynamic programming decides between what
    is left, mostly two or three choices of a few rows.
    """
    costs = np.arange(values.shape[1])[None, :] * units[:, None]
    cost = _price(values, costs, quota)
    reduced = values - cost * costs
    top = reduced.max(axis=1)
    bound = float(top.sum()) + cost * quota
    chosen = _filled(values, costs, _cheapest(reduced, top), quota)
    gap = bound - float(values[np.arange(len(values)), chosen].sum())
    if gap <= SAME:
        return chosen
    loss = top[:, None] - reduced
    return _decided(loss, units, quota, cost, gap, chosen)


def most_sum(values: Floats, units: Ints, quota: int, prices: Floats) -> float:
    """No choices are worth more in all: the least of the Lagrangian bounds at these prices."""
    costs = np.arange(values.shape[1])[None, :] * units[:, None]
    reduced = values - prices[:, None, None] * costs
    return float((reduced.max(axis=2).sum(axis=1) + prices * quota).min())


def price(values: Floats, units: Ints, quota: int) -> float:
    """The least price per unit (to precision) at which the best choices of all rows fit."""
    return _price(values, np.arange(values.shape[1])[None, :] * units[:, None], quota)


def _price(values: Floats, costs: Ints, quota: int) -> float:

    if _used(values, costs, np.zeros(1))[0] <= quota:
        return 0.0
    finite = values[np.isfinite(values)]
    low, high = 0.0, float(finite.max() - finite.min()) + 1.0
    # Prices that are tried at once: small tables cost little more than one.
    tried = max(1, min(MOST_TRIED, SMALL // values.size))
    parts = np.arange(1, tried + 1) / (tried + 1)
    for _ in range(HALVINGS):
        prices = low + (high - low) * parts
        fit = np.flatnonzero(_used(values, costs, prices) <= quota)
        first = int(fit[0]) if fit.size else tried
        low, high = (prices[first - 1] if first else low), (prices[first] if fit.size else high)
        if high - low <= 1e-7 * high:
            break
    return float(high)


def _used(values: Floats, costs: Ints, prices: Floats) -> Ints:
    """Units that the best choices of all rows take at each price."""
    reduced = values - prices[:, None, None] * costs
    best = reduced.max(axis=2, keepdims=True)
    chosen = np.argmax(reduced >= best - TIED, axis=2)
    return np.asarray(costs[np.arange(len(costs)), chosen].sum(axis=1))


def _cheapest(reduced: Floats, top: Floats) -> Ints:
    """The first column that is as good as the best, by row."""
    return np.asarray(np.argmax(reduced >= (top - TIED)[:, None], axis=1))


def _filled(values: Floats, costs: Ints, chosen: Ints, quota: int) -> Ints:
    """The same with what is left of the quota given where it gains most, choice by choice."""
    rows = np.arange(len(values))
    chosen = chosen.copy()
    left = quota - int(costs[rows, chosen].sum())
    while left > 0:
        extra = costs - costs[rows, chosen][:, None]
        gain = values - values[rows, chosen][:, None]
        gain = np.where((extra > 0) & (extra <= left), gain, -np.inf)
        row, column = np.unravel_index(int(np.argmax(gain)), gain.shape)
        if gain[row, column] <= SAME:
            break
        left -= int(extra[row, column])
        chosen[row] = column
    return chosen


def _decided(loss: Floats, units: Ints, quota: int, price: float, gap: float, chosen: Ints) -> Ints:
    """Least loss and price of unused units, over choices that lose less than `gap`."""
    able = loss < gap
    able[np.arange(len(loss)), chosen] = True
    least = np.argmax(able, axis=1)
    room = quota - int(least @ units)
    most = able.shape[1] - 1 - np.argmax(able[:, ::-1], axis=1)
    room = min(room, int((most - least) @ units))
    spare = quota - int(least @ units) - room
    open_rows = np.flatnonzero(most > least)
    total = np.full(room + 1, np.inf)
    closed = np.flatnonzero(most == least)
    total[0] = float(loss[closed, least[closed]].sum())
    taken = np.zeros((len(open_rows), room + 1), dtype=np.int32)
    for at, row in enumerate(open_rows):
        after = np.full(room + 1, np.inf)
        for column in np.flatnonzero(able[row]):
            step = int((column - least[row]) * units[row])
            if step > room:
                break
            one = total[: room + 1 - step] + loss[row, column]
            better = one < after[step:]
            after[step:][better] = one[better]
            taken[at, step:][better] = column
        total = after
    unused = price * (spare + room - np.arange(room + 1))
    best = int(np.argmin(total + unused))
    if total[best] + unused[best] >= gap - SAME:
        return chosen
    found = least.copy()
    for at in range(len(open_rows) - 1, -1, -1):
        row = open_rows[at]
        found[row] = taken[at, best]
        best -= int((found[row] - least[row]) * units[row])
    return np.asarray(found)
