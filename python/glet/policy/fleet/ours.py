"""Autoscaler `glet`: the exact allocation for what may come, decided anew every few seconds."""

from typing import Literal

import msgspec
import numpy as np

from glet.policy.fleet.expected import KEPT, Expected
from glet.policy.fleet.knapsack import Floats, Ints
from glet.policy.fleet.numbers import Count, NotNegative, Positive
from glet.policy.fleet.objective import SHEDDING, Objective, best_allocation, table_value
from glet.policy.fleet.sizing import service_s
from glet.policy.fleet.table import Demand, Model, UtilityTable, utility_table
from glet.types.fleet import FleetJob, FleetObservation, FleetTargets

# Requests of a replica that are being worked on are no backlog.
AT_WORK = 1.0
# What the newest measured processing time counts in its average.
SMOOTH = 0.2


class GletSettings(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="policy",
    tag="glet",
):
    """Every `interval_s` replicas are chosen for `steps` intervals to come, the current included.

    Rates are taken at `cases` quantiles of the forecast, each as likely. `prior` is how many
    standard deviations of a Poisson count the forecast of the current interval is trusted to: what
    arrived so far counts as much more as it is surer. Rates are taken `doubts` times as high, with
    `doubt_chances`: how far the latency model is to be trusted. A unit has to gain `unit_cost` of
    utility over that time, and a change `move_gain` in all. `margin_ms` of an objective is not
    planned with: what routers take. Utility is `relaxed`, min(1, (objective / percentile)^alpha),
    or the part of the requests answered `within` the objective. `method` is how rates are forecast.
    """

    interval_s: Positive = 20.0
    objective: Objective = "sum"
    steps: Count = 4
    cases: Count = 3
    prior: Positive = 2.0
    unit_cost: NotNegative = 0.0
    move_gain: NotNegative = 0.05
    margin_ms: NotNegative = 0.0
    doubts: tuple[float, ...] = (1.0, 1.1, 1.3)
    doubt_chances: tuple[float, ...] = (0.4, 0.35, 0.25)
    utility: Literal["relaxed", "within"] = "relaxed"
    alpha: Positive = 1.0
    method: str = "ar"

    def __post_init__(self) -> None:
        if len(self.doubts) != len(self.doubt_chances) or not self.doubts:
            raise ValueError("doubts and doubt_chances are as many, at least one")
        if min(self.doubts) <= 0.0 or min(self.doubt_chances) < 0.0:
            raise ValueError("doubts are above 0, their chances 0 or more")


class Glet:
    """Most expected utility for the quota, exactly.

    The error of the forecast is in the objective, so each model has the head room that its own
    forecasts need. Backlog is added to the rate of the current interval; replicas that start help
    only after the start; with a penalty objective, requests that are refused do not load the
    replicas. Up and down alike, as soon as it pays. The frame is Faro's (EuroSys 2025).
    """

    name = "glet"

    def __init__(self, settings: GletSettings, expected: Expected) -> None:
        self._settings, self._expected = settings, expected
        self._measured_s: dict[str, float] = {}
        self._quantiles = tuple(((np.arange(settings.cases) + 0.5) / settings.cases).tolist())
        self.interval_s = settings.interval_s

    def targets(self, observation: FleetObservation) -> FleetTargets:
        jobs = observation.jobs
        if not jobs:
            return FleetTargets()
        units = np.array([job.units for job in jobs], dtype=np.int64)
        weights = np.array([job.weight for job in jobs], dtype=np.float64)
        table = self._table(observation)
        costs = self._settings.unit_cost * units[:, None] * np.arange(table.values.shape[1])
        worth = table.values - costs
        objective = self._settings.objective
        found = best_allocation(objective, worth, units, observation.quota, weights)
        current = np.array([job.target for job in jobs], dtype=np.int64)
        fits = int(current @ units) <= observation.quota
        stays = table_value(objective, worth, current, weights) if fits else -np.inf
        replicas = found.replicas
        if found.value < stays + self._settings.move_gain:
            replicas = current
        return self._said(jobs, replicas, table)

    def _said(
        self, jobs: tuple[FleetJob, ...], replicas: Ints, table: UtilityTable
    ) -> FleetTargets:
        names = [job.model for job in jobs]
        columns = np.minimum(replicas, table.accept.shape[1] - 1)
        accept: dict[str, float] = {}
        if self._settings.objective in SHEDDING:
            parts = table.accept[np.arange(len(jobs)), columns].tolist()
            accept = dict(zip(names, parts, strict=True))
        changed = sum(int(n) != job.target for n, job in zip(replicas, jobs, strict=True))
        why = f"{changed} models changed" if changed else ""
        wanted = dict(zip(names, replicas.tolist(), strict=True))
        return FleetTargets(replicas=wanted, accept=accept, why=why)

    def _table(self, observation: FleetObservation) -> UtilityTable:
        settings = self._settings
        into_s = observation.now_s % observation.interval_s
        left_s = observation.interval_s - into_s
        rates = self._rates(observation, into_s)
        doubts = np.array(settings.doubts)
        rates = (rates[..., None] * doubts).reshape(*rates.shape[:2], -1)
        chances = np.outer(
            np.full(settings.cases, 1.0 / settings.cases), settings.doubt_chances
        ).ravel()
        full = observation.free <= 0
        start_s = observation.start_s if full else observation.start_free_s
        demand = Demand(
            rates_rps=rates,
            chances=chances,
            service_s=np.array([self._service_s(job) for job in observation.jobs]),
            cold=_cold(start_s, left_s, observation.interval_s, settings.steps),
            serving=np.array([job.replicas + job.starting for job in observation.jobs]),
        )
        model = Model(
            alpha=settings.alpha,
            within=settings.utility == "within",
            shed=settings.objective in SHEDDING,
        )
        slower = observation.jobs
        if settings.margin_ms:
            slower = tuple(
                msgspec.structs.replace(job, slo_ms=max(1.0, job.slo_ms - settings.margin_ms))
                for job in observation.jobs
            )
        return utility_table(slower, demand, observation.quota, model)

    def _service_s(self, job: FleetJob) -> float:
        """As measured, averaged over the last few times; as nominal while nothing is.

        A replica that lets only so many requests through is as slow as that.
        """
        if job.batches:
            return service_s(job, measured=True)
        if job.processing_ms > 0.0:
            now_s = job.processing_ms / 1000.0
            before_s = self._measured_s.get(job.model, now_s)
            self._measured_s[job.model] = before_s + SMOOTH * (now_s - before_s)
        found_s = self._measured_s.get(job.model) or service_s(job, measured=False)
        return max(found_s, 1.0 / job.rate_limit_rps) if job.rate_limit_rps > 0.0 else found_s

    def _rates(self, observation: FleetObservation, into_s: float) -> Floats:
        """Requests/s by job, step and case; the first step is what is left of this interval."""
        steps, jobs = self._settings.steps, observation.jobs
        interval_s = observation.interval_s
        at = int((observation.now_s + 1e-6) // interval_s)
        counts = self._expected.counts(jobs, at, steps, self._quantiles)
        so_far = [job.so_far for job in jobs if job.so_far is not None]
        if into_s > 1e-6 and len(so_far) == len(jobs):
            now = self._updated(counts[:, 0], np.array(so_far), into_s / interval_s)
            likely = now[:, now.shape[1] // 2].tolist()
            seen = [(*job.arrivals[-KEPT:], n) for job, n in zip(jobs, likely, strict=True)]
            models = tuple(job.model for job in jobs)
            rest = self._expected.counts_after(models, seen, at + 1, steps - 1, self._quantiles)
            counts = np.concatenate([now[:, None], rest], axis=1)
        rates = counts / interval_s
        waiting = [job.outstanding - AT_WORK * max(1, job.replicas) for job in jobs]
        rates[:, 0] += np.maximum(0.0, waiting)[:, None] / (interval_s - into_s)
        return np.asarray(rates)

    def _updated(self, counts: Floats, so_far: Floats, part: float) -> Floats:
        """Quantiles of the whole interval's count by job, when `so_far` came in that part of it.

        Forecast and extrapolation are averaged by their inverse variances, both as for Poisson
        counts; what is still uncertain shrinks the spread of the forecast.
        """
        middle = counts[:, counts.shape[1] // 2]
        spread = self._settings.prior**2 * np.maximum(1.0, middle)
        chance = np.maximum(1.0, so_far) / part**2 * (1.0 - part)
        trust = spread / (spread + chance)
        likely = middle + trust * (so_far / part - middle)
        ways = (counts - middle[:, None]) * np.sqrt(1.0 - trust)[:, None]
        return np.asarray(np.maximum(so_far[:, None], likely[:, None] + ways))


def _cold(start_s: float, left_s: float, interval_s: float, steps: int) -> Floats:
    """The part of every step before a replica that is asked for now helps; the first is short."""
    ends = left_s + interval_s * np.arange(steps)
    lengths = np.concatenate([[left_s], np.full(steps - 1, interval_s)])
    return np.asarray(np.clip(1.0 - (ends - start_s) / lengths, 0.0, 1.0))
