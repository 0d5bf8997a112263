"""Replicas under a quota, controlled by an autoscaler."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from glet.control.autoscalers import autoscaler_settings
from glet.errors import ConfigError
from glet.native import core
from glet.policy.fleet.fair_share import FairShare, FairShareSettings
from glet.policy.fleet.guard import Guard, GuardSettings
from glet.policy.fleet.make import make_autoscaler
from glet.sim.metrics import JobResult
from glet.sim.scenario import FixedTime, FleetConfig, JobConfig, Scenario, Time, UniformTime
from glet.sim.traffic import Traffic, forecasters, history
from glet.types.fleet import Autoscaler, FleetJob, FleetObservation
from glet.workload.generate import Counts

SPACINGS = {
    "gaps": core.Spacing.GAPS,
    "poisson": core.Spacing.POISSON,
    "even": core.Spacing.EVEN,
}


STANDING = ("fair_share", "static")
"""What these want never changes, so it serves from the start."""


class Outcome(NamedTuple):
    """Ledgers by model, units or devices there were, and what went wrong on the way."""

    jobs: dict[str, JobResult]
    quota: int
    errors: tuple[str, ...]


def run_fleet(
    scenario: Scenario,
    policy: str,
    seed: int,
    traffic: Traffic,
    progress: Callable[[float], None],
) -> Outcome:
    """Serves the traffic to the end; the policy is asked at its own interval."""
    config = scenario.fleet
    if config is None:
        raise ConfigError("this scenario has no [fleet]")
    jobs = _jobs(config, traffic.counts)
    fleet = _fleet(scenario, config, jobs, traffic, seed)
    autoscaler = _autoscaler(scenario, policy)
    work = scenario.workload
    end_s = traffic.intervals * work.interval_s
    errors: list[str] = []
    observer = Observer(fleet, config, jobs, scenario.report.interval_s)
    at_s = autoscaler.interval_s
    if autoscaler.name in STANDING:
        first = autoscaler.targets(observer.observe())
        jobs = {
            name: msgspec.structs.replace(job, replicas=first.replicas.get(name, job.replicas))
            for name, job in jobs.items()
        }
        fleet = _fleet(scenario, config, jobs, traffic, seed)
        observer = Observer(fleet, config, jobs, scenario.report.interval_s)
    while at_s < end_s:
        fleet.advance(at_s)
        _ask(fleet, autoscaler, observer.observe(), jobs, errors)
        progress(at_s / end_s)
        at_s += autoscaler.interval_s
    fleet.advance(end_s)
    fleet.finish()
    progress(1.0)
    results = {
        name: JobResult(slo_ms=job.slo_ms, units=job.units, ledger=fleet.ledger(index))
        for index, (name, job) in enumerate(jobs.items())
    }
    return Outcome(results, config.quota, tuple(dict.fromkeys(errors)))


class Observer:
    """The fleet as autoscalers see it. Whole intervals are read once and kept."""

    def __init__(
        self, fleet: Any, config: FleetConfig, jobs: dict[str, JobConfig], interval_s: float
    ) -> None:
        self._fleet, self._config, self._jobs = fleet, config, jobs
        self._interval_s = interval_s
        self._whole: list[tuple[float, ...]] = [() for _ in jobs]

    def observe(self) -> FleetObservation:
        """Now."""
        now_s = self._fleet.now_s
        span_s = min(now_s, float(self._config.lookback_s))
        return FleetObservation(
            now_s=now_s,
            quota=self._config.quota,
            interval_s=self._interval_s,
            lookback_s=float(self._config.lookback_s),
            start_s=self._config.start_s,
            start_free_s=self._config.start_free_s,
            jobs=tuple(
                self._job(index, name, job, now_s, span_s)
                for index, (name, job) in enumerate(self._jobs.items())
            ),
        )

    def _arrivals(self, index: int, now_s: float) -> tuple[tuple[float, ...], float]:
        """Of whole intervals, and since the last of them."""
        known = self._whole[index]
        more = int(now_s / self._interval_s + 1e-9) - len(known)
        new = [*self._fleet.offered(index, len(known)), *([0.0] * (more + 1))]
        if more:
            self._whole[index] = known = (*known, *new[:more])
        return known, new[more]

    def _job(self, index: int, name: str, job: JobConfig, now_s: float, span_s: float) -> FleetJob:
        state = self._fleet.state(index)
        ended = state["answered"] + state["refused"]
        busy = state["busy_s"] / (max(1, state["serving"]) * span_s) if span_s else 0.0
        mean_ms = state["mean_ms"]
        whole, so_far = self._arrivals(index, now_s)
        return FleetJob(
            model=name,
            slo_ms=job.slo_ms,
            percentile=job.percentile,
            weight=job.weight,
            units=job.units,
            min_replicas=job.min_replicas,
            max_replicas=job.max_replicas,
            replicas=state["serving"],
            starting=state["starting"],
            target=state["target"],
            changing=state["starting"] > 0,
            arrivals=whole,
            so_far=so_far,
            recent_rps=state["arrived"] / span_s if span_s else 0.0,
            mean_ms=None if math.isnan(mean_ms) else mean_ms,
            violated=(state["late"] + state["refused"]) / ended if ended else 0.0,
            dropped=state["refused"] / ended if ended else 0.0,
            busy=min(1.0, busy),
            outstanding=state["outstanding"],
            accept=state["accept"],
            processing_ms=_processing_ms(state),
            nominal_ms=job.processing_ms,
            rate_limit_rps=job.tokens / job.token_window_s,
        )


def _processing_ms(state: dict[str, Any]) -> float:
    return 1000.0 * state["busy_s"] / state["answered"] if state["answered"] else 0.0


def _ask(
    fleet: Any,
    autoscaler: Autoscaler,
    observation: FleetObservation,
    jobs: dict[str, JobConfig],
    errors: list[str],
) -> None:
    wanted = autoscaler.targets(observation)
    errors.extend(wanted.errors)
    numbers = {name: index for index, name in enumerate(jobs)}
    target = {job.model: job.target for job in observation.jobs}
    # Who gives up comes first, so that what it gave is there for the others.
    for name, count in sorted(wanted.replicas.items(), key=lambda one: one[1] - target[one[0]]):
        if count != target[name]:
            fleet.set_target(numbers[name], count)
    for name, part in wanted.accept.items():
        fleet.set_accept(numbers[name], part)


def _autoscaler(scenario: Scenario, policy: str) -> Autoscaler:
    settings = scenario.settings.get(policy) or autoscaler_settings(policy)
    days = history(scenario)
    made = make_autoscaler(settings, days, forecasters(scenario, days))
    return Guard(made, GuardSettings(), FairShare(FairShareSettings()))


def _jobs(config: FleetConfig, counts: dict[str, Counts]) -> dict[str, JobConfig]:
    jobs = {}
    for name in counts:
        job = config.jobs.get(name, config.job)
        if job is None:
            raise ConfigError(
                f"[fleet]: the traffic has a model {name!r}; give [fleet.jobs.{name}]"
            )
        jobs[name] = job
    missing = next((name for name in config.jobs if name not in counts), None)
    if missing is not None:
        raise ConfigError(f"[fleet.jobs.{missing}]: there is no traffic for it; name it there too")
    need = sum(job.units * job.replicas for job in jobs.values())
    if need > config.quota:
        raise ConfigError(f"[fleet] quota {config.quota}: first replicas need {need} units")
    return jobs


def _fleet(
    scenario: Scenario,
    config: FleetConfig,
    jobs: dict[str, JobConfig],
    traffic: Traffic,
    seed: int,
) -> Any:
    fleet = core.Fleet(
        quota=config.quota,
        seed=seed,
        interval_s=scenario.report.interval_s,
        lookback_s=float(config.lookback_s),
        retry_s=config.retry_s,
        idle_timeout_s=config.idle_timeout_s,
        monitor_s=config.monitor_s,
    )
    for index, (name, job) in enumerate(jobs.items()):
        fleet.add(_settings(job), arrivals(scenario, traffic, name, seed, index))
    return fleet


def arrivals(scenario: Scenario, traffic: Traffic, name: str, seed: int, index: int) -> Any:
    """When the requests of this model, number `index` of all, come."""
    if name in traffic.times_s:
        return core.SimArrivals.given(traffic.times_s[name].tolist())
    work = scenario.workload
    return core.SimArrivals.counted(
        traffic.counts[name].tolist(),
        work.interval_s,
        SPACINGS[work.spacing],
        seed=seed,
        stream=1_000_003 + index,
        tick_ms=work.tick_ms,
    )


def _settings(job: JobConfig) -> Any:
    settings = core.JobSettings()
    settings.router = _distribution(job.router)
    settings.service = _distribution(job.service)
    settings.start = _distribution(job.start)
    settings.blind = job.dispatch == "blind"
    settings.objective_ms = job.slo_ms
    for name in msgspec.structs.fields(job):
        if name.name in SAME:
            setattr(settings, name.name, getattr(job, name.name))
    return settings


SAME = (
    "hot_start_s",
    "in_flight",
    "queue_limit",
    "tokens",
    "token_window_s",
    "percentile",
    "refused_in_mean",
    "units",
    "replicas",
)
"""What has the same name in the scenario and in the core."""


def _distribution(time: Time) -> Any:
    if isinstance(time, FixedTime):
        return core.Distribution.fixed(time.ms)
    if isinstance(time, UniformTime):
        return core.Distribution.uniform(time.low_ms, time.high_ms)
    return core.Distribution.lognormal(time.location_ms, time.scale_ms, time.sigma)
