"""Which gpulets of a device may lend each other their shares."""

from collections.abc import Collection, Sequence
from itertools import pairwise

import msgspec

from glet.plan.layout import PlacedGpulet
from glet.types.units import Units


def neighbours(
    placed: Sequence[PlacedGpulet], bad_units: Collection[int] = ()
) -> dict[int, tuple[int, ...]]:
    """The numbers of each gpulet's neighbours, by its own: at most two.

    On a GPU of units those that touch it, and no two that are together one of `bad_units`, counts
    of units whose results are wrong; elsewhere the one before and the one after it.
    """
    able = [gpulet for gpulet in placed if not gpulet.error]
    ordered = sorted(able, key=lambda g: g.units.first if g.units is not None else 0)
    found: dict[int, tuple[int, ...]] = {gpulet.number: () for gpulet in able}
    for before, after in pairwise(ordered):
        if _touch(before, after, bad_units):
            found[before.number] += (after.number,)
            found[after.number] += (before.number,)
    return found


def joined(own: PlacedGpulet, lender: PlacedGpulet) -> PlacedGpulet:
    """A gpulet as it is while it runs on a neighbour's share, too."""
    units = None
    if own.units is not None and lender.units is not None:
        first = min(own.units.first, lender.units.first)
        units = Units(first, own.units.count + lender.units.count)
    return msgspec.structs.replace(
        own,
        share_pct=own.share_pct + lender.share_pct,
        cores=own.cores + lender.cores,
        units=units,
        given_pct=own.given_pct + lender.given_pct,
    )


def _touch(before: PlacedGpulet, after: PlacedGpulet, bad_units: Collection[int]) -> bool:
    if before.units is None or after.units is None:
        return before.units is after.units
    together = before.units.count + after.units.count
    return before.units.end == after.units.first and together not in bad_units
