"""From the command line and the files it names to a problem for the planners."""

import argparse
import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from glet.cli.schedule_apps import AppTask, apps_among, expand, parse_app
from glet.config.load import nearest
from glet.config.resource import profile_folder
from glet.errors import ConfigError
from glet.plan import model_list, sched_config, tasks
from glet.plan.app_split import merged
from glet.plan.make import make_planner
from glet.plan.problem import (
    Device,
    DeviceType,
    MemoryRules,
    Problem,
    Rules,
    Task,
    check_problem,
)
from glet.plan.why import never_served
from glet.profiles.device_profile import DeviceProfile
from glet.profiles.files import read_profile
from glet.profiles.importers import DeviceSpec, import_spec, read_device_config, read_mem_config
from glet.profiles.interference import Interference, NoInterference
from glet.profiles.interference_files import linear_from_gpulet, read_constants, read_interference
from glet.types.plan import Plan

DEFAULT_PLANNER = "glet"
INTERFERENCE = "interference.toml"
ANY_SHARE = "any"
MEMORIES = ("process", "shared")


class Inputs(NamedTuple):
    """What is asked, of which planner, and what should be said about it beforehand."""

    problem: Problem
    planner: str
    notes: tuple[str, ...]


class Park(NamedTuple):
    """The devices: how many of which type, and the rules that came with them."""

    types: dict[str, DeviceType]
    counts: list[tuple[str, int]]
    rules: Rules
    slo_ratio: float = 1.0
    planner: str | None = None
    notes: tuple[str, ...] = ()


def read_inputs(args: argparse.Namespace) -> Inputs:
    """Reads and checks everything. Raises GletErrors that are one clear line each."""
    park = _published(args) if args.sched_config is not None else _given(args)
    planner = args.planner or park.planner or DEFAULT_PLANNER
    make_planner(planner)
    plain, apps = _asked(args, park)
    of_apps = [task for app in apps for task in app.model_tasks]
    shares, notes = _shares(args.shares, park, [*plain, *of_apps])
    types = {
        name: msgspec.structs.replace(device, shares=shares[name])
        for name, device in park.types.items()
    }
    rules = msgspec.structs.replace(
        park.rules, memory=MemoryRules(shared_weights=args.memory == "shared")
    )
    wanted = tuple(plain)
    if apps:
        expanded, said = expand(apps, list(types.values()), rules)
        wanted = merged([*plain, *expanded])
        notes += said
    names = [name for name, count in park.counts for _ in range(count)]
    problem = Problem(
        tasks=wanted,
        devices=tuple(Device(number=i, type=name) for i, name in enumerate(names)),
        types=types,
        rules=rules,
        current=_current(args, len(names)),
        move_cost=args.move_cost,
    )
    check_problem(problem)
    for task in wanted:
        fault = never_served(problem, task)
        if fault is not None:
            raise ConfigError(f"{args.tasks or '--app'}: {fault}")
    return Inputs(problem, planner, (*park.notes, *notes))


def _asked(args: argparse.Namespace, park: Park) -> tuple[list[Task], list[AppTask]]:
    """Tasks for models and for apps, with headroom and SLO ratio in them."""
    _check_factors(args)
    tasks_of_file = _tasks(args, park.slo_ratio) if args.tasks is not None else ()
    plain, apps = apps_among(tasks_of_file, args.models, park.types.values())
    for text in args.app:
        app, rate_rps, slo_ms = parse_app(text)
        apps.append(AppTask(app, rate_rps * args.headroom, slo_ms * park.slo_ratio))
    return plain, apps


def _check_factors(args: argparse.Namespace) -> None:
    for option, value in (("--headroom", args.headroom), ("--move-cost", args.move_cost)):
        if not (math.isfinite(value) and value >= 0.0):
            raise ConfigError(f"{option} {value:g}; give a number, 0 or more")
    if not 0.0 < args.headroom <= 1e3:
        raise ConfigError(f"--headroom {args.headroom:g}; give a factor above 0, at most 1000")


def _tasks(args: argparse.Namespace, slo_ratio: float) -> tuple[Task, ...]:
    return tuple(
        Task(
            model=task.model,
            rate_rps=task.rate_rps * args.headroom,
            slo_ms=task.slo_ms * slo_ratio,
        )
        for task in tasks.read(args.tasks)
    )


def _current(args: argparse.Namespace, devices: int) -> Plan | None:
    if args.current is None:
        return None
    plan = model_list.read(args.current)
    for gpulet in plan.gpulets:
        if gpulet.models and gpulet.device >= devices:
            raise ConfigError(
                f"{args.current}: uses device {gpulet.device}; there are 0..{devices - 1}"
            )
    return plan


def _given(args: argparse.Namespace) -> Park:
    """Devices from --device TYPE=COUNT."""
    types: dict[str, DeviceType] = {}
    counts = []
    for text in args.device:
        name, _, number = text.rpartition("=")
        if not name or not (number.isascii() and number.isdigit() and len(number) < 10):
            raise ConfigError(f"--device {text!r}; give TYPE=COUNT, as in synthetic-gpu=4")
        folder = Path(name) if Path(name).is_dir() else profile_folder(name)
        device = _from_folder(folder)
        if device.name in types:
            raise ConfigError(f"--device {text!r}: type {device.name!r} is there twice")
        types[device.name] = device
        counts.append((device.name, int(number)))
        if not 1 <= int(number) <= sched_config.MOST_DEVICES:
            raise ConfigError(
                f"--device {text!r}: {number} devices; valid is 1..{sched_config.MOST_DEVICES}"
            )
    total = sum(count for _, count in counts)
    if total > sched_config.MOST_DEVICES:
        raise ConfigError(f"--device: {total} devices; at most {sched_config.MOST_DEVICES} valid")
    return Park(types, counts, Rules())


def _from_folder(folder: Path) -> DeviceType:
    profile = read_profile(folder)
    return DeviceType(
        profile=profile, shares=profile.shares, interference=_interference_in(folder, profile)
    )


def _interference_in(folder: Path, profile: DeviceProfile) -> Interference:
    numbers = folder / INTERFERENCE
    return read_interference(numbers, profile) if numbers.exists() else NoInterference()


def _published(args: argparse.Namespace) -> Park:
    """Devices and rules from the published files."""
    config = sched_config.read(args.sched_config)
    memory_mb = read_mem_config(args.mem_config)
    specs = {
        spec.type: (f"{args.device_config}: device_specs[{index}]", spec)
        for index, spec in enumerate(read_device_config(args.device_config))
    }
    types: dict[str, DeviceType] = {}
    for index, gpu in enumerate(config.gpus):
        if gpu.type not in specs:
            raise ConfigError(
                f"{args.sched_config}: GPUs[{index}].Type: {gpu.type!r} is not in "
                f"{args.device_config}; {nearest(gpu.type, specs)}"
            )
        if gpu.type not in types:
            where, spec = specs[gpu.type]
            device = _from_spec(spec, memory_mb, where, disturbed=bool(config.interference))
            types[gpu.type] = msgspec.structs.replace(device, shares=config.shares)
    notes = ("No Check of the sched-config is ignored: plans are always checked",)
    return Park(
        types=types,
        counts=[(gpu.type, gpu.count) for gpu in config.gpus],
        rules=Rules(max_models=config.max_models, latency_ratio=config.latency_ratio),
        slo_ratio=config.slo_ratio,
        planner=config.planner,
        notes=notes if config.no_check else (),
    )


def _from_spec(
    spec: DeviceSpec, memory_mb: Mapping[str, float], where: str, *, disturbed: bool
) -> DeviceType:
    """A type of `device-config.json`: published files, a profile folder, or a shipped profile."""
    interference: Interference = NoInterference()
    folder = spec.latency_csv
    if not folder.exists() and not folder.suffix:
        folder = profile_folder(folder.name)
    if folder.is_dir():
        profile = _as_spec(read_profile(folder), spec, memory_mb)
        if disturbed:
            interference = _interference_in(folder, profile)
    else:
        profile = import_spec(spec, memory_mb, where)
        if disturbed and spec.constants_csv is not None:
            interference = linear_from_gpulet(read_constants(spec.constants_csv), profile)
    return DeviceType(profile=profile, shares=profile.shares, interference=interference)


def _as_spec(
    profile: DeviceProfile, spec: DeviceSpec, memory_mb: Mapping[str, float]
) -> DeviceProfile:
    """The folder's latencies, with type and memory as the published files say."""
    models = {name: copy.copy(profile.model(name)) for name in profile.models()}
    for name, model in models.items():
        model.memory_mb = memory_mb.get(name, model.memory_mb)
    return DeviceProfile(
        spec.type,
        models,
        memory_mb=spec.memory_mb,
        where=profile.where,
        shares=profile.shares,
    )


def _shares(
    text: str | None, park: Park, wanted: Sequence[Task]
) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """The shares of each type that all models were measured at; notes on those left out."""
    asked = None if text in (None, ANY_SHARE) else _parse_shares(str(text))
    found: dict[str, tuple[int, ...]] = {}
    notes = []
    for name, device in park.types.items():
        low, high, model = _measured(device.profile, [task.model for task in wanted])
        shares = tuple(range(1, 101)) if text == ANY_SHARE else asked or device.shares
        found[name] = tuple(share for share in shares if low <= share <= high)
        left_out = ", ".join(str(share) for share in shares if not low <= share <= high)
        if not found[name]:
            raise ConfigError(
                f"{name!r} cannot give shares {left_out}: {model!r} was measured at {low}..{high} %"
            )
        if left_out and text != ANY_SHARE:
            notes.append(
                f"shares {left_out} of {name!r} are left out: "
                f"{model!r} was measured at {low}..{high} %"
            )
    return found, notes


def _parse_shares(text: str) -> tuple[int, ...]:
    cells = [cell.strip() for cell in text.split(",")]
    if not all(cell.isascii() and cell.isdigit() and len(cell) < 10 for cell in cells):
        raise ConfigError(f"--shares {text!r}; give percentages as in 20,40,60,80,100, or any")
    shares = tuple(int(cell) for cell in cells)
    fault = sched_config.share_fault(shares)
    if fault is not None:
        raise ConfigError(f"--shares {text}: {fault}")
    return shares


def _measured(profile: DeviceProfile, names: Iterable[str]) -> tuple[int, int, str]:
    """(smallest, largest) share that all these models have, and the model that has the fewest."""
    known = set(profile.models())
    models = [profile.model(name) for name in names if name in known]
    if not models:
        return 1, 100, ""
    low = max(model.shares[0] for model in models)
    high = min(model.shares[-1] for model in models)
    fewest = next(m for m in models if m.shares[0] == low or m.shares[-1] == high)
    return low, high, fewest.name
