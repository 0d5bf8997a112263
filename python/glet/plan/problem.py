"""What a planner is asked: tasks, devices with their profiles, and the rules of the house."""

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

import msgspec

from glet.config.load import nearest
from glet.errors import ArgumentError
from glet.profiles.device_profile import DeviceProfile
from glet.profiles.interference import Interference, NoInterference
from glet.types.plan import Plan


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A model, the rate it is asked for, and within what time each answer is due."""

    model: str
    rate_rps: float
    slo_ms: float


class DeviceType(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of device. `shares` are the percentages that a gpulet of it can have, ascending."""

    profile: DeviceProfile
    shares: tuple[int, ...]
    interference: Interference = NoInterference()

    @property
    def name(self) -> str:
        return self.profile.type


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One device that may be used: its number in plans, and its type's name."""

    number: int
    type: str


class MemoryRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan needs of a device's memory.

    Each gpulet costs `process_mb` (framework and context of its process) and its models' weights;
    with `shared_weights` one process serves the whole device: one `process_mb`, and each model
    once, however many gpulets run it. At most `usable` of a device's memory is planned.
    """

    process_mb: float = 1230.0
    shared_weights: bool = False
    usable: float = 0.9


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Limits that hold for every planner.

    `max_models` share one gpulet at most. Latencies are planned `latency_ratio` times as long as
    profiled. A device is cut into `max_gpulets` at most.
    """

    max_models: int = 3
    latency_ratio: float = 1.1
    max_gpulets: int = 100
    memory: MemoryRules = MemoryRules()


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """All that a planner may know. `types` by name. `current` is the plan that serves now.

    `move_cost` is what a model loaded anew on a gpulet may cost, in devices: a plan that needs k
    more moves is taken only when it saves more than k * move_cost devices.
    """

    tasks: tuple[Task, ...]
    devices: tuple[Device, ...]
    types: dict[str, DeviceType]
    rules: Rules = Rules()
    current: Plan | None = None
    move_cost: float = 0.0

    def task(self, model: str) -> Task:
        return next(task for task in self.tasks if task.model == model)

    def type_of(self, number: int) -> DeviceType:
        """The type of the device of that number."""
        return self.types[next(d.type for d in self.devices if d.number == number)]


class Planner(Protocol):
    """Targets -> plan. Pure: the same problem gives the same plan, in whatever order it is told.

    What cannot be placed is in the plan's `unmet`; a planner never fails for want of room.
    """

    @property
    def name(self) -> str: ...

    def plan(self, problem: Problem) -> Plan: ...


def check_problem(problem: Problem) -> None:
    """Raises ArgumentError for what no planner can be asked."""
    for what, names in (
        ("model", [task.model for task in problem.tasks]),
        ("device", [str(device.number) for device in problem.devices]),
    ):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ArgumentError(f"{what} {twice[0]} is there twice")
    for task in problem.tasks:
        if not (0 < task.rate_rps < 1e9 and 0 < task.slo_ms < 1e9):
            raise ArgumentError(
                f"task {task.model!r}: rate {task.rate_rps:g} rps, SLO {task.slo_ms:g} ms; "
                "both are above 0 and below 1e9"
            )
    for device in problem.devices:
        if device.type not in problem.types:
            raise ArgumentError(
                f"device {device.number}: type {device.type!r} is unknown; "
                f"{nearest(device.type, problem.types)}"
            )


def unmet(problem: Problem, placed: Iterable[tuple[str, float]]) -> dict[str, float]:
    """What is left of every task's rate, by model, given (model, rate_rps) that are placed."""
    left = {task.model: task.rate_rps for task in problem.tasks}
    for model, rate_rps in placed:
        left[model] -= rate_rps
    # Below a millionth of the rate it is rounding, not a request.
    wanted = {task.model: task.rate_rps for task in problem.tasks}
    return {model: rate for model, rate in sorted(left.items()) if rate > 1e-6 * wanted[model]}
