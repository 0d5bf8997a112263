"""Autoscaler `mark`: each model sized for the highest rate that is forecast."""

import math

import msgspec

from glet.policy.fleet.additive import Additive, AdditiveSettings
from glet.policy.fleet.expected import Expected, ForecastSettings, Schedule
from glet.policy.fleet.grants import Grants
from glet.policy.fleet.numbers import Count, Positive
from glet.policy.fleet.sizing import processing_ms, units_for
from glet.types.fleet import FleetJob, FleetObservation, FleetTargets


class MarkSettings(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="policy",
    tag="mark",
):
    """Sized at `first_s` and every `long_s`; between, one replica more after `up_s` above the
    objective. A wish that does not fit is tried `trials` times."""

    interval_s: Positive = 10.0
    first_s: Positive = 60.0
    long_s: Positive = 300.0
    up_s: Positive = 30.0
    trials: Count = 5
    forecast: ForecastSettings = ForecastSettings()


class Mark:
    """ceil(max rate * processing time / SLO), first come first served.

    MArk (Zhang et al., ATC 2019), Cocktail and Barista as the Faro paper (EuroSys 2025, section 6)
    compares with them: a replica takes as many requests per second as it answers within the SLO.
    """

    name = "mark"

    def __init__(self, settings: MarkSettings, expected: Expected) -> None:
        self._settings, self._expected = settings, expected
        self._long = Schedule(settings.first_s, settings.long_s)
        self._short = Additive(AdditiveSettings(interval_s=settings.interval_s, up_s=settings.up_s))
        self._grants = Grants()
        self.interval_s = settings.interval_s

    def targets(self, observation: FleetObservation) -> FleetTargets:
        settings = self._settings
        if not observation.jobs:
            return FleetTargets()
        if not self._long.due(observation.now_s):
            return self._grants.granted(
                observation, self._short.wishes(observation), 1, "above the objective"
            )
        self._short.clear()
        forecast = settings.forecast
        rates = self._expected.rates_rps(observation, forecast.steps, (forecast.quantile,))
        peaks = rates.max(axis=(1, 2)).tolist()
        wishes = {
            job.model: _replicas(job, peak)
            for job, peak in zip(observation.jobs, peaks, strict=True)
        }
        return self._grants.granted(observation, wishes, settings.trials, "as forecast")


def _replicas(job: FleetJob, rate_rps: float) -> int:
    if job.batches:
        return units_for(job, rate_rps)
    return max(1, math.ceil(rate_rps * processing_ms(job, measured=False) / job.slo_ms))
