"""Gpulets under the control loop that serves live: same queues, router, policies and planners."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from glet.config.load import nearest
from glet.config.resource import profile_folder
from glet.control.loop import ControlLoop
from glet.control.make import types_of
from glet.errors import ConfigError
from glet.native import core
from glet.plan.problem import DeviceType
from glet.sim.fleet_run import Outcome, arrivals
from glet.sim.gpulet_devices import Devices
from glet.sim.metrics import JobResult
from glet.sim.scenario import GpuletsConfig, Scenario
from glet.types.observation import ModelObservation, Observation, Outcomes
from glet.workload.generate import Counts


def run_gpulets(
    scenario: Scenario,
    policy: str,
    seed: int,
    counts: dict[str, Counts],
    progress: Callable[[float], None],
) -> Outcome:
    """Serves `counts` to the end; `policy` is the mode of the control loop."""
    config = scenario.gpulets
    if config is None:
        raise ConfigError("this scenario has no [gpulets]")
    types = device_types(scenario, config)
    _check_models(config, types, counts)
    world = core.Gpulets(scenario.report.interval_s)
    numbers = {}
    for index, (name, model) in enumerate(config.models.items()):
        coming = arrivals(scenario, counts[name], seed, index)
        numbers[name] = world.add_model(model.slo_ms, coming)
    devices = Devices(world, types, config, numbers)
    control = msgspec.structs.replace(config.control, mode=policy)
    loop = ControlLoop(control, types, margin_ms=config.margin_ms)
    rates = _Rates(config)
    end_s = len(next(iter(counts.values()))) * scenario.workload.interval_s
    errors: list[str] = []
    at_s = 0.0
    while at_s < end_s:
        span_s = min(config.observe_s, at_s)
        found = loop.on_observation(
            Observation(
                now_s=at_s,
                span_s=span_s or config.observe_s,
                models=rates.observe(world, numbers, span_s, at_s, counts, scenario),
                devices=devices.observe(span_s),
                plan=devices.plan,
            )
        )
        if found is not None:
            errors += found.errors
            if found.plan is not None:
                devices.apply(found.plan, at_s)
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


def device_types(scenario: Scenario, config: GpuletsConfig) -> dict[int, DeviceType]:
    """The devices by number, as their profiles say."""
    paths: list[str] = []
    for group in config.devices:
        beside = Path(scenario.folder, group.profile)
        path = beside if beside.is_dir() else profile_folder(group.profile)
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


class _Rates:
    """What of models' traffic an observation holds: last span, moving average, recent maximum."""

    def __init__(self, config: GpuletsConfig) -> None:
        self._config = config
        self._seen: dict[str, list[tuple[float, float]]] = {name: [] for name in config.models}

    def observe(
        self,
        world: Any,
        numbers: Mapping[str, int],
        span_s: float,
        now_s: float,
        counts: Mapping[str, Counts],
        scenario: Scenario,
    ) -> tuple[ModelObservation, ...]:
        """At the very start the first interval's rate stands for what was measured before."""
        control = self._config.control
        found = []
        for name, number in numbers.items():
            window = world.take_window(number)
            offered = window["offered"] / span_s if span_s else 0.0
            seen = self._seen[name]
            if span_s:
                seen.append((now_s, offered))
            else:
                offered = float(counts[name][0]) / scenario.workload.interval_s
            oldest_s = now_s - max(control.mean_s, control.peak_s)
            while seen and seen[0][0] <= oldest_s:
                seen.pop(0)
            mean = [rate for at, rate in seen if at > now_s - control.mean_s]
            peak = [rate for at, rate in seen if at > now_s - control.peak_s]
            found.append(
                ModelObservation(
                    model=name,
                    slo_ms=self._config.models[name].slo_ms,
                    max_batch=self._config.models[name].max_batch,
                    offered_rps=offered,
                    mean_rps=sum(mean) / len(mean) if mean else offered,
                    peak_rps=max(peak, default=offered),
                    goodput_rps=window["ok"] / span_s if span_s else 0.0,
                    outcomes=Outcomes(
                        ok=window["ok"],
                        late=window["late"],
                        full=window["full"],
                        unavailable=window["unavailable"],
                    ),
                    outstanding=world.outstanding(number),
                    p50_ms=window["p50_ms"],
                    p95_ms=window["p95_ms"],
                    p99_ms=window["p99_ms"],
                )
            )
        return tuple(found)
