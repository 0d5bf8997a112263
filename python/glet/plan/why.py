"""Why a rate could not be placed, in one line with numbers."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from glet.errors import ProfileError
from glet.plan.assess import memory_limit_mb, memory_of
from glet.plan.menu import Menu, menus
from glet.plan.problem import Problem, Task
from glet.types.plan import Plan


def never_served(problem: Problem, task: Task) -> str | None:
    """Why no device of the problem could serve one request of this task, or None.

    There is no profile of its model, or its objective is below the fastest possible latency: one
    request alone on the largest share.
    """
    fastest: list[tuple[float, int, str]] = []
    missing = ""
    for name in sorted({device.type for device in problem.devices}):
        device = problem.types[name]
        try:
            profile = device.profile.model(task.model)
            share = max(share for share in device.shares if share <= profile.shares[-1])
            latency_ms = profile.latency_ms(share, 1) * problem.rules.latency_ratio
        except (ProfileError, ValueError) as error:
            missing = missing or str(error)
            continue
        fastest.append((latency_ms, share, name))
    if not fastest:
        return missing or "there is no device"
    latency_ms, share, name = min(fastest)
    if latency_ms <= task.slo_ms:
        return None
    return (
        f"SLO {task.slo_ms:g} ms of {task.model!r} is {latency_ms - task.slo_ms:.3f} ms below its "
        f"fastest possible latency, {latency_ms:.3f} ms on {share} % of {name!r}"
    )


def why_unmet(problem: Problem, plan: Plan) -> dict[str, str]:
    """A line for every model of plan.unmet, by what is left of the devices under this plan."""
    made = menus(problem)
    left = _left(problem, plan)
    tasks = {task.model: task for task in problem.tasks}
    return {
        model: never_served(problem, tasks[model])
        or _no_memory(problem, made, model)
        or _no_room(problem, made, left, (model, rate_rps))
        for model, rate_rps in plan.unmet.items()
    }


class Left(NamedTuple):
    """What a plan leaves of one device."""

    number: int
    type: str
    share_pct: int
    memory_mb: float


def _left(problem: Problem, plan: Plan) -> list[Left]:
    used: dict[int, int] = {}
    models: dict[int, list[list[str]]] = {}
    for gpulet in plan.gpulets:
        if gpulet.models:
            used[gpulet.device] = used.get(gpulet.device, 0) + gpulet.share_pct
            names = [share.model for share in gpulet.models]
            models.setdefault(gpulet.device, []).append(names)
    left = []
    for device in problem.devices:
        kind = problem.types[device.type]
        memory_mb = memory_limit_mb(kind, problem.rules) - memory_of(
            models.get(device.number, []), kind, problem.rules
        )
        share_pct = 100 - used.get(device.number, 0)
        left.append(Left(device.number, device.type, share_pct, memory_mb))
    return left


def _no_memory(problem: Problem, made: Mapping[str, Menu], model: str) -> str | None:
    """The model and its process are larger than what may be planned of any device."""
    lines = []
    for name, menu in made.items():
        if not menu.serves(model):
            continue
        limit_mb = memory_limit_mb(menu.type, problem.rules)
        if _needs_mb(problem, menu, model) <= limit_mb:
            return None
        lines.append(
            f"memory: needs {_needs_mb(problem, menu, model):.0f} MB, "
            f"of {name!r} {limit_mb:.0f} MB are usable"
        )
    return lines[0] if lines else None


def _needs_mb(problem: Problem, menu: Menu, model: str) -> float:
    return problem.rules.memory.process_mb + menu.memory_mb[model]


def _no_room(
    problem: Problem, made: Mapping[str, Menu], left: Sequence[Left], want: tuple[str, float]
) -> str:
    model, rate_rps = want
    able = [device for device in left if made[device.type].serves(model)]
    if not able:
        return "no share of any device serves it within its SLO"
    most = max(able, key=lambda device: (device.share_pct, device.memory_mb, -device.number))
    menu = made[most.type]
    least_pct = menu.shares[menu.least[model]]
    whole_rps = menu.lone_rps[model][-1]
    more = f"{rate_rps / whole_rps:.2g} of a device that serves {whole_rps:.0f} rps of it alone"
    if most.share_pct < least_pct:
        free = (
            f"the largest free share is {most.share_pct} % (device {most.number})"
            if most.share_pct > 0
            else "no device has any share free"
        )
        return (
            f"no room: needs a gpulet of {least_pct} % or more, {free}; what is left takes {more}"
        )
    with_share = [
        device
        for device in able
        if device.share_pct >= made[device.type].shares[made[device.type].least[model]]
    ]
    roomiest = max(with_share, key=lambda device: device.memory_mb)
    needed_mb = _needs_mb(problem, made[roomiest.type], model)
    if roomiest.memory_mb < needed_mb:
        return (
            f"memory: needs {needed_mb:.0f} MB, {max(0.0, roomiest.memory_mb):.0f} MB are left "
            f"on device {roomiest.number}, the most where a share of {least_pct} % is free"
        )
    return (
        f"no room found, though {most.share_pct} % of device {most.number} are free: what is left "
        f"takes {more}"
    )
