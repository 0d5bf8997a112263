"""Tables of utility: what every number of replicas of every job is worth over what is coming."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from glet.errors import ArgumentError
from glet.policy.fleet.knapsack import Floats, Ints
from glet.policy.fleet.latency import (
    Service,
    batch_latency_s,
    burst_latency_s,
    mdc_table_s,
    mdc_within,
)
from glet.policy.fleet.utility import relaxed_utility, step_utility, strict_penalty
from glet.types.fleet import FleetJob

ACCEPTS = (1.0, 0.999, 0.99, 0.98, 0.97, 0.95, 0.92, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.3, 0.1)
"""Parts of the requests that may be let in, where shedding is modelled."""


class Demand(NamedTuple):
    """Rates to expect, in requests/s: shape (jobs, steps, cases); a case counts `chances[case]`.

    `service_s` is the time of one request by job. `cold` is the part of every step that passes
    before a replica asked for now helps (0..1). `serving` are the replicas that serve until then.
    """

    rates_rps: Floats
    chances: Floats
    service_s: Floats
    cold: Floats
    serving: Ints


class Model(NamedTuple):
    """How latency and utility are modelled; `alpha` is the exponent of the relaxed utility.

    With `within` utility is the part of the requests that is answered within the objective; what
    batches is judged by its latency at the percentile, 0 or 1.
    """

    burst: bool = False
    step: bool = False
    within: bool = False
    alpha: float = 1.0
    shed: bool = False


PLAIN = Model()


class UtilityTable(NamedTuple):
    """Shape (jobs, most + 1): utility of n replicas, -inf where a job cannot have n; and the part
    of the requests that is best let in then."""

    values: Floats
    accept: Floats


def utility_table(
    jobs: Sequence[FleetJob], demand: Demand, quota: int, model: Model = PLAIN
) -> UtilityTable:
    """Utility of each job for each number of replicas, mean over steps and cases.

    With `shed`, a part d of the requests may be let in: the latency is that of rate * d, the
    utility is reduced by the penalty for 1 - d, and the best d of ACCEPTS is taken for every entry.
    Raises ArgumentError when shapes do not belong together.
    """
    _check(jobs, demand)
    most = _most(jobs, demand, quota)
    parts = np.array(ACCEPTS if model.shed else ACCEPTS[:1])
    worth = _utilities(jobs, demand, most, model, parts) * (1.0 - strict_penalty(1.0 - parts))
    # The first of equals: as little refused as possible.
    best = np.argmax(worth >= worth.max(axis=2, keepdims=True) - 1e-12, axis=2)
    values = np.take_along_axis(worth, best[:, :, None], axis=2)[:, :, 0]
    accept = parts[best]
    counts = np.arange(most + 1)
    least = np.array([job.min_replicas for job in jobs])[:, None]
    limit = np.array([max(job.min_replicas, job.max_replicas) for job in jobs])[:, None]
    able = (counts >= least) & (counts <= limit)
    return UtilityTable(np.where(able, values, -np.inf), accept)


def cold_steps(start_s: float, steps: int, interval_s: float) -> Floats:
    """The part of every step that has passed after `start_s`: shape (steps,)."""
    return np.clip(start_s / interval_s - np.arange(steps), 0.0, 1.0)


def _utilities(
    jobs: Sequence[FleetJob], demand: Demand, most: int, model: Model, parts: Floats
) -> Floats:
    """Shape (jobs, most + 1, parts): the utility with each part of the requests let in."""
    slo_s = np.array([job.slo_ms / 1000.0 for job in jobs])[:, None, None, None]
    if model.within and not any(job.batches for job in jobs):
        service = Service(demand.service_s[:, None, None, None], np.zeros(1))
        worth = mdc_within(demand.rates_rps[..., None] * parts, service, slo_s, most)
    else:
        latency_s = _latencies(jobs, demand, most, model, parts)
        worth = (
            step_utility(latency_s, slo_s)
            if model.step or model.within
            else relaxed_utility(latency_s, slo_s, model.alpha)
        )
    by_step = np.einsum("njtcp,c->njtp", worth, demand.chances)
    serving = np.minimum(demand.serving, most)
    before = by_step[serving, np.arange(len(jobs))]
    more = np.arange(most + 1)[:, None] > serving[None, :]
    waits = np.where(more[:, :, None], demand.cold[None, None, :], 0.0)[:, :, :, None]
    mixed = waits * before[None] + (1.0 - waits) * by_step
    return np.ascontiguousarray(mixed.mean(axis=2).swapaxes(0, 1))


def _latencies(
    jobs: Sequence[FleetJob], demand: Demand, most: int, model: Model, parts: Floats
) -> Floats:
    """Shape (most + 1, jobs, steps, cases, parts), in seconds."""
    rates_rps = demand.rates_rps[..., None] * parts
    service_s = demand.service_s[:, None, None, None]
    if model.burst:
        counts = np.arange(most + 1, dtype=np.float64)[:, None, None, None, None]
        return burst_latency_s(rates_rps, service_s, counts)
    percentile = np.array([job.percentile for job in jobs])[:, None, None, None]
    table = mdc_table_s(rates_rps, Service(service_s, percentile), most)
    for at, job in enumerate(jobs):
        if job.batches:
            table[:, at] = batch_latency_s(rates_rps[at], job.batches, job.percentile, most)
    return table


def _most(jobs: Sequence[FleetJob], demand: Demand, quota: int) -> int:
    """Replicas from which on more do not help any job: nobody waits any more, or none are left."""
    offered = demand.rates_rps.max(axis=(1, 2)) * demand.service_s
    others = sum(job.units * job.min_replicas for job in jobs)
    most = 0
    for job, busy in zip(jobs, offered.tolist(), strict=True):
        enough = math.ceil(busy + 4.0 * math.sqrt(busy)) + 3
        if job.batches:
            enough = max(point.replicas for point in job.batches)
        left = (quota - others) // job.units + job.min_replicas
        most = max(most, job.min_replicas, min(enough, job.max_replicas, left))
    return most


def _check(jobs: Sequence[FleetJob], demand: Demand) -> None:
    rates = demand.rates_rps
    if not jobs or rates.ndim != 3 or len(rates) != len(jobs):
        raise ArgumentError(
            f"rates of shape {rates.shape} for {len(jobs)} jobs; a row each is valid"
        )
    if demand.chances.shape != rates.shape[2:] or demand.cold.shape != rates.shape[1:2]:
        raise ArgumentError(
            f"{demand.cold.size} cold parts and {demand.chances.size} chances for rates of shape "
            f"{rates.shape}; one per step and one per case are valid"
        )
    if not (np.isfinite(rates).all() and (rates >= 0.0).all()):
        raise ArgumentError("a rate is negative or no number; 0 and more is valid")
    for job, service_s in zip(jobs, demand.service_s, strict=True):
        if not (job.batches or service_s > 0.0):
            raise ArgumentError(f"{job.model!r}: processing time is not known")
        if job.units < 1 or job.min_replicas < 0:
            raise ArgumentError(f"{job.model!r}: units are 1 or more, replicas 0 or more")
