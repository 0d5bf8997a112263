"""The published measures of a simulated run, from what became of requests interval by interval.

Definitions of Faro (EuroSys 2025, section 6 and its prototype): utility of a job and minute is
min(1, objective / percentile of the latency), requests without an answer infinitely late.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]
Ledger = Mapping[str, Column]
"""Columns of csrc/glet/sim/ledger.h by name, shape (intervals,)."""


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """One job: its ledger, objective, and how many units a replica takes."""

    slo_ms: float
    units: int
    ledger: dict[str, Column]


def step_penalty(dropped: Column) -> Column:
    """What a part of dropped requests costs: 0 up to 1 %, then .25, .5 from 5 %, 1 from 10 %."""
    return np.select([dropped <= 0.01, dropped <= 0.05, dropped <= 0.1], [0.0, 0.25, 0.5], 1.0)


def utility(job: JobResult, *, idle: float) -> Column:
    """By interval; `idle` where there was no request."""
    rows = job.ledger
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.minimum(1.0, job.slo_ms / rows["objective_ms"])
    return np.where(rows["offered"] > 0, found, idle)


def effective_utility(job: JobResult, *, idle: float) -> Column:
    """By interval: of answered requests only, less the penalty of those that were not."""
    rows = job.ledger
    with np.errstate(divide="ignore", invalid="ignore"):
        served = np.minimum(1.0, job.slo_ms / rows["served_ms"])
        dropped = 1.0 - rows["answered"] / rows["offered"]
    found = np.where(rows["answered"] > 0, served, 0.0) * (1.0 - step_penalty(dropped))
    return np.where(rows["offered"] > 0, found, idle)


def measures(
    jobs: Mapping[str, JobResult],
    *,
    intervals: int,
    interval_s: float,
    bins: int,
    reward: tuple[float, float],
    quota: float,
) -> dict[str, Any]:
    """Totals and `jobs`, with the names of the report. `intervals` are those of the trace.

    Utility is averaged over `bins` intervals, 0: those of the trace. Violation of the cluster is
    that of each job and interval with requests, averaged over jobs, then over intervals. Reward is
    -(violation and used part of the quota, weighted), by job averaged over the trace's intervals
    (DRAFAS), and their sum.
    """
    idle = 0.0 if bins else 1.0
    count = bins or intervals
    rows = {
        name: _job_measures(job, count, interval_s * intervals, idle) for name, job in jobs.items()
    }
    offered = sum(row["requests"] for row in rows.values())
    within = sum(row["within"] for row in rows.values())
    violated = violation_by_interval(jobs)
    for row, job in zip(rows.values(), jobs.values(), strict=True):
        lost = float(np.nan_to_num(violation_by_interval({"": job}))[:intervals].sum()) / intervals
        used = row["used_replicas"] * job.units / quota
        row["reward"] = -(reward[0] * lost + reward[1] * used)
    held = sum(row["used_replicas"] * jobs[name].units for name, row in rows.items())
    request_violation = 1.0 - within / offered if offered else 0.0
    cluster = float(np.nanmean(violated)) if np.isfinite(violated).any() else 0.0
    return {
        "requests": int(offered),
        "request_violation": request_violation,
        "cluster_violation": cluster,
        "lost_utility": sum(row["lost_utility"] for row in rows.values()),
        "lost_effective_utility": sum(row["lost_effective_utility"] for row in rows.values()),
        "used_replicas": sum(row["used_replicas"] for row in rows.values()),
        "used_units": held,
        "reward": sum(row["reward"] for row in rows.values()),
        "jobs": rows,
    }


def violation_by_interval(jobs: Mapping[str, JobResult]) -> Column:
    """Part of the requests not answered in time, averaged over jobs; NaN without any request."""
    longest = max((len(job.ledger["offered"]) for job in jobs.values()), default=0)
    parts = np.full((len(jobs), longest), np.nan)
    for part, job in zip(parts, jobs.values(), strict=True):
        rows = job.ledger
        some = rows["offered"] > 0
        part[: len(some)][some] = 1.0 - rows["within"][some] / rows["offered"][some]
    counted = np.isfinite(parts).sum(axis=0)
    total = np.nansum(parts, axis=0)
    found = np.full(longest, np.nan)
    np.divide(total, counted, out=found, where=counted > 0)
    return found


def _job_measures(job: JobResult, count: int, seconds: float, idle: float) -> dict[str, Any]:
    rows = job.ledger
    offered, within = float(rows["offered"].sum()), float(rows["within"].sum())
    answered = float(rows["answered"].sum())
    lost = 1.0 - _mean(utility(job, idle=idle), count, idle)
    lost_effective = 1.0 - _mean(effective_utility(job, idle=idle), count, idle)
    held = rows["unit_s"]
    longest = rows["longest_ms"][np.isfinite(rows["longest_ms"])]
    return {
        "requests": int(offered),
        "within": int(within),
        "answered": int(answered),
        "refused": int(rows["refused"].sum()),
        "violation": 1.0 - within / offered if offered else 0.0,
        "mean_ms": float(rows["sum_ms"].sum()) / answered if answered else None,
        "longest_ms": float(longest.max()) if longest.size else None,
        "slo_ms": job.slo_ms,
        "lost_utility": lost,
        "lost_effective_utility": lost_effective,
        "used_replicas": float(held.sum()) / (seconds * job.units),
    }


def _mean(values: Column, count: int, idle: float) -> float:
    """Over `count` intervals, of which those that are missing are idle."""
    some = values[:count]
    return (float(some.sum()) + idle * (count - len(some))) / count
