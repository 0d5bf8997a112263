"""Reports of frontends in, one picture of demand and devices out."""

from collections.abc import Iterable, Sequence
from typing import Any

from glet.observe.counters import merged, outcomes, quantile_ms
from glet.observe.devices import DeviceSeries
from glet.observe.frontends import FrontendSeries, ModelSeries
from glet.observe.rates import RecentPeak
from glet.types.observation import (
    AppObservation,
    DeviceObservation,
    ModelObservation,
    Observation,
)
from glet.types.plan import Plan
from glet.wire.counters import FrontendCounters
from glet.wire.messages import FrontendReport

SPAN_S = 1.0
SILENT_AFTER_S = 2.0
# Before so much was seen of the traffic, silence is no reason to plan for nothing.
LEAST_SPAN_S = 0.5 * SPAN_S
# Over less of a span than this a few requests more or less look like another rate.
WHOLE_SPAN = 0.5
# A frontend that is silent for longer has gone; names of others come instead.
FORGET_S = 600.0


class Observer:
    """Adds up what frontends report; pure: every call is told the time, which never goes back.

    Rates and counts are over the last `span_s` that a frontend reported, by its own clock. A
    frontend that restarts goes on where its last life ended; one that is silent for
    `silent_after_s` counts no more. Reports may come late, twice or in another order: only a later
    one of a frontend changes anything.
    """

    def __init__(
        self,
        *,
        mean_s: float,
        peak_s: float,
        span_s: float = SPAN_S,
        silent_after_s: float = SILENT_AFTER_S,
    ) -> None:
        """`mean_s` is the time constant of `mean_rps`, `peak_s` how far back `peak_rps` looks."""
        self._mean_s = mean_s
        self._peak_s = peak_s
        self._span_s = span_s
        self._silent_after_s = silent_after_s
        self._frontends: dict[str, FrontendSeries] = {}
        self._devices: dict[str, DeviceSeries] = {}
        self._peaks: dict[str, RecentPeak] = {}

    def report(self, report: FrontendReport, now_s: float) -> bool:
        """Takes a report that came at `now_s`; False when it says nothing new."""
        series = self._frontends.get(report.name)
        if series is None:
            series = FrontendSeries(self._span_s, self._mean_s)
            self._frontends = {
                name: known
                for name, known in self._frontends.items()
                if now_s - known.heard_s <= FORGET_S
            }
            self._frontends[report.name] = series
        if not series.take(report, now_s):
            return False
        for state in report.states:
            self._devices.setdefault(state.name, DeviceSeries()).take(state, self._span_s)
        return True

    def alive(self, now_s: float) -> bool:
        """Whether any frontend was heard lately: without one nothing is known of demand."""
        return bool(self._heard(now_s))

    def observe(self, now_s: float) -> Observation:
        """The picture at `now_s`. The recent maximum is over the observations that were made."""
        heard = self._heard(now_s)
        names = sorted({name for series in heard for name in series.models})
        apps = {app.counted.model: app for report in _reports(heard) for app in report.apps}
        known = {*names, *apps}
        self._peaks = {name: self._peaks.get(name) or RecentPeak(self._peak_s) for name in known}
        spans_s = [m.over()[0] for series in heard for m in series.models.values()]
        states = [device.state for device in self._devices.values()]
        gpulets = [gpulet for state in states if state is not None for gpulet in state.plan]
        return Observation(
            now_s=now_s,
            span_s=max(spans_s, default=0.0),
            models=tuple(self._model(name, heard, now_s) for name in names),
            apps=tuple(
                AppObservation(
                    app=name,
                    stages=app.stages,
                    **self._demand(name, [s.apps[name] for s in heard if name in s.apps], now_s),
                )
                for name, app in sorted(apps.items())
            ),
            devices=self._observed_devices(heard),
            plan=Plan(gpulets=tuple(sorted(gpulets, key=lambda gpulet: gpulet.device))),
        )

    def _heard(self, now_s: float) -> list[FrontendSeries]:
        return [
            series
            for series in self._frontends.values()
            if now_s - series.heard_s <= self._silent_after_s
        ]

    def _model(self, name: str, heard: list[FrontendSeries], now_s: float) -> ModelObservation:
        parts = [series.models[name] for series in heard if name in series.models]
        return ModelObservation(
            model=name,
            max_batch=max(part.over()[1].max_batch for part in parts),
            **self._demand(name, parts, now_s),
        )

    def _demand(self, name: str, parts: Sequence[ModelSeries], now_s: float) -> dict[str, Any]:
        """The fields of Demand, over all frontends."""
        spans = [part.over() for part in parts]
        counted = [counts for _, counts in spans]
        offered_rps = sum(_rate(counts.received, span_s) for span_s, counts in spans)
        peak = self._peaks[name]
        if max(span_s for span_s, _ in spans) >= WHOLE_SPAN * self._span_s:
            peak.add(offered_rps, now_s)
        latency = merged(counts.latency for counts in counted)
        return {
            "slo_ms": counted[0].slo_ms,
            "offered_rps": offered_rps,
            "mean_rps": sum(part.mean.value for part in parts),
            "peak_rps": peak.value(now_s),
            "goodput_rps": sum(_rate(counts.good, span_s) for span_s, counts in spans),
            "outcomes": outcomes(counted),
            "outstanding": sum(_outstanding(counts) for counts in counted),
            "p50_ms": quantile_ms(latency, 0.50),
            "p95_ms": quantile_ms(latency, 0.95),
            "p99_ms": quantile_ms(latency, 0.99),
        }

    def _observed_devices(self, heard: list[FrontendSeries]) -> tuple[DeviceObservation, ...]:
        alive = {
            state.name
            for report in _reports(heard)
            for state in report.states
            if state.name not in report.silent
        }
        found = [series.observed(alive=name in alive) for name, series in self._devices.items()]
        return tuple(sorted((d for d in found if d is not None), key=lambda d: d.device))


def _reports(heard: Iterable[FrontendSeries]) -> list[FrontendReport]:
    return [series.report for series in heard if series.report is not None]


def _rate(count: int, span_s: float) -> float:
    return count / span_s if span_s > 0.0 else 0.0


def _outstanding(counts: FrontendCounters) -> int:
    return max(0, counts.outstanding)
