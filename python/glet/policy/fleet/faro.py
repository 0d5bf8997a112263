"""Autoscaler `faro`: a solver over what is forecast, and a reactive stage between."""

from typing import Literal

import msgspec
import numpy as np

from glet.policy.fleet.additive import Additive, AdditiveSettings
from glet.policy.fleet.expected import Expected, ForecastSettings, Schedule
from glet.policy.fleet.grants import Grants
from glet.policy.fleet.grouped import solve_grouped
from glet.policy.fleet.knapsack import Floats
from glet.policy.fleet.numbers import Count, Part, Positive
from glet.policy.fleet.sizing import service_s
from glet.policy.fleet.solve import Solution, SolverSettings
from glet.policy.fleet.table import Demand
from glet.types.fleet import FleetObservation, FleetTargets


class FaroSettings(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="policy",
    tag="faro",
):
    """Solved at `first_s` and every `long_s`; between, with `reactive`, one replica more after
    `up_s` above the objective.

    With `adaptive_quantile` the quantile of the forecast is raised by 0.1 up to `most_quantile`
    while more than `slack` units stay free. `cold_start` is what is known of starting: `published`
    counts whole intervals, and half of them where a unit is free; `none` lets replicas help at
    once.
    """

    interval_s: Positive = 10.0
    first_s: Positive = 60.0
    long_s: Positive = 300.0
    reactive: bool = True
    up_s: Positive = 30.0
    trials: Count = 5
    adaptive_quantile: bool = True
    most_quantile: Part = 0.9
    slack: int = 0
    cold_start: Literal["published", "none"] = "published"
    forecast: ForecastSettings = ForecastSettings()
    solver: SolverSettings = SolverSettings()


class Faro:
    """Faro (Jeon et al., EuroSys 2025, section 4), with the exact solver unless told otherwise."""

    name = "faro"

    def __init__(self, settings: FaroSettings, expected: Expected) -> None:
        self._settings, self._expected = settings, expected
        self._long = Schedule(settings.first_s, settings.long_s)
        self._short = Additive(AdditiveSettings(interval_s=settings.interval_s, up_s=settings.up_s))
        self._grants = Grants()
        self.interval_s = settings.interval_s

    def targets(self, observation: FleetObservation) -> FleetTargets:
        if not observation.jobs:
            return FleetTargets()
        if not self._long.due(observation.now_s):
            wishes = self._short.wishes(observation) if self._settings.reactive else {}
            return self._grants.granted(observation, wishes, 1, "above the objective")
        self._short.clear()
        solution = self._solved(observation)
        names = [job.model for job in observation.jobs]
        wishes = dict(zip(names, solution.replicas.tolist(), strict=True))
        found = self._grants.granted(observation, wishes, self._settings.trials, "solved")
        accept = dict(zip(names, solution.accept.tolist(), strict=True))
        return msgspec.structs.replace(found, accept=accept)

    def _solved(self, observation: FleetObservation) -> Solution:
        settings = self._settings
        quantile = settings.forecast.quantile
        found = self._at(observation, quantile)
        if not settings.adaptive_quantile:
            return found
        while quantile < settings.most_quantile - 1e-9 and self._free(observation, found):
            quantile = min(settings.most_quantile, quantile + 0.1)
            safer = self._at(observation, quantile)
            if not self._free(observation, safer):
                break
            found = safer
        return found

    def _free(self, observation: FleetObservation, solution: Solution) -> bool:
        units = np.array([job.units for job in observation.jobs])
        return observation.quota - int(solution.replicas @ units) > self._settings.slack

    def _at(self, observation: FleetObservation, quantile: float) -> Solution:
        steps = self._settings.forecast.steps
        jobs = observation.jobs
        demand = Demand(
            rates_rps=self._expected.rates_rps(observation, steps, (quantile,)),
            chances=np.ones(1),
            service_s=np.array([service_s(job, measured=False) for job in jobs]),
            cold=self._cold(observation, steps),
            serving=np.array([job.target for job in jobs]),
        )
        return solve_grouped(jobs, demand, observation.quota, self._settings.solver)

    def _cold(self, observation: FleetObservation, steps: int) -> Floats:
        if self._settings.cold_start == "none":
            return np.zeros(steps)
        whole = int(observation.start_s // observation.interval_s)
        missing = whole if observation.free <= 0 else whole // 2
        return np.where(np.arange(steps) < missing, 1.0, 0.0)
