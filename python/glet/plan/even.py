"""The plan when nobody gave one: every model somewhere, the work spread evenly."""

from collections.abc import Mapping, Sequence

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
