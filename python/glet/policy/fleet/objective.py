"""What a cluster is best at: one number for the utilities of all jobs."""

from typing import Literal

import numpy as np

from glet.policy.fleet.allocate import Allocation, allocate_even, allocate_fair_sum, allocate_sum
from glet.policy.fleet.knapsack import Floats, Ints

Objective = Literal["sum", "fair", "even", "fair_sum", "penalty_sum", "penalty_fair_sum"]
"""Faro (EuroSys 2025, section 3.2). With a penalty, requests may be refused at a price."""

SHEDDING: frozenset[Objective] = frozenset({"penalty_sum", "penalty_fair_sum"})


def objective_value(objective: Objective, utilities: Floats, weights: Floats) -> float:
    """Sum: the weighted sum. Fair: the sum + min - max, which is what the published simulations of
    Faro-Fair maximise. Even: min - max alone, as the paper and its cluster have Faro-Fair.
    Fair sum: the sum + J (min - max + 1), J jobs.

    Utilities hold what refusals cost already; weights are scaled to the mean 1.
    """
    apart = float(utilities.min() - utilities.max())
    if objective == "even":
        return apart
    total = float(utilities @ (weights / weights.mean()))
    if objective in ("sum", "penalty_sum"):
        return total
    if objective == "fair":
        return total + apart
    return total + len(utilities) * (apart + 1.0)


def best_allocation(
    objective: Objective, table: Floats, units: Ints, quota: int, weights: Floats
) -> Allocation:
    """The exact optimum over a table of utilities (`allocate.py`). Raises ArgumentError."""
    if objective == "even":
        return allocate_even(table, units, quota, weights)
    if objective in ("sum", "penalty_sum"):
        return allocate_sum(table, units, quota, weights)
    if objective == "fair":
        return allocate_fair_sum(table, units, quota, weights, fairness=1.0)
    found = allocate_fair_sum(table, units, quota, weights)
    return found._replace(value=found.value + len(table))


def table_value(objective: Objective, table: Floats, replicas: Ints, weights: Floats) -> float:
    """objective_value() of these replicas; -inf where a job cannot have so many.

    More than the table has columns are worth what its last column is.
    """
    columns = np.minimum(replicas, table.shape[1] - 1)
    found = np.where(replicas >= 0, table[np.arange(len(table)), columns], -np.inf)
    return objective_value(objective, found, weights) if np.isfinite(found).all() else -np.inf
