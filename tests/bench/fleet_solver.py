"""How long an allocation of replicas takes: table of utilities and exact optimum, CPU time.

Random rates of 0.5 to 25 requests/s over 7 steps, 180 ms each, 3.6 units per job, every replica
one unit. The published solver (COBYLA) beside it for 10 jobs; medians in ms.
"""

import argparse
import statistics
import time

import numpy as np
from result import emit

from glet.policy.fleet.objective import Objective
from glet.policy.fleet.solve import SolverSettings, solve
from glet.policy.fleet.table import Demand
from glet.types.fleet import FleetJob

OBJECTIVES: tuple[Objective, ...] = (
    "sum",
    "fair",
    "even",
    "fair_sum",
    "penalty_sum",
    "penalty_fair_sum",
)


def measure(count: int, settings: SolverSettings, runs: int) -> dict[str, float]:
    """Median CPU time in ms and the objective per job, over other rates each run."""
    took, values = [], []
    for run in range(runs):
        rates = np.random.default_rng(run).uniform(0.5, 25.0, (count, 7, 1))
        jobs = [FleetJob(model=str(at), slo_ms=720.0) for at in range(count)]
        ones = np.ones(count, dtype=np.int64)
        demand = Demand(rates, np.ones(1), np.full(count, 0.18), np.zeros(7), ones)
        began = time.process_time()
        found = solve(jobs, demand, int(3.6 * count), settings)
        took.append(1000.0 * (time.process_time() - began))
        values.append(found.value / count)
    return {"median_ms": statistics.median(took), "value_per_job": statistics.fmean(values)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    for count in (10, 100, 1000):
        for objective in OBJECTIVES:
            settings = SolverSettings(objective=objective, shrink=False)
            figures = measure(count, settings, runs)
            emit("fleet_solver", {"jobs": count, "objective": objective}, **figures)
    for objective in ("sum", "fair_sum"):
        settings = SolverSettings(objective=objective, solver="cobyla")
        figures = measure(10, settings, 3)
        emit("fleet_solver", {"jobs": 10, "objective": objective, "solver": "cobyla"}, **figures)


if __name__ == "__main__":
    main()
