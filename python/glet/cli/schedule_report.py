"""What `glet-schedule` says of a plan: tables, and the same as an object for JSON."""

import math
from collections.abc import Mapping
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from glet.cli.table import number
from glet.plan.assess import Assessment
from glet.plan.problem import Problem
from glet.types.plan import GpuletPlan, Plan

WHOLE = 100


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """One planner's answer. `bound` is the proven least number of devices. `why` by unmet model.

    `peak` is the largest common rate factor, where it was asked for.
    """

    planner: str
    plan: Plan
    found: Assessment
    seconds: float
    bound: int
    why: dict[str, str]
    peak: float | None = None


def with_reserves(problem: Problem, plan: Plan) -> tuple[GpuletPlan, ...]:
    """The gpulets by device, and after them what is left of each device, reserved.

    What is left is named where it is a share that the device can give, or all of it.
    """
    here: dict[int, list[GpuletPlan]] = {device.number: [] for device in problem.devices}
    for gpulet in plan.gpulets:
        if gpulet.models:
            here[gpulet.device].append(gpulet)
    made: list[GpuletPlan] = []
    for device in problem.devices:
        gpulets = here[device.number]
        made += gpulets
        left_pct = WHOLE - sum(gpulet.share_pct for gpulet in gpulets)
        if left_pct == WHOLE or left_pct in problem.types[device.type].shares:
            same = sum(gpulet.share_pct == left_pct for gpulet in gpulets)
            made.append(GpuletPlan(device=device.number, share_pct=left_pct, dedup=same))
    return tuple(made)


def summary(problem: Problem, planned: Planned) -> str:
    """One line: devices used and needed, whether everything is placed, the peak, the time."""
    total = len(problem.devices)
    needed = (
        f"at least {planned.bound} needed"
        if planned.bound <= total
        else f"at least {planned.bound} would be needed"
    )
    rates = sum(planned.plan.unmet.values())
    placed = f"{number(rates)} rps unmet" if planned.plan.unmet else "everything is placed"
    used = f"{planned.found.devices_used} of {total} devices used"
    parts = [
        f"{planned.planner}: {used}, {needed} (proven)",
        placed,
        f"planned in {planned.seconds:.3f} s",
    ]
    if planned.peak is not None:
        parts.insert(2, f"fits up to {planned.peak:.3f} times these rates")
    return "; ".join(parts)


def gpulet_table(problem: Problem, found: Assessment) -> Table:
    """A row per model on a gpulet; device and gpulet are named in its first."""
    types = {device.number: device.type for device in problem.devices}
    several = len(set(types.values())) > 1
    table = _table("device", *["type"] * several, "gpulet", "model")
    for heading in ("batch", "rate/s", "latency ms", "SLO ms", "busy"):
        table.add_column(heading, justify="right", no_wrap=True)
    for gpulet in found.gpulets:
        place = [str(gpulet.device), *[types[gpulet.device]] * several, f"{gpulet.share_pct} %"]
        for model in gpulet.models:
            table.add_row(
                *map(Text, place),
                Text(model.model, overflow="ellipsis"),
                str(model.batch),
                number(model.rate_rps),
                number(model.latency_ms),
                number(model.slo_ms),
                f"{model.occupancy:.0%}",
            )
            place = [""] * len(place)
    return table


def unmet_table(problem: Problem, planned: Planned) -> Table:
    """What is not placed, of how much, and why."""
    wanted = {task.model: task.rate_rps for task in problem.tasks}
    table = _table("unmet")
    for heading in ("rate/s", "of"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("why", ratio=1)
    for model, rate_rps in planned.plan.unmet.items():
        row = (number(rate_rps), number(wanted[model]), Text(planned.why[model]))
        table.add_row(Text(model), *row)
    return table


def compare_table(all_planned: Mapping[str, Planned | None]) -> Table:
    """The planners side by side; None is one that was not asked, the problem being too large."""
    peaks = any(
        planned is not None and planned.peak is not None for planned in all_planned.values()
    )
    table = _table("planner", "feasible")
    for heading in ("devices", "bound", "unmet/s", *["peak"] * peaks, "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, planned in all_planned.items():
        if planned is None:
            table.add_row(name, *["-"] * (5 + peaks))
            continue
        table.add_row(
            name,
            "yes" if planned.found.feasible else "no",
            str(planned.found.devices_used),
            str(planned.bound),
            number(sum(planned.plan.unmet.values())),
            *[f"{planned.peak:.3f}" if planned.peak is not None else "-"] * peaks,
            f"{planned.seconds:.3f}",
        )
    return table


def as_json(problem: Problem, planned: Planned) -> dict[str, Any]:
    """The answer as one object; a number that has no bound is null."""
    types = {device.number: device.type for device in problem.devices}
    gpulets = [
        {
            "device": gpulet.device,
            "device_type": types[gpulet.device],
            "share_pct": gpulet.share_pct,
            "occupancy": gpulet.occupancy,
            "models": [
                {name: _finite(value) for name, value in msgspec.structs.asdict(model).items()}
                for model in gpulet.models
            ],
        }
        for gpulet in planned.found.gpulets
        if gpulet.models
    ]
    answer = {
        "planner": planned.planner,
        "devices": len(problem.devices),
        "devices_used": planned.found.devices_used,
        "feasible": planned.found.feasible,
        "lower_bound": planned.bound,
        "seconds": planned.seconds,
        "gpulets": gpulets,
        "memory_mb": {str(number): mb for number, mb in planned.found.memory_mb.items()},
        "unmet": planned.plan.unmet,
        "why": planned.why,
        "faults": planned.found.faults,
    }
    return answer if planned.peak is None else {**answer, "peak_factor": planned.peak}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _table(*headings: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table
