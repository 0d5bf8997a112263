"""From a plan to gpulets with numbers, and cores or units: as little as possible changes."""

from collections.abc import Sequence

import msgspec

from glet.errors import ConfigError
from glet.plan.match import match
from glet.plan.units import place_units, sms_of, units_of
from glet.types.device import DeviceInfo
from glet.types.plan import GpuletPlan, ModelShare
from glet.types.units import Units


class PlacedGpulet(msgspec.Struct, frozen=True, kw_only=True):
    """A wanted gpulet. `number` never changes and is never used again; `error`: it cannot be."""

    number: int
    share_pct: int
    cores: tuple[int, ...] = ()
    units: Units | None = None
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

    A wanted gpulet takes over a current one with its number (`plan.match`: most models in common,
    then the least change of share) and is resized where the share is another; so an unchanged plan
    changes nothing. A gpulet that becomes smaller keeps some of its cores, one that grows all.
    """
    usable = [gpulet for gpulet in current if not gpulet.error]
    kept = _kept(usable, wanted, device)
    placed = []
    for index, plan in enumerate(wanted):
        before = kept.get(index)
        if before is None:
            before = PlacedGpulet(number=next_number, share_pct=plan.share_pct)
            next_number += 1
        placed.append(_planned(before, plan))
    if device.kind == "green":
        return _with_units(placed, device)
    return _with_cores(placed, device) if device.kind == "cpu" else tuple(placed)


def _kept(
    usable: Sequence[PlacedGpulet], wanted: Sequence[GpuletPlan], device: DeviceInfo
) -> dict[int, PlacedGpulet]:
    """Index of a wanted gpulet -> the current one it takes over.

    Where a gpulet cannot change its share (`mps`: it is a process) only one of the same share is:
    another share is a new gpulet, which is there before the old one ends.
    """
    if device.resizes:
        return {index: usable[now] for index, now in match(usable, wanted).items()}
    kept: dict[int, PlacedGpulet] = {}
    for share_pct in {plan.share_pct for plan in wanted}:
        same = [gpulet for gpulet in usable if gpulet.share_pct == share_pct]
        indices = [i for i, plan in enumerate(wanted) if plan.share_pct == share_pct]
        found = match(same, [wanted[index] for index in indices])
        kept |= {indices[index]: same[now] for index, now in found.items()}
    return kept


def _with_units(placed: Sequence[PlacedGpulet], device: DeviceInfo) -> tuple[PlacedGpulet, ...]:
    """The same on units of the GPU; who is there stays, unless there is no room side by side."""
    errors = [_unit_error(gpulet, device) for gpulet in placed]
    able = [gpulet for gpulet, error in zip(placed, errors, strict=True) if not error]
    places = iter(place_units([g.share_pct for g in able], [g.units for g in able], device))
    return tuple(
        msgspec.structs.replace(gpulet, given_pct=0.0, units=None, error=error)
        if error
        else _on_units(gpulet, next(places), device)
        for gpulet, error in zip(placed, errors, strict=True)
    )


def _unit_error(gpulet: PlacedGpulet, device: DeviceInfo) -> str:
    try:
        units_of(gpulet.share_pct, device)
    except ConfigError as error:
        return str(error)
    return ""


def _on_units(gpulet: PlacedGpulet, units: Units, device: DeviceInfo) -> PlacedGpulet:
    given_pct = 100.0 * sms_of(units, device) / device.sms
    return msgspec.structs.replace(gpulet, units=units, given_pct=given_pct)


def _planned(before: PlacedGpulet, plan: GpuletPlan) -> PlacedGpulet:
    return msgspec.structs.replace(
        before, share_pct=plan.share_pct, given_pct=float(plan.share_pct), models=plan.models
    )


def _with_cores(placed: Sequence[PlacedGpulet], device: DeviceInfo) -> tuple[PlacedGpulet, ...]:
    """The same on whole cores: each keeps what it can of its own, then takes what is free."""
    total = len(device.cores)
    counts = [gpulet.share_pct * total // 100 for gpulet in placed]
    own = [gpulet.cores[:count] for gpulet, count in zip(placed, counts, strict=True)]
    taken = {core for cores in own for core in cores}
    free = [core for core in device.cores if core not in taken]
    made = []
    for gpulet, count, cores in zip(placed, counts, own, strict=True):
        if count < 1:
            made.append(_too_small(gpulet, device))
            continue
        missing = count - len(cores)
        made.append(
            msgspec.structs.replace(
                gpulet, cores=(*cores, *free[:missing]), given_pct=100.0 * count / total
            )
        )
        free = free[missing:]
    return tuple(made)


def _too_small(gpulet: PlacedGpulet, device: DeviceInfo) -> PlacedGpulet:
    total = len(device.cores)
    smallest_pct = -(-100 // total) if total else 100
    return msgspec.structs.replace(
        gpulet,
        cores=(),
        given_pct=0.0,
        error=f"gpulet {gpulet.share_pct} % of {device.name}: is less than one of its "
        f"{total} core{'s' * (total != 1)}; the smallest share that works is {smallest_pct} %",
    )
