"""Replicas for jobs from what is coming: table, allocation, and the published steps after it.

A library call: everything is an argument, nothing is remembered.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from glet.errors import ArgumentError
from glet.policy.fleet.cobyla import cobyla
from glet.policy.fleet.knapsack import Floats, Ints
from glet.policy.fleet.numbers import Count, Positive
from glet.policy.fleet.objective import SHEDDING, Objective, best_allocation, table_value
from glet.policy.fleet.shrink import repaired, shrunk
from glet.policy.fleet.table import Demand, Model, utility_table
from glet.types.fleet import FleetJob

Solver = Literal["exact", "cobyla"]


class SolverSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a cluster is solved.

    `exact` finds the optimum, `cobyla` what is published. `latency` is M/D/c at the percentile of
    the job, or the upper bound. Utility is min(1, (SLO / latency)^alpha), or with `step` 1 within
    the SLO and 0 beyond. Penalty objectives model that refused requests do not load the replicas;
    with `shed` false they do not (as published: nothing is refused then). `shrink` takes away what
    does not help. More than `group_jobs` jobs are solved in `groups` groups; 0: never.
    """

    objective: Objective = "sum"
    solver: Solver = "exact"
    latency: Literal["mdc", "burst"] = "mdc"
    step: bool = False
    alpha: Positive = 1.0
    shed: bool = True
    shrink: bool = True
    group_jobs: int = 0
    groups: Count = 10


class Solution(NamedTuple):
    """By job: replicas, the part of requests to let in, utility; and the objective there."""

    replicas: Ints
    accept: Floats
    utilities: Floats
    value: float


def solve(
    jobs: Sequence[FleetJob], demand: Demand, quota: int, settings: SolverSettings
) -> Solution:
    """The best replicas within `quota` units. Raises ArgumentError where the least do not fit.

    Faro (Jeon et al., EuroSys 2025, section 4); the exact allocation is ours (`allocate.py`).
    """
    model = Model(
        burst=settings.latency == "burst",
        step=settings.step,
        alpha=settings.alpha,
        shed=settings.shed and settings.objective in SHEDDING,
    )
    table = utility_table(jobs, demand, quota, model)
    units = np.array([job.units for job in jobs], dtype=np.int64)
    weights = np.array([job.weight for job in jobs], dtype=np.float64)

    def value(replicas: Ints) -> float:
        return table_value(settings.objective, table.values, replicas, weights)

    # Says what is wrong when nothing is possible, whoever solves.
    replicas = best_allocation(settings.objective, table.values, units, quota, weights).replicas
    if settings.solver == "cobyla":
        if any(job.batches for job in jobs):
            raise ArgumentError("COBYLA does not model what batches; take solver 'exact'")
        wanted = cobyla(jobs, demand, quota, settings.objective, model)
        limits = np.array([job.max_replicas for job in jobs], dtype=np.float64)
        current = np.array([job.target for job in jobs], dtype=np.int64)
        replicas = repaired(np.minimum(wanted, limits), current, units, quota, value)
    if settings.shrink:
        replicas = shrunk(replicas, units, value)
    columns = np.minimum(replicas, table.accept.shape[1] - 1)
    rows = np.arange(len(jobs))
    found = table.values[rows, columns]
    return Solution(replicas, table.accept[rows, columns], found, value(replicas))
