"""From an observation to the problem that a planner is asked: devices, types, what is reserved."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from glet.control.reserve import Cut, cut, real, seen
from glet.errors import ProfileError
from glet.plan.draft import deduped
from glet.plan.problem import Device, DeviceType, MemoryRules, Problem, Rules, Task
from glet.policy.policy import Target
from glet.profiles.correction import Corrections, Sample, corrected_profile, measured_ratio
from glet.profiles.device_profile import DeviceProfile
from glet.profiles.interference import Tenant
from glet.types.observation import DeviceObservation, GpuletObservation, Observation
from glet.types.plan import GpuletPlan, Plan

# Executors serve a whole device with one process and each model's weights once.
RULES = Rules(memory=MemoryRules(shared_weights=True))
# Gpulets that run for less of the time do not count as neighbours.
IDLE = 0.05
LEAST_BUSY = 0.01
MOST_TYPES = 64
# Of an objective at most this part is kept free for the way back.
MOST_MARGIN = 0.5


class Asked(NamedTuple):
    """A problem, with what has to be known to read its answer.

    `reserved` gpulets run models that cannot be planned (`unplanned`). `key` is equal for two
    problems whose devices and profiles are the same.
    """

    problem: Problem
    cuts: dict[int, Cut]
    reserved: tuple[GpuletPlan, ...]
    unplanned: tuple[str, ...]
    key: object

    def inside(self, plan: Plan) -> Plan:
        """A plan as the planner sees it, without what is reserved."""
        held = {(g.device, g.share_pct, g.dedup) for g in self.reserved}
        free = [g for g in plan.gpulets if (g.device, g.share_pct, g.dedup) not in held]
        if not self.cuts:
            return Plan(gpulets=tuple(free), unmet=plan.unmet)
        found: list[GpuletPlan] = []
        for number, gpulets in _by_device(free).items():
            made = self.cuts.get(number)
            found += gpulets if made is None else seen(gpulets, made)
        return Plan(gpulets=deduped(found), unmet=plan.unmet)

    def outside(self, plan: Plan) -> Plan:
        """The reverse, with what is reserved."""
        if not self.reserved:
            return plan
        found = list(self.reserved)
        for number, gpulets in _by_device(plan.gpulets).items():
            made = self.cuts.get(number)
            found += gpulets if made is None else real(gpulets, made)
        return Plan(gpulets=deduped(found), unmet=plan.unmet)


class _Learnt(NamedTuple):
    """What a profile is changed by: factors and largest batches by model, and which residuals."""

    factors: tuple[tuple[str, float], ...]
    most: tuple[tuple[str, int], ...]
    residuals: int


class Park:
    """The devices of a cluster as profiles know them, by number.

    Types are made again only when what they are made of changed, so that two rounds over the same
    devices have the same problem.
    """

    def __init__(self, types: Mapping[int, DeviceType], margin_ms: float, move_cost: float) -> None:
        """`margin_ms` of each objective are kept free for the way back."""
        self._types = types
        self._margin_ms = margin_ms
        self._move_cost = move_cost
        self._made: dict[object, DeviceType] = {}

    def samples(self, observation: Observation) -> list[Sample]:
        """What batches took, over what the profiles say."""
        found = []
        for device in observation.devices:
            whole = self._types.get(device.device)
            if whole is None or not device.alive:
                continue
            for gpulet in device.gpulets:
                beside = [g for g in device.gpulets if g is not gpulet and g.busy > IDLE]
                others = tuple(_busiest(g) for g in beside if g.models)
                busy = max((g.busy for g in beside), default=0.0)
                found += _samples(whole, gpulet, others, busy)
        return found

    def interferences(self) -> dict[str, DeviceType]:
        """A type of device by the name of its profile."""
        return {kind.profile.type: kind for kind in self._types.values()}

    def ask(
        self,
        observation: Observation,
        targets: Sequence[Target],
        current: Plan,
        corrections: Corrections,
    ) -> Asked:
        """The problem of serving these targets on the devices that are alive."""
        alive = [d for d in observation.devices if d.alive and d.device in self._types]
        batches = {m.model: m.max_batch for m in observation.models if m.max_batch}
        types, names, parts = {}, {}, []
        learnt = {
            id(base): _learnt(base, batches, corrections)
            for base in {id(k.profile): k.profile for k in self._types.values()}.values()
        }
        for device in alive:
            name, key, kind = self._type(device, learnt, corrections)
            types[name], names[device.device] = kind, name
            parts.append(key)
        tasks = [self._task(target) for target in targets if target.rate_rps > 0.0]
        shares = {name: _measured(kind, [t.model for t in tasks]) for name, kind in types.items()}
        types = {
            name: msgspec.structs.replace(kind, shares=shares[name]) for name, kind in types.items()
        }
        able = [task for task in tasks if any(_serves(kind, task) for kind in types.values())]
        unplanned = sorted({t.model for t in targets} - {task.model for task in able})
        reserved = self._reserved(current, set(unplanned))
        cuts, devices = {}, []
        for number, gpulets in _by_device(reserved).items():
            if number not in names:
                continue
            made = cut(types[names[number]], sum(gpulet.share_pct for gpulet in gpulets))
            if made is None:
                del names[number]
                continue
            names[number] = f"{names[number]} beside {number}"
            types[names[number]] = made.type
            cuts[number] = made
        devices = [Device(number=number, type=name) for number, name in sorted(names.items())]
        used = {device.type for device in devices}
        problem = Problem(
            tasks=tuple(able),
            devices=tuple(devices),
            types={name: kind for name, kind in types.items() if name in used},
            rules=RULES,
            move_cost=self._move_cost,
        )
        key = (tuple(sorted(names.items())), tuple(parts), tuple(sorted(shares.items())))
        return Asked(problem, cuts, tuple(reserved), tuple(unplanned), key)

    def _reserved(self, current: Plan, unplanned: set[str]) -> list[GpuletPlan]:
        """What cannot be planned anew: gpulets with their models without a profile alone.

        On devices without a profile all; on a device that is lost too, for when it is back.
        """
        found = []
        for gpulet in current.gpulets:
            models = gpulet.models
            if gpulet.device in self._types:
                models = tuple(share for share in models if share.model in unplanned)
            if models:
                found.append(msgspec.structs.replace(gpulet, models=models))
        return found

    def _task(self, target: Target) -> Task:
        slo_ms = max(target.slo_ms - self._margin_ms, target.slo_ms * MOST_MARGIN)
        return Task(model=target.model, rate_rps=target.rate_rps, slo_ms=slo_ms)

    def _type(
        self, device: DeviceObservation, learnt: Mapping[int, _Learnt], corrections: Corrections
    ) -> tuple[str, object, DeviceType]:
        whole = self._types[device.device]
        base = whole.profile
        factors, most, residuals = learnt[id(base)]
        units = 0 if device.kind == "profiled" else round(100.0 / device.granularity_pct)
        key = (id(base), units, device.bad_units, factors, most, residuals)
        if key not in self._made:
            if len(self._made) >= MOST_TYPES:
                self._made.clear()
            corrected = corrected_profile(base, dict(factors), dict(most))
            self._made[key] = DeviceType(
                profile=corrected if factors or most else base,
                shares=unit_shares(units, device.bad_units) if units else whole.shares,
                interference=corrections.interference(base.type, whole.interference),
            )
        without = "".join(f"-{count}" for count in device.bad_units)
        return f"{base.type}/{units or 'any'}{without}", key, self._made[key]


def _learnt(base: DeviceProfile, batches: Mapping[str, int], corrections: Corrections) -> _Learnt:
    factors = ((model, corrections.factor(base.type, model)) for model in base.models())
    most = ((model, batches[model]) for model in base.models() if model in batches)
    residuals = corrections.used.get(base.type)
    # Whoever plans with residuals holds them, so their id is theirs alone.
    return _Learnt(
        tuple(pair for pair in factors if pair[1] != 1.0),
        tuple(most),
        0 if residuals is None else id(residuals),
    )


def unit_shares(units: int, bad: Collection[int] = ()) -> tuple[int, ...]:
    """The least share in percent, ascending, that gives 1, 2, ... of so many units, none `bad`."""
    counts = [count for count in range(1, units + 1) if count not in bad]
    return tuple(sorted({-(-100 * count // units) for count in counts}))


def _measured(kind: DeviceType, models: Iterable[str]) -> tuple[int, ...]:
    """The shares at which all these models have a latency, as far as they are in the profile."""
    known = set(kind.profile.models())
    found = [kind.profile.model(model) for model in models if model in known]
    low = max((model.shares[0] for model in found), default=1)
    high = min((model.shares[-1] for model in found), default=100)
    return tuple(share for share in kind.shares if low <= share <= high)


def _serves(kind: DeviceType, task: Task) -> bool:
    """Whether one request on the largest share is answered in time."""
    if not kind.shares:
        return False
    try:
        alone_ms = kind.profile.model(task.model).latency_ms(kind.shares[-1], 1)
    except ProfileError:
        return False
    return alone_ms * RULES.latency_ratio <= task.slo_ms


def _by_device(gpulets: Iterable[GpuletPlan]) -> dict[int, list[GpuletPlan]]:
    found: dict[int, list[GpuletPlan]] = defaultdict(list)
    for gpulet in gpulets:
        found[gpulet.device].append(gpulet)
    return dict(found)


def _busiest(gpulet: GpuletObservation) -> Tenant:
    model = max(gpulet.models, key=lambda tenant: (tenant.busy, tenant.model))
    return Tenant(model.model, max(1, round(model.mean_batch)), gpulet.share_pct)


def _samples(
    whole: DeviceType, gpulet: GpuletObservation, others: tuple[Tenant, ...], busy: float
) -> list[Sample]:
    found = []
    for model in gpulet.models:
        if model.mean_batch <= 0.0 or model.busy < LEAST_BUSY:
            continue
        tenant = Tenant(model.model, max(1, round(model.mean_batch)), gpulet.share_pct)
        ratio = measured_ratio(whole.profile, tenant, model.latency_ms, model.correction)
        if ratio is not None:
            found.append(Sample(whole.profile.type, tenant, ratio, others, busy))
    return found
