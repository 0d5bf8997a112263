"""Gpulets under the control loop that serves live: same queues, router, policies and planners."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from glet.config.cluster import ControlConfig
from glet.config.load import nearest
from glet.config.resource import profile_folder
from glet.control.loop import ControlLoop
from glet.control.make import autoscaler_of, types_of
from glet.control.round import Round
from glet.errors import ConfigError
from glet.native import core
from glet.observe.counters import merged
from glet.observe.observer import LEAST_SPAN_S, Observer
from glet.plan.problem import DeviceType
from glet.policy.policy import let_in
from glet.sim.fleet_run import Outcome, arrivals
from glet.sim.gpulet_devices import Devices
from glet.sim.metrics import JobResult
from glet.sim.scenario import GpuletsConfig, Scenario
from glet.sim.traffic import Traffic
from glet.types.observation import Observation
from glet.wire.counters import FrontendCounters
from glet.wire.messages import FrontendReport
from glet.workload.generate import Counts

OnRound = Callable[[Round], None]


def run_gpulets(
    scenario: Scenario,
    policy: str,
    seed: int,
    traffic: Traffic,
    progress: Callable[[float], None],
    on_round: OnRound | None = None,
) -> Outcome:
    """Serves the traffic to the end; `policy` is the mode of the control loop, see control_of()."""
    config = scenario.gpulets
    if config is None:
        raise ConfigError("this scenario has no [gpulets]")
    types = device_types(scenario, config)
    _check_models(config, types, traffic.counts)
    world = core.Gpulets(scenario.report.interval_s)
    numbers = {}
    for index, (name, model) in enumerate(config.models.items()):
        coming = arrivals(scenario, traffic, name, seed, index)
        numbers[name] = world.add_model(model.slo_ms, coming)
    devices = Devices(world, types, config, numbers)
    control = control_of(config, policy)
    loop = ControlLoop(
        control, types, margin_ms=config.margin_ms, autoscaler=autoscaler_of(control)
    )
    observer = Observer(mean_s=control.mean_s, peak_s=control.peak_s)
    frontend = _Frontend(world, config, numbers, devices)
    interval_s = scenario.workload.interval_s
    first_rps = {name: float(traffic.counts[name][0]) / interval_s for name in numbers}
    end_s = traffic.intervals * interval_s
    errors: list[str] = []
    at_s = 0.0
    while at_s < end_s:
        observer.report(frontend.report(at_s), at_s)
        seen = observer.observe(at_s)
        if at_s == 0.0:
            seen = _begun(seen, first_rps, config.observe_s)
        found = loop.on_observation(seen) if at_s == 0.0 or seen.span_s >= LEAST_SPAN_S else None
        if found is not None:
            errors += found.errors
            frontend.admit(let_in(found.targets))
            if found.plan is not None:
                devices.apply(found.plan, at_s)
            if on_round is not None:
                on_round(found)
        at_s = min(end_s, at_s + config.observe_s)
        world.advance(at_s)
        progress(at_s / end_s)
    devices.apply(devices.plan, end_s)
    world.finish()
    jobs = {
        name: JobResult(slo_ms=config.models[name].slo_ms, units=1, ledger=world.ledger(number))
        for name, number in numbers.items()
    }
    return Outcome(jobs, len(types), tuple(dict.fromkeys(errors)))


def control_of(config: GpuletsConfig, policy: str) -> ControlConfig:
    """[gpulets.control] in that mode; `fleet:NAME` is mode `fleet` with that autoscaler."""
    mode, _, autoscaler = policy.partition(":")
    changes = {"autoscaler": autoscaler} if autoscaler else {}
    return msgspec.structs.replace(config.control, mode=mode, **changes)


def device_types(scenario: Scenario, config: GpuletsConfig) -> dict[int, DeviceType]:
    """The devices by number, as their profiles say."""
    paths: list[str] = []
    for group in config.devices:
        beside = Path(scenario.folder, group.profile)
        path = beside if beside.exists() else profile_folder(group.profile)
        paths += [str(path)] * group.count
    return types_of(dict(enumerate(paths)))


def _check_models(
    config: GpuletsConfig, types: Mapping[int, DeviceType], counts: Mapping[str, Counts]
) -> None:
    for name in config.models:
        if name not in counts:
            raise ConfigError(f"[gpulets.models.{name}]: no traffic; {nearest(name, counts)}")
    for name in counts:
        if name not in config.models:
            raise ConfigError(f"[workload]: model {name!r} is not in [gpulets.models]")
        for kind in types.values():
            kind.profile.model(name)


def _begun(seen: Observation, first_rps: Mapping[str, float], span_s: float) -> Observation:
    """At the very start the first interval's rate stands for what was measured before."""
    models = tuple(
        msgspec.structs.replace(
            model,
            offered_rps=first_rps[model.model],
            mean_rps=first_rps[model.model],
            peak_rps=first_rps[model.model],
        )
        for model in seen.models
    )
    return msgspec.structs.replace(seen, models=models, span_s=span_s)


class _Frontend:
    """What a frontend would report of these requests, and what of it the loop can set."""

    def __init__(
        self, world: Any, config: GpuletsConfig, numbers: Mapping[str, int], devices: Devices
    ) -> None:
        self._world, self._numbers, self._devices = world, numbers, devices
        self._accept: dict[str, float] = {}
        self._counted = {
            name: FrontendCounters(model=name, slo_ms=model.slo_ms, max_batch=model.max_batch)
            for name, model in config.models.items()
        }

    def admit(self, parts: Mapping[str, float]) -> None:
        """Of each model the part of its requests that is let in, of others all."""
        for name in parts.keys() | self._accept.keys():
            self._world.set_accept(self._numbers[name], parts.get(name, 1.0))
        self._accept = dict(parts)

    def report(self, at_s: float) -> FrontendReport:
        """Everything since the start, with the states of the devices."""
        self._counted = {name: self._count(name) for name in self._counted}
        return FrontendReport(
            name="simulation",
            incarnation="1",
            sent_s=at_s,
            models=tuple(self._counted.values()),
            states=self._devices.states(at_s),
        )

    def _count(self, name: str) -> FrontendCounters:
        before, number = self._counted[name], self._numbers[name]
        window = self._world.take_window(number)
        return msgspec.structs.replace(
            before,
            received=before.received + window["offered"],
            ok=before.ok + window["ok"],
            good=before.good + window["good"],
            late=before.late + window["late"],
            full=before.full + window["full"],
            unavailable=before.unavailable + window["unavailable"],
            outstanding=self._world.outstanding(number),
            latency=merged((before.latency, window["latency"])),
        )
