"""Many runs of a scenario: policies x sizes x seeds, in processes or on a Ray cluster."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from glet.clock import SystemClock
from glet.sim.run import Result, Run, simulate
from glet.sim.scenario import Scenario
from glet.wire.ray_cluster import connect

Ended = Callable[[int], None]
"""Called with how many runs have ended."""


def runs(policies: Sequence[str], sizes: Sequence[int], seeds: Sequence[int]) -> tuple[Run, ...]:
    """All combinations, in the order of the arguments."""
    return tuple(
        Run(policy=policy, seed=seed, size=size)
        for size in sizes
        for policy in policies
        for seed in seeds
    )


def simulate_all(
    scenario: Scenario, wanted: Sequence[Run], *, processes: int = 0, ended: Ended | None = None
) -> list[Result]:
    """The results, in the order of the runs, whatever the number of processes (0: one per core)."""
    count = min(len(wanted), processes or os.cpu_count() or 1)
    said = ended or (lambda number: None)
    if count <= 1:
        return list(_one_by_one(scenario, wanted, said))
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(_simulate, scenario, run) for run in wanted]
        for number, _ in enumerate(as_completed(waiting), start=1):
            said(number)
        return [future.result() for future in waiting]


def simulate_on_ray(
    scenario: Scenario, wanted: Sequence[Run], address: str, *, ended: Ended | None = None
) -> list[Result]:
    """The same on a Ray cluster that has glet installed. Raises ConfigError without Ray, or it."""
    ray = connect(address, "--ray")
    try:
        task = ray.remote(_simulate)
        shared = ray.put(scenario)
        waiting = [task.remote(shared, run) for run in wanted]
        left = list(waiting)
        while left:
            _, left = ray.wait(left, num_returns=1)
            (ended or (lambda number: None))(len(waiting) - len(left))
        return list(ray.get(waiting))
    finally:
        ray.shutdown()


def _one_by_one(scenario: Scenario, wanted: Sequence[Run], ended: Ended) -> Iterator[Result]:
    for number, run in enumerate(wanted, start=1):
        yield _simulate(scenario, run)
        ended(number)


def _simulate(scenario: Scenario, run: Run) -> Result:
    return simulate(scenario, run, SystemClock())
