"""Many jobs solved in groups: first among groups, then inside each (Faro, section 4.3)."""

from collections.abc import Sequence

import msgspec
import numpy as np

from glet.policy.fleet.knapsack import Ints
from glet.policy.fleet.objective import objective_value
from glet.policy.fleet.solve import Solution, SolverSettings, solve
from glet.policy.fleet.table import Demand
from glet.types.fleet import FleetJob


def solve_grouped(
    jobs: Sequence[FleetJob], demand: Demand, quota: int, settings: SolverSettings
) -> Solution:
    """Like solve(); with more than `settings.group_jobs` jobs, in groups.

    Contiguous groups become pseudo-jobs: rates and replicas added up, objectives, times, sizes and
    weights averaged. The quota is split as these get replicas, by the largest remainder, and each
    group is solved alone. Faster for solvers whose time grows faster than the number of jobs; the
    exact one does not need it.
    """
    if not settings.group_jobs or len(jobs) <= settings.group_jobs:
        return solve(jobs, demand, quota, settings)
    members = np.array_split(np.arange(len(jobs)), min(settings.groups, len(jobs)))
    together = [_pseudo([jobs[j] for j in group], demand, group) for group in members]
    merged = Demand(
        np.stack([demand.rates_rps[group].sum(axis=0) for group in members]),
        demand.chances,
        np.array([demand.service_s[group].mean() for group in members]),
        demand.cold,
        np.array([demand.serving[group].sum() for group in members]),
    )
    flat = msgspec.structs.replace(settings, group_jobs=0, shrink=False)
    wanted = solve(together, merged, quota, flat).replicas
    sizes = np.array([job.units for job in together])
    least = np.array(
        [sum(jobs[j].units * jobs[j].min_replicas for j in group) for group in members]
    )
    shares = split_quota(wanted * sizes, least, quota)
    replicas = np.zeros(len(jobs), dtype=np.int64)
    accept = np.ones(len(jobs))
    utilities = np.zeros(len(jobs))
    deeper = settings if len(together) > 1 else flat
    for group, share in zip(members, shares.tolist(), strict=True):
        own = demand._replace(
            rates_rps=demand.rates_rps[group],
            service_s=demand.service_s[group],
            serving=demand.serving[group],
        )
        found = solve_grouped([jobs[j] for j in group], own, share, deeper)
        replicas[group], accept[group] = found.replicas, found.accept
        utilities[group] = found.utilities
    weights = np.array([job.weight for job in jobs])
    value = objective_value(settings.objective, utilities, weights)
    return Solution(replicas, accept, utilities, value)


def split_quota(wanted: Ints, least: Ints, quota: int) -> Ints:
    """`quota` in parts like `wanted`, whole, by the largest remainder, none below `least`."""
    spare = quota - int(least.sum())
    above = np.maximum(0, wanted - least).astype(np.float64)
    if not above.any():
        above = np.ones(len(wanted))
    exact = spare * above / above.sum()
    parts = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - parts), kind="stable")
    parts[order[: spare - int(parts.sum())]] += 1
    return np.asarray(least + parts)


def _pseudo(jobs: Sequence[FleetJob], demand: Demand, group: Ints) -> FleetJob:
    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    return FleetJob(
        model=f"{jobs[0].model}..{jobs[-1].model}",
        slo_ms=mean([job.slo_ms for job in jobs]),
        percentile=mean([job.percentile for job in jobs]),
        weight=mean([job.weight for job in jobs]),
        units=max(1, round(mean([job.units for job in jobs]))),
        min_replicas=sum(max(1, job.min_replicas) for job in jobs),
        max_replicas=sum(job.max_replicas for job in jobs),
        replicas=int(demand.serving[group].sum()),
        target=sum(job.target for job in jobs),
    )
