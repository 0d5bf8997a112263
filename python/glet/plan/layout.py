"""From a device's plan to gpulets with numbers and cores, changing as little as possible."""

from collections.abc import Sequence

import msgspec

from glet.types.device import DeviceInfo
from glet.types.plan import GpuletPlan, ModelShare


class PlacedGpulet(msgspec.Struct, frozen=True, kw_only=True):
    """A wanted gpulet. `number` never changes and is never used again; `error`: it cannot be."""

    number: int
    share_pct: int
    cores: tuple[int, ...] = ()
    given_pct: float = 0.0
    models: tuple[ModelShare, ...] = ()
    error: str = ""


def arrange(
    current: Sequence[PlacedGpulet],
    wanted: Sequence[GpuletPlan],
    device: DeviceInfo,
    next_number: int,
) -> tuple[PlacedGpulet, ...]:
    """The wanted gpulets, in order. New ones are numbered from `next_number`.

    A wanted gpulet takes over a current one of its share, the one with the most models in common,
    and with it number and cores; so an unchanged plan changes nothing.
    """
    kept = _match(current, wanted)
    taken = {core for gpulet in kept.values() for core in gpulet.cores}
    free = [core for core in device.cores if core not in taken]
    placed = []
    for index, plan in enumerate(wanted):
        if index in kept:
            placed.append(msgspec.structs.replace(kept[index], models=plan.models))
            continue
        gpulet = PlacedGpulet(
            number=next_number,
            share_pct=plan.share_pct,
            given_pct=float(plan.share_pct),
            models=plan.models,
        )
        next_number += 1
        if device.kind == "cpu":
            gpulet = _with_cores(gpulet, free, device)
            free = free[len(gpulet.cores) :]
        placed.append(gpulet)
    return tuple(placed)


def _with_cores(gpulet: PlacedGpulet, free: Sequence[int], device: DeviceInfo) -> PlacedGpulet:
    total = len(device.cores)
    count = gpulet.share_pct * total // 100
    if count < 1:
        smallest_pct = -(-100 // total) if total else 100
        return msgspec.structs.replace(
            gpulet,
            given_pct=0.0,
            error=f"gpulet {gpulet.share_pct} % of {device.name}: is less than one of its "
            f"{total} core{'s' * (total != 1)}; the smallest share that works is {smallest_pct} %",
        )
    return msgspec.structs.replace(
        gpulet, cores=tuple(free[:count]), given_pct=100.0 * count / total
    )


def _match(
    current: Sequence[PlacedGpulet], wanted: Sequence[GpuletPlan]
) -> dict[int, PlacedGpulet]:
    """Index of a wanted gpulet -> the current one it takes over."""
    pairs = sorted(
        (-_common(gpulet, plan), index, gpulet.number)
        for index, plan in enumerate(wanted)
        for gpulet in current
        if gpulet.share_pct == plan.share_pct and not gpulet.error
    )
    by_number = {gpulet.number: gpulet for gpulet in current}
    kept: dict[int, PlacedGpulet] = {}
    for _, index, number in pairs:
        if index not in kept and number in by_number:
            kept[index] = by_number.pop(number)
    return kept


def _common(gpulet: PlacedGpulet, plan: GpuletPlan) -> int:
    return len({m.model for m in gpulet.models} & {m.model for m in plan.models})
