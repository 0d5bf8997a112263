"""What is compared: workloads on a device type, and the systems that plan for them. Pure.

Every number comes from a profile folder. A published workload's model that the profile does not
have under that name is looked for without its number (lenet3 -> lenet): six lenets are six models.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from glet.config.load import nearest
from glet.errors import ConfigError
from glet.plan.make import make_planner
from glet.plan.peak import peak_factor, scale
from glet.plan.problem import Device, DeviceType, MemoryRules, Problem, Rules, Task
from glet.policy.headroom import padded_rps
from glet.profiles.device_profile import DeviceProfile, ModelProfile
from glet.profiles.files import ProfileData, device_profile, read_data
from glet.profiles.interference import Interference, NoInterference
from glet.profiles.interference_files import linear_from_gpulet, read_interference
from glet.types.plan import GpuletPlan, ModelShare, Plan
from glet.workload.scenarios import SLO_MS, scenario

# The published constants of the 2080 Ti: L2 of both, DRAM of both, constant.
PUBLISHED_CONSTANTS = (0.1129, 0.7160, 0.3549, 0.0882, 0.8954)
# The published scheduler's sizes of a gpulet; "elastic" knows no others.
PUBLISHED_SHARES = (20, 40, 50, 60, 80, 100)
RATE_RPS = 100.0
# The published scheduler's limit of 3 models on a gpulet would forbid a whole device to every
# temporal baseline of more models.
MAX_MODELS = 32

# Requests/s of each model, as the published study names them (second-hand for the last two).
MIXES: dict[str, dict[str, float]] = {
    "equal": {"lenet1": 50, "googlenet": 50, "resnet50": 50, "ssd-mobilenetv1": 50, "vgg16": 50},
    "long-only": {"resnet50": 100, "ssd-mobilenetv1": 100, "vgg16": 100},
    "short-skew": {
        "lenet1": 100, "googlenet": 100, "resnet50": 50, "ssd-mobilenetv1": 50, "vgg16": 50,
    },
}  # fmt: skip
PUBLISHED = ("scen1", "scen2", "scen3", "scen4", "scen5", "game", "traffic")
MANY = "many"
SCENARIOS = (*MIXES, *PUBLISHED, MANY)
# Of Poisson arrivals within the objective, as the control loop has it by default.
QUANTILE = 0.99
INTERFERENCES = ("none", "published", "folder")


class Study(NamedTuple):
    """A device type to plan for and to run on. `emulated`: nobody's device, only its profile.

    `stretch` is how many times slower than its profile an emulated device is; rates have been
    divided by it, and latencies and objectives multiplied.
    """

    profile: DeviceProfile
    interference: Interference
    shares: tuple[int, ...]
    emulated: bool
    stretch: float = 1.0


class System(NamedTuple):
    """How a device is shared: what makes the plan, and the largest factor that it promises."""

    name: str
    plan: Plan
    predicted: float


def read_study(folder: Path, interference: str, stretch: float = 1.0) -> Study:
    """The profile in a folder, with the published interference, its own, or none.

    Raises ConfigError for a folder or a name that is none.
    """
    data = read_data(folder)
    emulated = data.device.kind == "profiled"
    if stretch != 1.0 and not emulated:
        raise ConfigError(f"{folder}: was measured; only an emulated device can be stretched")
    profile = _with_all_names(data, folder, stretch)
    found: Interference = NoInterference()
    if interference == "published":
        found = linear_from_gpulet(PUBLISHED_CONSTANTS, profile)
    elif interference == "folder":
        found = read_interference(folder / "interference.toml", profile)
    elif interference != "none":
        raise ConfigError(
            f"no interference is called {interference!r}; {nearest(interference, INTERFERENCES)}"
        )
    return Study(profile, found, profile.shares, emulated, stretch)


def _with_all_names(data: ProfileData, folder: Path, stretch: float) -> DeviceProfile:
    measured = device_profile(data, str(folder / "latency.csv"))
    models: dict[str, ModelProfile] = {}
    for name in {*measured.models(), *SLO_MS}:
        base = name if name in measured.models() else name.rstrip("0123456789")
        if base in measured.models():
            models[name] = _stretched(measured.model(base), name, stretch)
    return DeviceProfile(
        measured.type,
        models,
        memory_mb=measured.memory_mb if data.device.kind != "profiled" else 0.0,
        where=measured.where,
        shares=measured.shares,
    )


def _stretched(model: ModelProfile, name: str, stretch: float) -> ModelProfile:
    tables = model.tables(model.shares) * stretch
    latencies = {
        share: dict(enumerate(row.tolist(), start=1))
        for share, row in zip(model.shares, tables, strict=True)
    }
    demands = {batch: model.demand(batch) for batch in range(1, model.max_batch + 1)}
    return ModelProfile(name, latencies, memory_mb=model.memory_mb, demands=demands)


def tasks_of(name: str, study: Study, slo_batch: int) -> tuple[Task, ...]:
    """A workload with every SLO twice the latency of that batch on the whole device.

    Rates are those at factor 1 on the (stretched) device. Raises ConfigError for another name,
    ProfileError for a model that the profile does not have.
    """
    rates = _rates(name, study)
    return tuple(
        Task(
            model=model,
            rate_rps=rate / study.stretch,
            slo_ms=2.0 * _whole(study, model, min(slo_batch, _profile(study, model).max_batch)),
        )
        for model, rate in rates.items()
    )


def _rates(name: str, study: Study) -> Mapping[str, float]:
    if name in MIXES:
        return MIXES[name]
    if name in PUBLISHED:
        return {wanted.model: wanted.rate_rps for wanted in scenario(name, RATE_RPS)}
    if name == MANY:
        # Every model asks for the same part of the device.
        models = [model for model in SLO_MS if model in study.profile.models()]
        return {
            model: study.stretch / _area(study, model, study.shares[-1:]) / len(models)
            for model in models
        }
    raise ConfigError(f"no scenario is called {name!r}; {nearest(name, SCENARIOS)}")


def problem_of(study: Study, tasks: Sequence[Task], shares: Sequence[int], ratio: float) -> Problem:
    """These tasks on one device, weights shared by its gpulets."""
    kind = DeviceType(profile=study.profile, shares=tuple(shares), interference=study.interference)
    return Problem(
        tasks=tuple(tasks),
        devices=(Device(number=0, type=kind.name),),
        types={kind.name: kind},
        rules=Rules(
            max_models=MAX_MODELS,
            latency_ratio=ratio,
            memory=MemoryRules(shared_weights=True),
        ),
    )


def fluid_factor(study: Study, tasks: Sequence[Task]) -> float:
    """The common factor on all rates beyond which no sharing of the device can go.

    sum of r_i / (k T_i(1/k)) <= 1 with T_i the best requests/s of the model on 1/k of the device,
    each model with the k that is best for it: no plan of parts of the profile's sizes serves more,
    whatever the SLO. k = 1 alone is the bound of temporal sharing.
    """
    return 1.0 / sum(task.rate_rps * _area(study, task.model, study.shares) for task in tasks)


def _area(study: Study, model: str, shares: Sequence[int]) -> float:
    """The least device-seconds of a request, over these shares and all batches."""
    tables = _profile(study, model).tables(shares)
    return min(
        share / 100.0 * latency_ms / 1000.0 / batch
        for share, row in zip(shares, tables.tolist(), strict=True)
        for batch, latency_ms in enumerate(row, start=1)
    )


def timeshare(study: Study, tasks: Sequence[Task], ratio: float) -> System:
    """Whole device, squishy bin packing."""
    return _planned("timeshare", study, tasks, ratio, study.shares)


def edf(study: Study, tasks: Sequence[Task], ratio: float) -> System:
    """Whole device, earliest deadline first, batches collected whole, by the exact demand test."""
    return _planned("edf", study, tasks, ratio, study.shares)


def edf_nowait(study: Study, tasks: Sequence[Task], ratio: float) -> System:
    """Whole device, earliest deadline first, and whatever waits runs: no plan, no promise.

    A batch may be as long as half of the tightest SLO, or of its own. So it works at any rate, also
    where no plan is feasible.
    """
    tightest_ms = min(task.slo_ms for task in tasks)
    models = []
    for task in tasks:
        table = _profile(study, task.model).tables(study.shares[-1:])[0]
        fits = [b for b, ms in enumerate(table.tolist(), start=1) if 2.0 * ms <= tightest_ms]
        models.append(
            ModelShare(
                model=task.model,
                batch=max(fits, default=1),
                rate_rps=task.rate_rps,
                time_share=1.0 / len(tasks),
            )
        )
    plan = Plan(gpulets=(GpuletPlan(device=0, share_pct=study.shares[-1], models=tuple(models)),))
    temporal = 1.0 / sum(
        task.rate_rps * _area(study, task.model, study.shares[-1:]) for task in tasks
    )
    return System("edf-nowait", plan, temporal / 2.0)


def elastic(study: Study, tasks: Sequence[Task], ratio: float) -> System:
    """gpulet as published: two gpulets, published sizes. Its planner, on the same run time."""
    least, most = study.shares[0], study.shares[-1]
    shares = [share for share in PUBLISHED_SHARES if least <= share <= most]
    return _planned("elastic", study, tasks, ratio, shares)


def glet(study: Study, tasks: Sequence[Task], ratio: float) -> System:
    """Any number of gpulets of any size, sharing in time where that is better."""
    others = [system.predicted for system in (timeshare(study, tasks, ratio),
                                              edf(study, tasks, ratio),
                                              elastic(study, tasks, ratio))]  # fmt: skip
    return _planned("glet", study, tasks, ratio, study.shares, others)


def glet_headroom(study: Study, tasks: Sequence[Task], ratio: float) -> System:
    """glet planned for the rates with head room for Poisson arrivals, as the control loop plans."""
    planner = make_planner("glet")
    problem = problem_of(study, tasks, study.shares, ratio)
    factor = peak_factor(planner, problem, scaled=_with_headroom)
    if factor <= 0.0 or not math.isfinite(factor):
        return System("glet-headroom", Plan(), 0.0)
    return System("glet-headroom", planner.plan(_with_headroom(problem, factor)), factor)


def _with_headroom(problem: Problem, factor: float) -> Problem:
    tasks = tuple(
        Task(
            model=task.model,
            rate_rps=padded_rps(task.rate_rps * factor, task.slo_ms / 1000.0, QUANTILE),
            slo_ms=task.slo_ms,
        )
        for task in problem.tasks
    )
    return msgspec.structs.replace(problem, tasks=tasks)


def streams(study: Study, tasks: Sequence[Task], ratio: float) -> System:
    """Every model a gpulet of the whole device, all of them at once: an inference server without
    partitions, a stream per model."""
    gpulets = []
    for number, task in enumerate(tasks):
        table = _profile(study, task.model).tables(study.shares[-1:])[0]
        fits = [b for b, ms in enumerate(table.tolist(), start=1) if 2.0 * ms <= task.slo_ms]
        share = ModelShare(model=task.model, batch=max(fits, default=1), rate_rps=task.rate_rps)
        gpulets.append(
            GpuletPlan(device=0, share_pct=study.shares[-1], dedup=number, models=(share,))
        )
    return System("streams", Plan(gpulets=tuple(gpulets)), fluid_factor(study, tasks) / 2.0)


def priorities(tasks: Sequence[Task]) -> dict[str, int]:
    """Of a stream per model: the tightest SLO first. A GPU has six, 0 down to -5."""
    ranks = {slo_ms: rank for rank, slo_ms in enumerate(sorted({task.slo_ms for task in tasks}))}
    last = max(len(ranks) - 1, 1)
    return {task.model: -round(5 * (last - ranks[task.slo_ms]) / last) for task in tasks}


def _planned(
    name: str,
    study: Study,
    tasks: Sequence[Task],
    ratio: float,
    shares: Sequence[int],
    probes: Sequence[float] = (),
) -> System:
    planner = make_planner(name)
    problem = problem_of(study, tasks, shares, ratio)
    # Probes that fit let it begin above them: it is never below what it can ask others for.
    factor = peak_factor(planner, problem, probes)
    if factor <= 0.0 or not math.isfinite(factor):
        return System(name, Plan(), 0.0)
    return System(name, planner.plan(scale(problem, factor)), factor)


SYSTEMS: dict[str, Callable[[Study, Sequence[Task], float], System]] = {
    "timeshare": timeshare,
    "edf": edf,
    "edf-nowait": edf_nowait,
    "streams": streams,
    "streams-priority": streams,
    "elastic": elastic,
    "glet": glet,
    "glet-headroom": glet_headroom,
    "glet-steal": glet,
    "glet-headroom-steal": glet_headroom,
}
TEMPORAL = ("timeshare", "edf", "edf-nowait")


def _profile(study: Study, model: str) -> ModelProfile:
    return study.profile.model(model)


def _whole(study: Study, model: str, batch: int) -> float:
    return _profile(study, model).latency_ms(study.shares[-1], batch)
