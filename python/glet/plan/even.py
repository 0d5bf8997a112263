"""The plan when nobody gave one: every model somewhere, the work spread evenly."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from glet.types.device import DeviceInfo
from glet.types.plan import GpuletPlan, ModelShare, Plan

PROFILED_GPULETS = 2


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """A model to place. `cost` orders and weighs models: any unit, the same for all."""

    model: str
    slo_ms: float
    max_batch: int
    cost: float = 1.0


class EvenPlanner:
    """Cuts each device into equal gpulets and gives every model one of them.

    Longest processing time first (Graham 1969): models in order of falling cost, each to the gpulet
    with the least cost so far. Batches do not preempt each other, so a model that shares a gpulet
    with one of a tighter SLO is held to batches that leave that one half of its SLO, taking
    SLO = 2 L(max_batch) and L in proportion to the batch (the SLO rule of Choi et al., ATC 2022).
    A pure function: the same arguments give the same plan.
    """

    def plan(self, devices: Mapping[int, DeviceInfo], loads: Sequence[Load]) -> Plan:
        """`devices` by number. Without a device that holds a gpulet everything is unmet."""
        gpulets = _cut(devices, len(loads))
        if not gpulets:
            return Plan(unmet={load.model: 0.0 for load in loads})
        placed: dict[int, list[Load]] = {index: [] for index in range(len(gpulets))}
        for load in sorted(loads, key=lambda load: (-load.cost, load.model)):
            lightest = min(placed, key=lambda index: (_cost(placed[index]), index))
            placed[lightest].append(load)
        return Plan(
            gpulets=tuple(
                msgspec.structs.replace(gpulet, models=_shares(placed[index]))
                for index, gpulet in enumerate(gpulets)
            )
        )

    def add(
        self, plan: Plan, devices: Mapping[int, DeviceInfo], load: Load, loads: Mapping[str, Load]
    ) -> Plan:
        """The plan with one more model; no gpulet changes its share, and no other model moves.

        The model gets an idle gpulet, else what is free of a device, else it joins the gpulet with
        the least cost. Where the plan names no rates, the parts of that one are made anew. `loads`
        are all models by name; one that the plan has already stays where it is. The same plan when
        no device has room.
        """
        if load.model in plan.models():
            made = [_evened(g, loads) if _has(g, load.model) else g for g in plan.gpulets]
            return msgspec.structs.replace(plan, gpulets=tuple(made))
        here = [gpulet for gpulet in plan.gpulets if gpulet.device in devices]
        idle = [gpulet for gpulet in here if not gpulet.models]
        new = _new_gpulet(plan, devices)
        if idle:
            chosen = max(idle, key=lambda gpulet: (gpulet.share_pct, -gpulet.device))
        elif new is not None:
            chosen = new
        elif here:
            # A share of a half costs twice as much time.
            chosen = min(here, key=lambda g: (_cost(_known(g, loads)) / g.share_pct, g.device))
        else:
            return plan
        joined = _evened(_joined(chosen, load, loads), loads)
        gpulets = [joined if gpulet is chosen else gpulet for gpulet in plan.gpulets]
        if chosen is new:
            gpulets.append(joined)
        unmet = {model: rps for model, rps in plan.unmet.items() if model != load.model}
        return Plan(gpulets=tuple(gpulets), unmet=unmet)


def without(plan: Plan, models: Iterable[str]) -> Plan:
    """The plan without these models; a gpulet that had no others goes with them."""
    gone = frozenset(models)
    if not gone:
        return plan
    gpulets = []
    for gpulet in plan.gpulets:
        stay = tuple(share for share in gpulet.models if share.model not in gone)
        if len(stay) == len(gpulet.models):
            gpulets.append(gpulet)
        elif stay:
            gpulets.append(msgspec.structs.replace(gpulet, models=stay))
    unmet = {model: rps for model, rps in plan.unmet.items() if model not in gone}
    return Plan(gpulets=tuple(gpulets), unmet=unmet)


def _new_gpulet(plan: Plan, devices: Mapping[int, DeviceInfo]) -> GpuletPlan | None:
    """All that is free of the device that has the most free, None where none has enough."""
    found = []
    for number, device in devices.items():
        there = plan.on_device(number)
        free_pct = 100 - sum(gpulet.share_pct for gpulet in there)
        if free_pct < max(1.0, device.granularity_pct) or len(there) >= device.max_gpulets:
            continue
        # Of an emulated one only the shares that plan() gives are sure to be in its profile.
        if device.kind == "profiled" and free_pct not in (100, 100 // PROFILED_GPULETS):
            continue
        same = {gpulet.dedup for gpulet in there if gpulet.share_pct == free_pct}
        dedup = next(n for n in range(len(same) + 1) if n not in same)
        found.append(GpuletPlan(device=number, share_pct=free_pct, dedup=dedup))
    return max(found, key=lambda gpulet: (gpulet.share_pct, -gpulet.device), default=None)


def _joined(gpulet: GpuletPlan, load: Load, loads: Mapping[str, Load]) -> GpuletPlan:
    """With the model among those that are there, whose rates and duty cycles stay as planned."""
    (even,) = [s for s in _shares([*_known(gpulet, loads), load]) if s.model == load.model]
    cycles = {share.duty_cycle_ms for share in gpulet.models}
    # With a cycle of its own the others would begin to wait for whole batches.
    cycle_ms = cycles.pop() if len(cycles) == 1 else None
    share = msgspec.structs.replace(even, duty_cycle_ms=cycle_ms)
    return msgspec.structs.replace(gpulet, models=(*gpulet.models, share))


def _evened(gpulet: GpuletPlan, loads: Mapping[str, Load]) -> GpuletPlan:
    """Parts and batches made anew, unless the plan has rates or cycles for them."""
    is_given = any(share.rate_rps or share.duty_cycle_ms for share in gpulet.models)
    known = _known(gpulet, loads)
    if is_given or len(known) < len(gpulet.models):
        return gpulet
    return msgspec.structs.replace(gpulet, models=_shares(known))


def _known(gpulet: GpuletPlan, loads: Mapping[str, Load]) -> list[Load]:
    return [loads[share.model] for share in gpulet.models if share.model in loads]


def _has(gpulet: GpuletPlan, model: str) -> bool:
    return any(share.model == model for share in gpulet.models)


def _cut(devices: Mapping[int, DeviceInfo], models: int) -> list[GpuletPlan]:
    """Equal gpulets, those of different devices in turn, never more than models on one device."""
    cuts = []
    for number, device in sorted(devices.items()):
        limit = PROFILED_GPULETS if device.kind == "profiled" else device.max_gpulets
        count = min(limit, models)
        cuts += [
            (dedup, GpuletPlan(device=number, share_pct=100 // count, dedup=dedup))
            for dedup in range(count)
        ]
    return [gpulet for _, gpulet in sorted(cuts, key=lambda cut: (cut[0], cut[1].device))]


def _cost(loads: Sequence[Load]) -> float:
    return sum(max(load.cost, 0.0) for load in loads)


def _shares(loads: Sequence[Load]) -> tuple[ModelShare, ...]:
    total = _cost(loads)
    tightest_ms = min((load.slo_ms for load in loads), default=0.0)
    return tuple(
        ModelShare(
            model=load.model,
            batch=max(1, int(load.max_batch * tightest_ms / load.slo_ms)),
            time_share=max(load.cost / total, 1e-3) if total > 0 else 1.0 / len(loads),
        )
        for load in loads
    )
