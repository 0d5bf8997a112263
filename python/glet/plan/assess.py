"""What a plan gives: latencies, occupancy, slowdowns, and everything that is wrong with it.

The one judge of all planners: it takes the plan as it stands, with its batches and duty cycles, and
does not ask who made it.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from glet.errors import ProfileError
from glet.plan.fit import EPSILON, Want, deadlines_hold, job_of, shortest_cycle
from glet.plan.problem import DeviceType, Problem, Rules, Task
from glet.profiles.interference import Interference, Tenant
from glet.types.plan import GpuletPlan, ModelShare, Plan, problems, takes_turns

BISECTIONS = 30
# Parts of a rate that may be lost in a sum, or in the six digits of a ModelList's duty cycle.
RATE_SLACK = 1e-5


class ServedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model on a gpulet as the plan's own model of latency sees it.

    `latency_ms` is the longest from arrival to answer, infinite when it has no bound. `slowdown` is
    by the neighbours. `occupancy` is the part of the gpulet's time that it uses, in batches as they
    come at the planned rate; `batch` is the largest.
    """

    model: str
    batch: int
    rate_rps: float
    slo_ms: float
    latency_ms: float
    slowdown: float
    occupancy: float


class ServedGpulet(msgspec.Struct, frozen=True, kw_only=True):
    """A gpulet of the plan with its models, in the plan's order."""

    device: int
    share_pct: int
    dedup: int
    models: tuple[ServedModel, ...]

    @property
    def occupancy(self) -> float:
        return sum(model.occupancy for model in self.models)


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """`faults` has a line for everything that breaks a promise; a sound plan has none.

    `memory_mb` by device is what the plan takes of it.
    """

    gpulets: tuple[ServedGpulet, ...]
    unmet: dict[str, float]
    faults: tuple[str, ...]
    memory_mb: dict[int, float]

    @property
    def devices_used(self) -> int:
        return len({gpulet.device for gpulet in self.gpulets if gpulet.models})

    @property
    def feasible(self) -> bool:
        """Everything asked for is placed, and no promise is broken."""
        return not self.unmet and not self.faults


def assess(problem: Problem, plan: Plan) -> Assessment:
    """Judges a plan by the problem's own profiles, interference and rules."""
    tasks = {task.model: task for task in problem.tasks}
    types = {device.number: problem.types[device.type] for device in problem.devices}
    faults = list(problems(plan.gpulets))
    gpulets: list[ServedGpulet] = []
    memory_mb = {}
    for number in sorted({gpulet.device for gpulet in plan.gpulets}):
        if number not in types:
            faults.append(f"device {number} is not there")
            continue
        here = plan.on_device(number)
        served, found = _device(here, tasks, types[number], problem.rules)
        gpulets += served
        faults += found
        try:
            memory_mb[number] = memory_of(
                [[m.model for m in g.models] for g in here], types[number], problem.rules
            )
        except ProfileError:
            continue  # a fault of its gpulet already
        faults += _memory_faults(number, memory_mb[number], types[number], problem.rules)
    faults += _rate_faults(problem, plan)
    return Assessment(
        gpulets=tuple(gpulets), unmet=dict(plan.unmet), faults=tuple(faults), memory_mb=memory_mb
    )


def memory_of(gpulets: Iterable[Sequence[str]], device: DeviceType, rules: Rules) -> float:
    """MB that gpulets with these models take of one device."""
    names = [list(models) for models in gpulets if models]
    weights = {name: device.profile.model(name).memory_mb for models in names for name in models}
    if rules.memory.shared_weights:
        return sum(weights.values()) + rules.memory.process_mb * bool(names)
    return sum(rules.memory.process_mb + sum(weights[n] for n in models) for models in names)


def memory_limit_mb(device: DeviceType, rules: Rules) -> float:
    """What may be planned of a device's memory; infinite where its size is not known."""
    size_mb = device.profile.memory_mb
    return size_mb * rules.memory.usable if size_mb > 0 else float("inf")


def slowdowns(
    interference: Interference,
    victims: Sequence[Tenant],
    neighbours: Sequence[Sequence[Tenant]],
) -> float:
    """The worst slowdown of any of a gpulet's models beside other gpulets of its device.

    One model runs at a time on each neighbour; the worst for the victim is taken of each.
    """
    worst = 1.0
    for victim in victims:
        beside = [
            max(tenants, key=lambda tenant: interference.slowdown(victim, (tenant,)))
            for tenants in neighbours
            if tenants
        ]
        worst = max(worst, interference.slowdown(victim, beside))
    return worst


def tenants_of(models: Iterable[ModelShare], share_pct: int) -> list[Tenant]:
    """A gpulet's models as interference sees them."""
    return [Tenant(share.model, share.batch, share_pct) for share in models]


def _device(
    gpulets: Sequence[GpuletPlan], tasks: Mapping[str, Task], device: DeviceType, rules: Rules
) -> tuple[list[ServedGpulet], list[str]]:
    served, faults = [], []
    tenants = [tenants_of(gpulet.models, gpulet.share_pct) for gpulet in gpulets]
    if len([gpulet for gpulet in gpulets if gpulet.models]) > rules.max_gpulets:
        faults.append(f"device {gpulets[0].device}: more than {rules.max_gpulets} gpulets")
    for index, gpulet in enumerate(gpulets):
        where = f"gpulet {gpulet.share_pct} % of device {gpulet.device}"
        faults += _gpulet_faults(where, gpulet, tasks, device, rules)
        others = [*tenants[:index], *tenants[index + 1 :]]
        factor = slowdowns(device.interference, tenants[index], others)
        try:
            models = _served(gpulet, tasks, device, rules, factor)
        except (ProfileError, KeyError) as error:
            faults.append(f"{where}: {error}")
            continue
        served.append(
            ServedGpulet(
                device=gpulet.device,
                share_pct=gpulet.share_pct,
                dedup=gpulet.dedup,
                models=models,
            )
        )
        faults += [
            f"{where}: {m.model} takes up to {m.latency_ms:.3f} ms, its SLO is {m.slo_ms:g} ms"
            for m in models
            if m.latency_ms > m.slo_ms * (1.0 + RATE_SLACK)
        ]
    return served, faults


def _gpulet_faults(
    where: str,
    gpulet: GpuletPlan,
    tasks: Mapping[str, Task],
    device: DeviceType,
    rules: Rules,
) -> list[str]:
    faults = [f"{where}: nobody asked for {m.model}" for m in gpulet.models if m.model not in tasks]
    if gpulet.share_pct not in device.shares:
        faults.append(f"{where}: is a share that {device.name} cannot give")
    if len(gpulet.models) > rules.max_models:
        faults.append(f"{where}: has more than {rules.max_models} models")
    return faults


def _served(
    gpulet: GpuletPlan,
    tasks: Mapping[str, Task],
    device: DeviceType,
    rules: Rules,
    factor: float,
) -> tuple[ServedModel, ...]:
    wants, batches = [], []
    for share in gpulet.models:
        profile = device.profile.model(share.model)
        profile.latency_ms(gpulet.share_pct, share.batch)
        table = profile.tables((gpulet.share_pct,))[0] * rules.latency_ratio
        rate_rps = share.rate_rps * (1.0 - RATE_SLACK)
        wants.append(Want(share.model, rate_rps, tasks[share.model].slo_ms, table.tolist()))
        batches.append(share.batch)
    turns = takes_turns(gpulet.models)
    longest_ms = latencies_ms(wants, batches, factor, turns=turns)
    if not all(map(math.isfinite, longest_ms)):
        # At an exact boundary the slack helps in one direction only.
        exact = [w._replace(rate_rps=m.rate_rps) for w, m in zip(wants, gpulet.models, strict=True)]
        longest_ms = latencies_ms(exact, batches, factor, turns=turns)
    running = _running(wants, batches, factor) if turns else None
    usual = running[1] if running is not None else batches
    return tuple(
        ServedModel(
            model=want.model,
            batch=share.batch,
            rate_rps=share.rate_rps,
            slo_ms=want.slo_ms,
            latency_ms=latency_ms,
            slowdown=factor,
            occupancy=want.rate_rps * want.table[batch - 1] * factor / (1000.0 * batch),
        )
        for share, want, batch, latency_ms in zip(
            gpulet.models, wants, usual, longest_ms, strict=True
        )
    )


def latencies_ms(
    wants: Sequence[Want], batches: Sequence[int], factor: float, *, turns: bool
) -> list[float]:
    """The longest from arrival to answer, per model; infinite where it grows without end."""
    if turns:
        return _turn_latencies_ms(wants, batches, factor)
    return [_deadline_latency_ms(wants, batches, factor, index) for index in range(len(wants))]


def _turn_latencies_ms(wants: Sequence[Want], batches: Sequence[int], factor: float) -> list[float]:
    """A cycle and the own batch. A cycle's batches are what comes in it, at most the planned."""
    lengths_ms = [w.table[b - 1] * factor for w, b in zip(wants, batches, strict=True)]
    if len(wants) == 1 and batches[0] == 1:
        keeps_up = wants[0].rate_rps * lengths_ms[0] <= 1000.0 * (1.0 + EPSILON)
        return [lengths_ms[0] if keeps_up else float("inf")]
    running = _running(wants, batches, factor)
    if running is not None:
        cycle_ms, smaller = running
        return [cycle_ms + w.table[b - 1] * factor for w, b in zip(wants, smaller, strict=True)]
    cycle_ms = sum(lengths_ms)
    keeps_up = all(
        want.rate_rps * cycle_ms <= 1000.0 * batch * (1.0 + EPSILON)
        for want, batch in zip(wants, batches, strict=True)
    )
    return [cycle_ms + length_ms if keeps_up else float("inf") for length_ms in lengths_ms]


def _running(
    wants: Sequence[Want], batches: Sequence[int], factor: float
) -> tuple[float, tuple[int, ...]] | None:
    """The cycle in which just what comes in it runs, and its batches; None beyond the planned.

    From idle on no cycle is longer.
    """
    shortest = shortest_cycle(wants, factor) if wants else None
    if shortest is None or any(b > cap for b, cap in zip(shortest[1], batches, strict=True)):
        return None
    return shortest


def _deadline_latency_ms(
    wants: Sequence[Want], batches: Sequence[int], factor: float, index: int
) -> float:
    """The shortest objective under which the demand test still holds for all."""

    def holds(slo_ms: float) -> bool:
        changed = [*wants]
        changed[index] = wants[index]._replace(slo_ms=slo_ms)
        return deadlines_hold(changed, batches, factor)

    job = job_of(wants[index], batches[index], factor)
    high = wants[index].slo_ms
    if not holds(high):
        return float("inf")
    low = high - job.due_ms
    for _ in range(BISECTIONS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _memory_faults(number: int, used_mb: float, device: DeviceType, rules: Rules) -> list[str]:
    limit_mb = memory_limit_mb(device, rules)
    if used_mb <= limit_mb * (1.0 + EPSILON):
        return []
    return [f"device {number}: needs {used_mb:.0f} MB, {limit_mb:.0f} MB are usable"]


def _rate_faults(problem: Problem, plan: Plan) -> list[str]:
    placed: dict[str, float] = defaultdict(float)
    for gpulet in plan.gpulets:
        for share in gpulet.models:
            placed[share.model] += share.rate_rps
    faults = []
    for task in problem.tasks:
        total = placed[task.model] + plan.unmet.get(task.model, 0.0)
        if abs(total - task.rate_rps) > RATE_SLACK * task.rate_rps:
            faults.append(
                f"{task.model}: {placed[task.model]:g} rps are placed and "
                f"{plan.unmet.get(task.model, 0.0):g} unmet, wanted are {task.rate_rps:g}"
            )
    return faults
