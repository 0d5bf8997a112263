"""The published workloads: which models are asked for together, at which rates and objectives.

Choi et al., ATC 2022 and its prototype: five scenarios of independent models, two applications, and
every combination of rates.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from glet.config.load import nearest
from glet.errors import ConfigError

SLO_MS = {
    **{f"lenet{number}": 5.0 for number in range(1, 7)},
    "googlenet": 66.0,
    "resnet50": 108.0,
    "ssd-mobilenetv1": 202.0,
    "vgg16": 142.0,
    "mnasnet1_0": 62.0,
    "mobilenet_v2": 64.0,
    "densenet161": 202.0,
    "bert": 22.0,
}
"""Objectives of the published models by themselves: twice a batch of 32 on the whole device."""

# Model -> its rate over the scenario's. The prototype doubles the short models of scen1 whose names
# it spells right; mnasnet1_0 it does not.
SCENARIOS: dict[str, dict[str, float]] = {
    "scen1": {"googlenet": 2.0, "bert": 2.0, "mnasnet1_0": 1.0, "mobilenet_v2": 1.0},
    "scen2": {"densenet161": 1.0, "vgg16": 1.0},
    "scen3": {"resnet50": 1.0, "vgg16": 1.0, "mobilenet_v2": 1.0},
    "scen4": {"ssd-mobilenetv1": 1.0, "mnasnet1_0": 1.0, "densenet161": 1.0},
    "scen5": {"lenet1": 1.0, "ssd-mobilenetv1": 1.0, "vgg16": 1.0, "mnasnet1_0": 1.0},
}
STEPS_RPS = {"scen1": 50.0, "scen2": 10.0, "scen3": 10.0, "scen4": 10.0, "scen5": 10.0}
"""By how much a scenario's rate grows from one case to the next."""

# Model -> objective within the application, which runs all of them for each of its requests.
APPLICATIONS: dict[str, dict[str, float]] = {
    "game": {**{f"lenet{number}": 95.0 for number in range(1, 7)}, "resnet50": 95.0},
    "traffic": {"ssd-mobilenetv1": 69.0, "googlenet": 67.0, "vgg16": 67.0},
}
MOST_TASKS = 1_000_000


class Wanted(NamedTuple):
    """A model, the rate it is asked for, and within what time each answer is due."""

    model: str
    rate_rps: float
    slo_ms: float


Workload = tuple[Wanted, ...]


def scenario(name: str, rate_rps: float) -> Workload:
    """One of SCENARIOS, or an application, at that rate. Raises ConfigError for another name."""
    if name in SCENARIOS:
        return tuple(
            Wanted(model, rate_rps * factor, SLO_MS[model])
            for model, factor in SCENARIOS[name].items()
        )
    if name in APPLICATIONS:
        return tuple(
            Wanted(model, rate_rps, slo_ms) for model, slo_ms in APPLICATIONS[name].items()
        )
    names = [*SCENARIOS, *APPLICATIONS]
    raise ConfigError(f"no scenario is called {name!r}; {nearest(name, names)}")


def family(name: str, count: int) -> tuple[Workload, ...]:
    """The scenario at 1, 2, ... `count` of its steps."""
    if name not in STEPS_RPS:
        raise ConfigError(f"no scenario is called {name!r}; {nearest(name, STEPS_RPS)}")
    return tuple(scenario(name, STEPS_RPS[name] * step) for step in range(1, count + 1))


def combinations(rates_rps: Sequence[float], models: Sequence[str]) -> tuple[Workload, ...]:
    """Every way to give each model one of these rates, the last model's changing fastest.

    A model at rate 0 is not in the workload, and all at 0 is none. Raises ConfigError for a model
    that is not among the published ones, a repetition, or more than a million tasks in all.
    """
    for what, values in (("model", models), ("rate", rates_rps)):
        if not values:
            raise ConfigError(f"there is no {what}; give at least one")
        if len(set(values)) < len(values):
            raise ConfigError(f"one {what} is there twice in {', '.join(map(str, values))}")
    for model in models:
        if model not in SLO_MS:
            raise ConfigError(f"no published model is called {model!r}; {nearest(model, SLO_MS)}")
    if len(models) * len(rates_rps) ** len(models) > MOST_TASKS:
        raise ConfigError(
            f"{len(rates_rps)} rates for {len(models)} models make more than {MOST_TASKS} tasks"
        )
    workloads = (
        tuple(
            Wanted(model, rate_rps, SLO_MS[model])
            for model, rate_rps in zip(models, chosen, strict=True)
            if rate_rps > 0.0
        )
        for chosen in itertools.product(rates_rps, repeat=len(models))
    )
    return tuple(workload for workload in workloads if workload)
