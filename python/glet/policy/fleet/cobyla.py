"""The published solver: real numbers of replicas by COBYLA, for comparison with the exact one."""

from collections.abc import Sequence

import numpy as np

from glet.policy.fleet.knapsack import Floats
from glet.policy.fleet.latency import burst_latency_s, mdc_latency_s
from glet.policy.fleet.objective import Objective, objective_value
from glet.policy.fleet.table import Demand, Model
from glet.policy.fleet.utility import relaxed_utility, step_utility
from glet.types.fleet import FleetJob

RHOBEG = 3.0


def cobyla(
    jobs: Sequence[FleetJob], demand: Demand, quota: int, objective: Objective, model: Model
) -> Floats:
    """Replicas by job, not whole and not checked: see `shrink.repaired()`.

    Starts from the current targets with steps of 3 (Powell 1994; settings as published). It ends
    in a local optimum: from one replica each, Fair and FairSum stay far below what is possible.
    Jobs that batch are not modelled here. Deterministic.
    """
    # Importing it takes longer than most decisions.
    from scipy.optimize import minimize

    units = np.array([job.units for job in jobs], dtype=np.float64)
    least = np.array([max(1, job.min_replicas) for job in jobs], dtype=np.float64)
    weights = np.array([job.weight for job in jobs], dtype=np.float64)

    def lost(replicas: Floats) -> float:
        found = _utilities(jobs, demand, replicas, model)
        return -objective_value(objective, found, weights)

    bounds = [{"type": "ineq", "fun": lambda x: quota - float(units @ x)}]
    bounds += [
        {"type": "ineq", "fun": lambda x, j=j: float(x[j] - least[j])} for j in range(len(jobs))
    ]
    start = np.maximum(least, [job.target for job in jobs])
    found = minimize(lost, start, method="COBYLA", constraints=bounds, options={"rhobeg": RHOBEG})
    return np.maximum(least, np.asarray(found.x, dtype=np.float64))


def _utilities(jobs: Sequence[FleetJob], demand: Demand, replicas: Floats, model: Model) -> Floats:
    """Like a row of `table.utility_table()` per job, at real numbers of replicas: shape (jobs,)."""
    serving = demand.serving.astype(np.float64)
    now = _by_step(jobs, demand, replicas, model)
    before = _by_step(jobs, demand, serving, model) if demand.cold.any() else now
    waits = np.where((replicas > serving)[:, None], demand.cold[None, :], 0.0)
    return np.asarray((waits * before + (1.0 - waits) * now).mean(axis=1))


def _by_step(jobs: Sequence[FleetJob], demand: Demand, replicas: Floats, model: Model) -> Floats:
    service_s = demand.service_s[:, None, None]
    servers = replicas[:, None, None]
    percentile = np.array([job.percentile for job in jobs])[:, None, None]
    latency_s = (
        burst_latency_s(demand.rates_rps, service_s, servers)
        if model.burst
        else mdc_latency_s(demand.rates_rps, service_s, servers, percentile)
    )
    slo_s = np.array([job.slo_ms / 1000.0 for job in jobs])[:, None, None]
    worth = (
        step_utility(latency_s, slo_s)
        if model.step
        else relaxed_utility(latency_s, slo_s, model.alpha)
    )
    return np.asarray(worth @ demand.chances)
