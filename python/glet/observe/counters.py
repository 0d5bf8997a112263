"""Counters of one process as it reports them, made to rise over starts and ends of its lives."""

from collections.abc import Iterable

import msgspec

from glet.types.observation import Outcomes
from glet.wire.counters import FrontendCounters

NS_PER_MS = 1e6
Buckets = tuple[tuple[int, int], ...]
"""Of a histogram, those that are not empty: (upper end in nanoseconds, count), rising."""
_COUNTED = ("received", "ok", "good", "late", "full", "failed", "unavailable", "invalid",
            "cancelled")  # fmt: skip


def added(left: FrontendCounters, right: FrontendCounters) -> FrontendCounters:
    """Counts and histograms of both; the rest is of `right`."""
    return msgspec.structs.replace(
        right,
        latency=merged([left.latency, right.latency]),
        **{name: getattr(left, name) + getattr(right, name) for name in _COUNTED},
    )


def since(before: FrontendCounters, now: FrontendCounters) -> FrontendCounters:
    """What was counted between the two, never below 0; the rest is of `now`."""
    known = dict(before.latency)
    new = ((upper, count - known.get(upper, 0)) for upper, count in now.latency)
    return msgspec.structs.replace(
        now,
        latency=tuple((upper, count) for upper, count in new if count > 0),
        **{name: max(0, getattr(now, name) - getattr(before, name)) for name in _COUNTED},
    )


def fell(before: FrontendCounters, now: FrontendCounters) -> bool:
    """Whether `now` cannot be of the same life as `before`."""
    return any(getattr(now, name) < getattr(before, name) for name in _COUNTED)


def nothing(counters: FrontendCounters) -> FrontendCounters:
    """The same model with nothing counted."""
    return FrontendCounters(model=counters.model, slo_ms=counters.slo_ms)


def merged(histograms: Iterable[Buckets]) -> Buckets:
    """One histogram of all."""
    counts: dict[int, int] = {}
    for buckets in histograms:
        for upper, count in buckets:
            counts[upper] = counts.get(upper, 0) + count
    return tuple(sorted(counts.items()))


def quantile_ms(buckets: Buckets, q: float) -> float | None:
    """Upper end of the bucket that holds the q-quantile, 0 <= q <= 1; None without any.

    Buckets are those of csrc/glet/batch/stats.h: at most 1/16 above the true quantile.
    """
    total = sum(count for _, count in buckets)
    if total == 0:
        return None
    rank = max(1.0, q * total)
    seen = 0
    for upper, count in buckets:
        seen += count
        if seen >= rank - 1e-9:
            return upper / NS_PER_MS
    return buckets[-1][0] / NS_PER_MS


def outcomes(counted: Iterable[FrontendCounters]) -> Outcomes:
    """Their sum, without what came."""
    rows = tuple(counted)
    return Outcomes(
        ok=sum(row.ok for row in rows),
        late=sum(row.late for row in rows),
        full=sum(row.full for row in rows),
        failed=sum(row.failed for row in rows),
        unavailable=sum(row.unavailable for row in rows),
        invalid=sum(row.invalid for row in rows),
        cancelled=sum(row.cancelled for row in rows),
    )
