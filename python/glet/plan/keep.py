"""A plan that begins with the one that serves: gpulets stay, rates move."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from glet.plan.menu import Menu, Parts
from glet.plan.search import insert_all
from glet.plan.space import Slot, Space
from glet.types.plan import GpuletPlan, Plan

BISECTIONS = 8


def kept(current: Plan, rates: Mapping[str, float], spaces: Sequence[Space]) -> dict[str, float]:
    """Fills empty spaces with the current gpulets at the wanted rates; what is left over.

    Each model's new rate goes to its gpulets in the proportion of the current one. A gpulet that
    cannot carry its part keeps as much of it as fits; the rest is inserted where it costs least, on
    devices in use first. Models nobody asks for any more, and gpulets without any, go.
    """
    placed: dict[str, float] = defaultdict(float)
    total: dict[str, float] = defaultdict(float)
    for gpulet in current.gpulets:
        for share in gpulet.models:
            total[share.model] += max(share.rate_rps, 1e-9)
    by_number = {space.number: space for space in spaces}
    for gpulet in current.gpulets:
        space = by_number.get(gpulet.device)
        parts = tuple(
            sorted(
                (share.model, rates[share.model] * max(share.rate_rps, 1e-9) / total[share.model])
                for share in gpulet.models
                if rates.get(share.model, 0.0) > 0.0
                and space is not None
                and space.menu.serves(share.model)
            )
        )
        slot = _slot(space.menu, gpulet, parts) if space is not None and parts else None
        if space is not None and slot is not None and space.put(slot):
            for model, rate_rps in slot.parts:
                placed[model] += rate_rps
    rest = [(model, rate - placed[model]) for model, rate in sorted(rates.items())]
    missing = [(model, rate) for model, rate in rest if rate > 1e-9 * rates[model]]
    opened = [space for space in spaces if space.slots]
    return insert_all(missing, opened, [space for space in spaces if not space.slots])


def _slot(menu: Menu, gpulet: GpuletPlan, parts: Parts) -> Slot | None:
    """The gpulet with as much of these rates as it carries; None when it carries nothing."""
    if gpulet.share_pct not in menu.shares:
        return None
    size = menu.shares.index(gpulet.share_pct)
    found = menu.fit(parts, size)
    if found is not None:
        return Slot(size, parts, found)
    low, high, best = 0.0, 1.0, None
    for _ in range(BISECTIONS):
        middle = (low + high) / 2.0
        less = tuple((model, rate_rps * middle) for model, rate_rps in parts)
        found = menu.fit(less, size)
        if found is None:
            high = middle
        else:
            low, best = middle, Slot(size, less, found)
    return best
