"""Problems for the planner benchmarks: published workloads and random ones, on synthetic GPUs."""

from collections.abc import Iterable, Sequence

import numpy as np

from glet.config.resource import profile_folder
from glet.plan.problem import Device, DeviceType, MemoryRules, Problem, Rules, Task
from glet.profiles.device_profile import DeviceProfile
from glet.profiles.files import read_profile
from glet.profiles.interference import Interference, NoInterference
from glet.profiles.interference_files import linear_from_gpulet
from glet.profiles.synthetic import synthetic_models
from glet.workload.scenarios import Workload

TYPE = "synthetic-gpu"
# The published scheduler's sizes, and every size that the profile covers.
PUBLISHED_SHARES = (20, 40, 50, 60, 80, 100)
ANY_SHARE = tuple(range(5, 101))
# The published constants of the 2080 Ti: L2 of both, DRAM of both, constant.
PUBLISHED_CONSTANTS = (0.1129, 0.7160, 0.3549, 0.0882, 0.8954)
RANDOM_MEMORY_MB = 80_000.0
SPARE = 1.6


def device_type(shares: Sequence[int], *, disturbed: bool = False) -> DeviceType:
    """The shipped synthetic GPU; with the published interference where `disturbed`."""
    profile = read_profile(profile_folder(TYPE))
    interference: Interference = NoInterference()
    if disturbed:
        interference = linear_from_gpulet(PUBLISHED_CONSTANTS, profile)
    return DeviceType(profile=profile, shares=tuple(shares), interference=interference)


def published(workload: Workload, kind: DeviceType, devices: int) -> Problem:
    """A published workload on so many of these devices, under the published rules."""
    tasks = [Task(model=w.model, rate_rps=w.rate_rps, slo_ms=w.slo_ms) for w in workload]
    return _problem(tasks, kind, devices, Rules())


def random_problem(models: int, seed: int, load: tuple[float, float], spare: float) -> Problem:
    """Random models, each asked for a part within `load` of what a whole device serves at batch 32.

    `spare` times as many devices as those parts add up to, and two. Any share; weights are shared
    within a device.
    """
    rng = np.random.default_rng(seed)
    made = synthetic_models(models, rng)
    parts = rng.uniform(*load, size=models)
    tasks = [
        Task(
            model=model.name,
            rate_rps=float(part * 32_000.0 / model.latency_ms(100, 32)),
            slo_ms=model.slo_ms,
        )
        for model, part in zip(made, parts, strict=True)
    ]
    profiles = {model.name: model.profile() for model in made}
    profile = DeviceProfile(TYPE, profiles, memory_mb=RANDOM_MEMORY_MB, where=TYPE)
    rules = Rules(memory=MemoryRules(shared_weights=True))
    devices = int(float(parts.sum()) * spare) + 2
    return _problem(tasks, DeviceType(profile=profile, shares=ANY_SHARE), devices, rules)


def _problem(tasks: Iterable[Task], kind: DeviceType, devices: int, rules: Rules) -> Problem:
    return Problem(
        tasks=tuple(tasks),
        devices=tuple(Device(number=number, type=kind.name) for number in range(devices)),
        types={kind.name: kind},
        rules=rules,
    )
