"""A first plan on devices of one type: pieces of every model, merged, then packed."""

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import combinations

from glet.plan.dissolve import dissolve
from glet.plan.insert import CRUMB
from glet.plan.menu import Menu, Parts
from glet.plan.search import insert_all
from glet.plan.space import Slot, Space

# With how many others, nearest in objective, each piece is compared for merging.
NEIGHBOURS = 6
# Fits for giving up badly used gpulets, for each that there is.
DISSOLVING = 12
# Up to so many pieces everybody is compared with everybody.
ALL_PAIRS = 14


def build(
    menu: Menu, rates: Mapping[str, float], spaces: Sequence[Space], factor: float
) -> dict[str, float]:
    """Fills empty spaces, in order, with these rates; what is left over, by model.

    Every model is cut into the gpulets that together take least of a device, those with time to
    spare share gpulets as long as that saves some (savings, Clarke and Wright 1964), and what comes
    out is packed best fit, largest first. What does not fit whole is inserted in parts. `factor` is
    the slowdown by neighbours that gpulets are made for.
    """
    pieces: list[Slot] = []
    left: list[tuple[str, float]] = []
    for model, rate_rps in sorted(rates.items()):
        made = cut(menu, model, rate_rps, factor)
        pieces += made
        missing_rps = rate_rps - sum(slot.rate_of(model) for slot in made)
        if missing_rps > CRUMB * rate_rps:
            left.append((model, missing_rps))
    merged = merge(menu, pieces, factor)
    left += pack(dissolve(menu, merged, DISSOLVING * len(merged), factor), spaces)
    order = sorted(left, key=lambda part: (-part[1] * menu.area[part[0]], part))
    opened = [space for space in spaces if space.slots]
    return insert_all(order, opened, [space for space in spaces if not space.slots])


def cut(menu: Menu, model: str, rate_rps: float, factor: float = 1.0) -> list[Slot]:
    """The gpulets, all of this model, that carry the rate with the least share in all.

    Less of it, or nothing, when with that slowdown no gpulet fits.
    """
    rates, shares = menu.lone_rps[model], menu.shares
    places = range(menu.least[model], len(shares))
    # With interference a gpulet carries less; its fit says how much, here a guess is enough.
    needed_rps = rate_rps * factor
    bulk = max(places, key=lambda i: (rates[i] / shares[i], -i))
    whole = int(needed_rps / rates[bulk] + 1e-9)
    rest_rps = needed_rps - whole * rates[bulk]
    sizes = [bulk] * whole
    if rest_rps > CRUMB * needed_rps:
        sizes.append(menu.share_for(model, rest_rps))
    best = sizes
    for count in range(1, min(whole + 2, 5)):
        size = menu.share_for(model, needed_rps / count)
        if size < len(shares) and shares[size] * count < sum(shares[i] for i in best):
            best = [size] * count
    total = sum(min(rates[i], needed_rps) for i in best)
    slots: list[Slot] = []
    left = rate_rps
    for place, size in enumerate(best):
        part = left if place == len(best) - 1 else rate_rps * min(rates[size], needed_rps) / total
        parts = ((model, part),)
        found = menu.smallest(parts, min(size, menu.least[model]), len(shares) - 1, factor)
        if found is not None:
            slots.append(Slot(found[0], parts, found[1], factor))
            left -= part
    return slots


def merge(menu: Menu, pieces: Sequence[Slot], factor: float = 1.0) -> list[Slot]:
    """Pieces that share gpulets where that saves share, the largest saving first."""
    alive: dict[int, Slot] = dict(enumerate(_by_objective(menu, pieces)))
    heap = [
        found
        for one, other in _neighbours(menu, alive)
        if (found := _saving(menu, alive, (one, other), factor)) is not None
    ]
    heapify(heap)
    number = len(alive)
    while heap:
        _, one, other, slot = heappop(heap)
        if one not in alive or other not in alive:
            continue
        near = [key for key in alive if key not in (one, other)]
        near.sort(key=lambda key: (min(abs(key - one), abs(key - other)), key))
        del alive[one], alive[other]
        # Keys stand for places in the order of objectives; a merged piece stands at its end.
        alive[number] = slot
        if len(slot.parts) < menu.rules.max_models:
            for key in near[: len(near) if len(alive) <= ALL_PAIRS else NEIGHBOURS]:
                found = _saving(menu, alive, (key, number), factor)
                if found is not None:
                    heappush(heap, found)
        number += 1
    return list(alive.values())


def pack(slots: Sequence[Slot], spaces: Sequence[Space]) -> list[tuple[str, float]]:
    """Best fit, largest first; (model, rate) of what fits on none whole.

    A device is opened only when no opened one takes the gpulet.
    """
    left: list[tuple[str, float]] = []
    opened: list[Space] = []
    closed = list(spaces)
    order = sorted(slots, key=lambda slot: (-slot.size, slot.parts))
    for slot in order:
        opened.sort(key=lambda space: (space.free_pct, space.number))
        share = spaces[0].menu.shares[slot.size] if spaces else 0
        if any(space.put(slot) for space in opened if space.free_pct >= share):
            continue
        if closed and closed[0].put(slot):
            opened.append(closed.pop(0))
        else:
            left += slot.parts
    return left


def _by_objective(menu: Menu, pieces: Sequence[Slot]) -> list[Slot]:
    return sorted(pieces, key=lambda s: (min(menu.slo_ms[m] for m, _ in s.parts), s.parts))


def _neighbours(menu: Menu, alive: Mapping[int, Slot]) -> list[tuple[int, int]]:
    if len(alive) <= ALL_PAIRS:
        return list(combinations(alive, 2))
    count = len(alive)
    return [
        (one, other)
        for one in range(count)
        for other in range(one + 1, min(count, one + 1 + NEIGHBOURS))
    ]


def _saving(
    menu: Menu, alive: Mapping[int, Slot], pair: tuple[int, int], factor: float
) -> tuple[int, int, int, Slot] | None:
    """(minus the share saved, the two, what they become); None when nothing is saved."""
    one, other = alive[pair[0]], alive[pair[1]]
    parts = united(one.parts, other.parts)
    if len(parts) > menu.rules.max_models:
        return None
    apart = menu.shares[one.size] + menu.shares[other.size]
    high = menu.index_within(min(apart - 1, 100))
    low = max(min(one.size, other.size), *(menu.least[name] for name, _ in parts))
    if sum(rate * menu.area[name] for name, rate in parts) * 100.0 > menu.shares[max(high, 0)]:
        return None
    found = menu.smallest(parts, low, high, factor)
    if found is None:
        return None
    slot = Slot(found[0], parts, found[1], factor)
    return menu.shares[found[0]] - apart, pair[0], pair[1], slot


def united(one: Parts, other: Parts) -> Parts:
    """The parts of both, a model of both once."""
    rates = dict(one)
    for model, rate_rps in other:
        rates[model] = rates.get(model, 0.0) + rate_rps
    return tuple(sorted(rates.items()))
