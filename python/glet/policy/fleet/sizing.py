"""Autoscaler `sizing`: as many replicas as the rate needs."""

import math

import msgspec

from glet.errors import ArgumentError
from glet.policy.fleet.grants import Grants
from glet.policy.fleet.latency import batch_rate_rps
from glet.policy.fleet.numbers import Count, Part, Positive
from glet.types.fleet import FleetJob, FleetObservation, FleetTargets


class SizingSettings(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="policy",
    tag="sizing",
):
    """Replicas are planned `utilisation` busy, and at most `step` come or go at a time."""

    interval_s: Positive = 30.0
    utilisation: Part = 0.9
    step: Count = 2


class Sizing:
    """ceil(rate / (utilisation * capacity of one replica)).

    The capacity is 1 / processing time, or what the replica lets through if that is less; for a
    model that batches, the smallest number of replicas whose batches answer the rate in time.
    """

    name = "sizing"

    def __init__(self, settings: SizingSettings) -> None:
        self._settings = settings
        self._grants = Grants()
        self.interval_s = settings.interval_s

    def targets(self, observation: FleetObservation) -> FleetTargets:
        step = self._settings.step
        wishes = {
            job.model: min(max(self._needed(job), job.target - step), job.target + step)
            for job in observation.jobs
        }
        return self._grants.granted(observation, wishes, 1, "as the rate needs")

    def _needed(self, job: FleetJob) -> int:
        rate_rps = job.recent_rps / self._settings.utilisation
        if job.batches:
            return max(job.min_replicas, units_for(job, rate_rps))
        capacity_rps = 1000.0 / processing_ms(job, measured=True)
        if job.rate_limit_rps > 0.0:
            capacity_rps = min(capacity_rps, job.rate_limit_rps)
        # What divides exactly must not be rounded up.
        return max(job.min_replicas, math.ceil(rate_rps / capacity_rps - 1e-9))


def units_for(job: FleetJob, rate_rps: float) -> int:
    """The fewest replicas of a model that batches which answer this rate in time, or all."""
    able = sorted({point.replicas for point in job.batches})
    fit = (n for n in able if batch_rate_rps(job.batches, n, job.slo_ms) >= rate_rps)
    return next(fit, able[-1])


def service_s(job: FleetJob, *, measured: bool) -> float:
    """Processing time in s; what batches is looked up by `batches`, and any time will do."""
    return 1.0 if job.batches else processing_ms(job, measured=measured) / 1000.0


def processing_ms(job: FleetJob, *, measured: bool) -> float:
    """Of one request: as measured, or else as its owner says; without `measured` the other way
    round. Raises ArgumentError when neither is known."""
    order = (job.processing_ms, job.nominal_ms)
    for found in order if measured else reversed(order):
        if found > 0.0:
            return found
    raise ArgumentError(f"{job.model!r}: processing time is not known")
