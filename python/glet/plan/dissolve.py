"""Gpulets that use little of what they take, given up into the time that others have to spare."""

from collections.abc import Sequence

from glet.plan.insert import CRUMB, joinable, joined
from glet.plan.menu import Menu
from glet.plan.space import Slot

# Hosts that are tried for each part, those with most to spare first.
HOSTS = 10
BISECTIONS = 6
# A gpulet that uses more of its share than this is left alone.
WELL_USED = 0.93


def dissolve(menu: Menu, slots: Sequence[Slot], budget: int, factor: float = 1.0) -> list[Slot]:
    """The same rates in less share where that is found within so many fits.

    The worst used first: each of its models goes to one gpulet that need not grow as much as is
    saved, else in parts to several that need not grow at all.
    """
    alive: dict[int, Slot] = dict(enumerate(slots))
    spare = {key: _spare(menu, slot) for key, slot in alive.items()}
    stop = menu.fits + budget
    order = sorted(alive, key=lambda key: (_use(menu, alive[key]), alive[key].parts))
    for key in order:
        if menu.fits >= stop:
            break
        if _use(menu, alive[key]) > WELL_USED:
            continue
        changed = _spread(menu, alive, spare, key, factor)
        if changed is not None:
            del alive[key], spare[key]
            alive.update(changed)
            spare.update({other: _spare(menu, slot) for other, slot in changed.items()})
    return list(alive.values())


def _area(menu: Menu, slot: Slot) -> float:
    """Percent of a device that the slot's rates need at least."""
    return 100.0 * sum(rate_rps * menu.area[model] for model, rate_rps in slot.parts)


def _spare(menu: Menu, slot: Slot) -> float:
    return menu.shares[slot.size] - _area(menu, slot)


def _use(menu: Menu, slot: Slot) -> float:
    return _area(menu, slot) / menu.shares[slot.size]


def _spread(
    menu: Menu, alive: dict[int, Slot], spare: dict[int, float], key: int, factor: float
) -> dict[int, Slot] | None:
    """The hosts as they become when they take over all of a slot; None when they cannot."""
    leaving = alive[key]
    allowed = menu.shares[leaving.size] - 1
    changed: dict[int, Slot] = {}
    hosts = sorted((k for k in alive if k != key), key=lambda k: (-spare[k], k))
    for model, rate_rps in leaving.parts:
        near = []
        for host in hosts:
            slot = changed.get(host, alive[host])
            if joinable(menu, slot, model, 0.0, allowed):
                near.append(host)
                if len(near) == HOSTS:
                    break
        grown = _join_one(menu, alive | changed, near, (model, rate_rps), allowed, factor)
        if grown is not None:
            host, slot = grown
            allowed -= menu.shares[slot.size] - menu.shares[(alive | changed)[host].size]
            changed[host] = slot
        elif not _join_some(menu, alive, changed, near, (model, rate_rps)):
            return None
    return changed


def _join_one(
    menu: Menu,
    slots: dict[int, Slot],
    near: Sequence[int],
    part: tuple[str, float],
    allowed: int,
    factor: float,
) -> tuple[int, Slot] | None:
    """The host that takes the whole part for the least growth."""
    best: tuple[int, int, Slot] | None = None
    for host in near:
        slot = slots[host]
        if not joinable(menu, slot, *part, allowed):
            continue
        now_pct = menu.shares[slot.size]
        limit = allowed if best is None else best[0] - 1
        high = menu.index_within(min(100, now_pct + limit))
        parts = joined(slot, *part)
        found = menu.smallest(parts, slot.size, high, factor)
        if found is not None:
            cost = menu.shares[found[0]] - now_pct
            best = (cost, host, Slot(found[0], parts, found[1], factor))
            if cost == 0:
                break
    return best[1:] if best is not None else None


def _join_some(
    menu: Menu,
    alive: dict[int, Slot],
    changed: dict[int, Slot],
    near: Sequence[int],
    part: tuple[str, float],
) -> bool:
    """Puts the part, piece by piece, on hosts as they are; whether all of it found a place."""
    model, left_rps = part
    for host in near:
        slot = changed.get(host, alive[host])
        taken = most_beside(menu, slot, (model, left_rps), slot.size, BISECTIONS)
        if taken is None:
            continue
        rate_rps, new = taken
        changed[host] = new
        left_rps -= rate_rps
        if left_rps <= CRUMB * part[1]:
            return True
    return False


def most_beside(
    menu: Menu, slot: Slot, part: tuple[str, float], size: int, steps: int
) -> tuple[float, Slot] | None:
    """As much of a part as fits beside a slot's models on that share; None when nothing does."""
    model, rate_rps = part
    parts = joined(slot, model, rate_rps)
    found = menu.fit(parts, size, slot.factor)
    if found is not None:
        return rate_rps, Slot(size, parts, found, slot.factor)
    low_rps, high_rps, best = 0.0, rate_rps, None
    for _ in range(steps):
        middle_rps = (low_rps + high_rps) / 2.0
        parts = joined(slot, model, middle_rps)
        found = menu.fit(parts, size, slot.factor)
        if found is None:
            high_rps = middle_rps
        else:
            low_rps, best = middle_rps, Slot(size, parts, found, slot.factor)
    return (low_rps, best) if best is not None else None
