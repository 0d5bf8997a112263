"""Squishy bins: models that take turns on a gpulet in one duty cycle that can shrink.

Nexus (Shen et al., SOSP 2019, section 6.1). A model that fills a gpulet runs back to back at the
batch of most throughput with 2 L(b) <= SLO. Less than that is a residue: the largest batch that is
collected at the rate r and run in time, L(b) + b / r <= SLO, in a duty cycle d = b / r, of which it
occupies L(b) / d. Bins merge in the shorter of their cycles: d = min d_i, b_i = ceil(d r_i), and
have to keep sum L_i(b_i) <= d and d + L_i(b_i) <= SLO_i.

Two additions to the formulas. A model so slow in coming that even two requests do not come in time
has a batch of 1 and what is left of its SLO as its cycle. One too slow for 2 L(1) <= SLO may still
have a gpulet alone and serve one request at a time, if it is done before the next comes.
"""

import math
from collections.abc import Sequence

from glet.plan.fit import EPSILON, Fit, Table, Want
from glet.plan.room import Bin


def saturated(table: Table, slo_ms: float, factor: float = 1.0) -> tuple[int, float]:
    """(batch, rate in rps) of a model that has a gpulet alone; (0, 0.0) when it is always late."""
    best, most_rps = 0, 0.0
    for batch, length_ms in enumerate(table, start=1):
        if 2.0 * length_ms * factor > slo_ms:
            break
        rate_rps = 1000.0 * batch / (length_ms * factor)
        if rate_rps > most_rps:
            best, most_rps = batch, rate_rps
    if best == 0 and table[0] * factor <= slo_ms:
        return 1, 1000.0 / (table[0] * factor)
    return best, most_rps


def residue(want: Want, factor: float = 1.0) -> Bin | None:
    """A model alone; None when it is too much for one gpulet."""
    batch = _collected(want, factor)
    length_ms = want.table[batch - 1] * factor
    duty_ms = min(1000.0 * batch / want.rate_rps, want.slo_ms - length_ms)
    if length_ms > duty_ms * (1.0 + EPSILON):
        return filling(want, factor)
    fit = Fit("turns", (batch,), (duty_ms,))
    least = _least(want, batch, duty_ms, factor)
    return Bin((want,), fit, length_ms / duty_ms, least, want.table[0] * factor)


def merged(one: Bin, other: Bin, factor: float = 1.0) -> Bin | None:
    """Both in one gpulet, or None. Both hold at that slowdown by themselves."""
    duty_ms = min(one.fit.duty_ms[0], other.fit.duty_ms[0])
    most_ms = duty_ms * (1.0 + EPSILON)
    if one.once_ms + other.once_ms > most_ms:
        return None
    batches: list[int] = []
    busy_ms = 0.0
    changed = one.wants + other.wants
    if one.fit.duty_ms[0] == duty_ms:
        # What ran in this cycle before runs as it did.
        batches += one.fit.batches
        busy_ms = one.occupancy * duty_ms
        changed = other.wants
    for want in changed:
        batch = math.ceil(want.rate_rps * duty_ms / 1000.0 - EPSILON) or 1
        if batch > len(want.table):
            return None
        length_ms = want.table[batch - 1] * factor
        busy_ms += length_ms
        if busy_ms > most_ms or duty_ms + length_ms > want.slo_ms * (1.0 + EPSILON):
            return None
        batches.append(batch)
    wants = one.wants + other.wants
    fit = Fit("turns", tuple(batches), (duty_ms,) * len(wants))
    least, once_ms = one.least + other.least, one.once_ms + other.once_ms
    return Bin(wants, fit, busy_ms / duty_ms, least, once_ms)


def packed(wants: Sequence[Want], factor: float = 1.0) -> Bin | None:
    """All of these in one gpulet, merged one after the other, or None."""
    whole: Bin | None = None
    for want in wants:
        single = residue(want, factor)
        if single is None:
            return None
        whole = single if whole is None else merged(whole, single, factor)
        if whole is None:
            return None
    return whole


def _collected(want: Want, factor: float) -> int:
    """The largest batch with L(b) + b / r <= SLO; 1 when there is none."""
    gap_ms = 1000.0 / want.rate_rps
    low, high = 1, len(want.table)
    while low < high:
        middle = (low + high + 1) // 2
        if gap_ms * middle + want.table[middle - 1] * factor <= want.slo_ms:
            low = middle
        else:
            high = middle - 1
    return low


def filling(want: Want, factor: float = 1.0) -> Bin | None:
    """A model that has all the time of its gpulet; None when that is not enough for its rate."""
    batch, most_rps = saturated(want.table, want.slo_ms, factor)
    if want.rate_rps > most_rps * (1.0 + EPSILON):
        return None
    fit = Fit("turns", (batch,), (want.table[batch - 1] * factor,))
    return Bin((want,), fit, 1.0, 1.0, want.table[0] * factor)


def _least(want: Want, batch: int, duty_ms: float, factor: float) -> float:
    """No cycle that is shorter lets the model occupy less than this."""
    gap_ms = 1000.0 / want.rate_rps
    return min(want.table[b - 1] * factor / min(b * gap_ms, duty_ms) for b in range(1, batch + 1))
