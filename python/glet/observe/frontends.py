"""What one frontend counted over the last span, whatever happened to its reports on the way."""

from collections import deque
from collections.abc import Iterable, Mapping

from glet.observe.counters import added, fell, nothing, since
from glet.observe.rates import MovingMean
from glet.wire.counters import FrontendCounters
from glet.wire.messages import FrontendReport

# Two reports that follow each other closer than this are not a rate.
SHORTEST_S = 1e-3


class ModelSeries:
    """One model or app on one frontend: its counters over time, rising over restarts."""

    def __init__(self, first: FrontendCounters, at_s: float, mean_s: float) -> None:
        """What it counted before `at_s` is of no span and not looked at."""
        self._raw = first
        self._before = nothing(first)
        self._points: deque[tuple[float, FrontendCounters]] = deque([(at_s, first)])
        self.mean = MovingMean(mean_s)

    def add(self, raw: FrontendCounters, at_s: float, span_s: float, *, restarted: bool) -> None:
        """The counters at `at_s`, later than all before; `span_s` is kept."""
        last_s, last = self._points[-1]
        if restarted or fell(self._raw, raw):
            self._before = last
        self._raw = raw
        now = added(self._before, raw)
        self.mean.add((now.received - last.received) / (at_s - last_s), at_s - last_s)
        self._points.append((at_s, now))
        while len(self._points) > 2 and self._points[1][0] <= at_s - span_s:
            self._points.popleft()

    def over(self) -> tuple[float, FrontendCounters]:
        """The length of the last span in seconds, 0 before the second report, and its counts."""
        (first_s, first), (last_s, last) = self._points[0], self._points[-1]
        return last_s - first_s, since(first, last)


class FrontendSeries:
    """All models and apps of one frontend, through all of its lives."""

    def __init__(self, span_s: float, mean_s: float) -> None:
        self._span_s = span_s
        self._mean_s = mean_s
        self._lives: set[str] = set()
        self._life = ""
        self._sent_s = float("-inf")
        self._offset_s = 0.0
        self._at_s = float("-inf")
        self.models: dict[str, ModelSeries] = {}
        self.apps: dict[str, ModelSeries] = {}
        self.heard_s = float("-inf")
        self.report: FrontendReport | None = None

    def take(self, report: FrontendReport, now_s: float) -> bool:
        """False for what is repeated, overtaken, or of a life that is over."""
        is_new = report.incarnation != self._life
        if is_new:
            if report.incarnation in self._lives:
                return False
            # Times of sending are as exact as the counters, but of another clock.
            self._offset_s = max(now_s, self._at_s + SHORTEST_S) - report.sent_s
        elif report.sent_s < self._sent_s + SHORTEST_S:
            return False
        is_first = not self._lives
        self._lives.add(report.incarnation)
        self._life, self._sent_s = report.incarnation, report.sent_s
        self._at_s = report.sent_s + self._offset_s
        self.heard_s = max(self.heard_s, now_s)
        self.report = report
        restarted = is_new and not is_first
        self.models = self._count(self.models, report.models, restarted=restarted)
        apps = [app.counted for app in report.apps]
        self.apps = self._count(self.apps, apps, restarted=restarted)
        return True

    def _count(
        self,
        known: Mapping[str, ModelSeries],
        counted: Iterable[FrontendCounters],
        *,
        restarted: bool,
    ) -> dict[str, ModelSeries]:
        now: dict[str, ModelSeries] = {}
        for raw in counted:
            if raw.model in now:
                continue  # nobody counts one twice
            series = known.get(raw.model)
            if series is None:
                series = ModelSeries(raw, self._at_s, self._mean_s)
            else:
                series.add(raw, self._at_s, self._span_s, restarted=restarted)
            now[raw.model] = series
        return now
