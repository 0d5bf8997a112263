"""What was asked of every model and app in the last minutes, second by second. Pure."""

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from glet.observe.counters import fell, nothing, quantile_ms, since
from glet.wire.counters import FrontendCounters

KEPT_S = 300.0


class Point(NamedTuple):
    """Rates over one span, in requests/s; latencies of ok answers, None without any."""

    offered_rps: float
    goodput_rps: float
    refused_rps: float
    p50_ms: float | None
    p99_ms: float | None


class Sample(NamedTuple):
    """All models at one moment; `seq` counts the samples."""

    seq: int
    at_s: float
    points: dict[str, Point]


class History:
    """Keeps samples of `kept_s`; every call is told the time, which never goes back."""

    def __init__(self, kept_s: float = KEPT_S) -> None:
        self._kept_s = kept_s
        self._seq = 0
        self._last_s = 0.0
        self._last: dict[str, FrontendCounters] = {}
        self._samples: deque[Sample] = deque()

    def add(self, counted: Iterable[FrontendCounters], now_s: float) -> None:
        """What was counted until now. A model that is new starts from nothing."""
        now = {counters.model: counters for counters in counted}
        span_s = now_s - self._last_s
        if self._seq and span_s <= 0.0:
            return
        if self._seq:
            points = {name: _point(self._last.get(name), c, span_s) for name, c in now.items()}
            self._samples.append(Sample(self._seq, now_s, points))
        self._seq += 1
        self._last, self._last_s = now, now_s
        while self._samples and self._samples[0].at_s < now_s - self._kept_s:
            self._samples.popleft()

    def columns(self, after: int, now_s: float) -> dict[str, Any]:
        """Samples with a `seq` above `after`, oldest first, as columns.

        `seq` is the last there is, `ago_s` has a number for each sample, and so has every column of
        `models`: {name: {field of Point: [...]}}, None where the model was not there.
        """
        samples = [sample for sample in self._samples if sample.seq > after]
        names = sorted({name for sample in samples for name in sample.points})
        return {
            "seq": self._seq - 1,
            "ago_s": [round(now_s - sample.at_s, 3) for sample in samples],
            "models": {name: _columns(name, samples) for name in names},
        }


def _point(before: FrontendCounters | None, now: FrontendCounters, span_s: float) -> Point:
    if before is None or fell(before, now):
        before = nothing(now)
    new = since(before, now)
    refused = new.late + new.full + new.failed + new.unavailable + new.invalid
    return Point(
        offered_rps=new.received / span_s,
        goodput_rps=new.good / span_s,
        refused_rps=refused / span_s,
        p50_ms=quantile_ms(new.latency, 0.50),
        p99_ms=quantile_ms(new.latency, 0.99),
    )


def _columns(name: str, samples: list[Sample]) -> dict[str, list[float | None]]:
    points = [sample.points.get(name) for sample in samples]
    return {
        field: [_rounded(getattr(point, field)) if point else None for point in points]
        for field in Point._fields
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
