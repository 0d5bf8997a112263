"""One run of a scenario: a policy, a seed, a size."""

from collections.abc import Callable
from typing import Any

import msgspec

from glet.clock import Clock
from glet.sim.fleet_run import run_fleet
from glet.sim.gpulet_run import run_gpulets
from glet.sim.metrics import JobResult, measures
from glet.sim.scenario import Scenario, sized
from glet.sim.traffic import traffic

Progress = Callable[[float], None]
"""Called with the part of the run that is done, 0..1."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What to simulate; `size` 0 leaves the scenario's."""

    policy: str
    seed: int
    size: int = 0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """`report` has the fields of --json; `jobs` the ledgers behind it, `units` what they held."""

    run: Run
    report: dict[str, Any]
    jobs: dict[str, JobResult]


def simulate(
    scenario: Scenario, run: Run, clock: Clock, progress: Progress | None = None
) -> Result:
    """Raises ConfigError and ProfileError for what is wrong. The clock only times the run."""
    scenario = sized(scenario, run.size) if run.size else scenario
    scenario.checked_policy(run.policy)
    coming = traffic(scenario)
    start_s = clock.now_s()
    drive = run_fleet if scenario.fleet is not None else run_gpulets
    outcome = drive(scenario, run.policy, run.seed, coming, progress or (lambda part: None))
    wall_s = clock.now_s() - start_s
    seconds = coming.intervals * scenario.workload.interval_s
    found = measures(
        outcome.jobs,
        intervals=max(1, round(seconds / scenario.report.interval_s)),
        interval_s=scenario.report.interval_s,
        bins=scenario.report.bins,
        reward=scenario.report.reward,
        quota=outcome.quota,
    )
    report = {
        "policy": run.policy,
        "seed": run.seed,
        "size": outcome.quota,
        "seconds_simulated": seconds,
        "wall_s": wall_s,
        "errors": list(outcome.errors),
        **found,
    }
    return Result(run=run, report=report, jobs=outcome.jobs)
