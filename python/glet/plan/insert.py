"""Where a model's rate costs least: beside others on a gpulet, on a new one, or over several."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from glet.plan.menu import Menu
from glet.plan.space import Slot, Space

# A rate below this part of what was asked is not worth a gpulet of its own.
CRUMB = 1e-7
BISECTIONS = 8
# On more devices than this, time beside others is looked for only when no free share is left.
FEW = 8
# Of a large number of devices, those with the least room that is enough are looked at.
WIDTH = 24


class Option(NamedTuple):
    """A change of one device: what more of it is used, and the new slot at a place (-1: added)."""

    cost_pct: int
    left_pct: int
    device: int
    place: int
    slot: Slot
    rate_rps: float


def insert(model: str, rate_rps: float, spaces: Sequence[Space], *, split: bool = True) -> float:
    """Places as much of the rate as fits on these devices; the rest, 0 when all is placed.

    The whole rate goes where it uses least more of a device; when it fits nowhere whole, and
    `split` allows, the largest part that fits somewhere, again and again.
    """
    asked_rps = rate_rps
    while rate_rps > CRUMB * asked_rps:
        option = _whole(model, rate_rps, spaces)
        if option is None and split:
            option = _part(model, rate_rps, spaces)
        if option is None or option.rate_rps <= CRUMB * asked_rps:
            return rate_rps
        rate_rps -= option.rate_rps
    return 0.0


def _whole(model: str, rate_rps: float, spaces: Sequence[Space]) -> Option | None:
    """Performs the cheapest option that takes the whole rate; the option, or None."""
    return _perform(sorted(_options(model, rate_rps, spaces)), spaces)


def _options(model: str, rate_rps: float, spaces: Sequence[Space]) -> list[Option]:
    found = []
    for at, space in _candidates(model, spaces):
        for option in (_new(model, rate_rps, at, space), _best_join(model, rate_rps, at, space)):
            if option is not None:
                found.append(option)
                if option.cost_pct == 0:
                    return found
    return found


def _candidates(model: str, spaces: Sequence[Space]) -> Iterable[tuple[int, Space]]:
    able = [(at, space) for at, space in enumerate(spaces) if space.menu.serves(model)]
    able.sort(key=lambda pair: (pair[1].free_pct, pair[0]))
    # The fullest have the least room to waste; the emptiest are sure to have some.
    return able if len(able) <= WIDTH else [*able[: WIDTH - 2], *able[-2:]]


def _new(model: str, rate_rps: float, at: int, space: Space) -> Option | None:
    """A gpulet of its own, as small as will do."""
    menu = space.menu
    index = menu.share_for(model, rate_rps)
    if index >= len(menu.shares) or menu.shares[index] > space.free_pct:
        return None
    parts = ((model, rate_rps),)
    found = menu.fit(parts, index)
    if found is None:
        return None
    share = menu.shares[index]
    return Option(share, space.free_pct - share, at, -1, Slot(index, parts, found), rate_rps)


def _best_join(model: str, rate_rps: float, at: int, space: Space) -> Option | None:
    """Time beside others on the gpulet that has to grow least for it."""
    best: Option | None = None
    for place, slot in enumerate(space.slots):
        if not joinable(space.menu, slot, model, rate_rps, space.free_pct):
            continue
        parts = joined(slot, model, rate_rps)
        now_pct = space.menu.shares[slot.size]
        limit_pct = now_pct + space.free_pct if best is None else now_pct + best.cost_pct - 1
        high = space.menu.index_within(min(now_pct + space.free_pct, limit_pct))
        found = space.menu.smallest(parts, slot.size, high, slot.factor)
        if found is None:
            continue
        index, fit = found
        cost = space.menu.shares[index] - now_pct
        slot = Slot(index, parts, fit, slot.factor)
        best = Option(cost, space.free_pct - cost, at, place, slot, rate_rps)
        if cost == 0:
            return best
    return best


def joinable(menu: Menu, slot: Slot, model: str, rate_rps: float, free_pct: int) -> bool:
    """A quick look, without a fit: False when it certainly cannot join."""
    if len(slot.parts) >= menu.rules.max_models and not slot.has(model):
        return False
    largest = menu.shares[slot.size] + free_pct
    area = rate_rps * menu.area[model]
    for name, rate in slot.parts:
        area += rate * menu.area[name]
    if area * 100.0 > largest * 1.0001:
        return False
    index = menu.index_within(largest)
    mine_ms, slo_ms = menu.tables[model][index][0], menu.slo_ms[model]
    for name, _ in slot.parts:
        # Whoever is tighter may have to wait for a batch of the other.
        tightest_ms = min(slo_ms, menu.slo_ms[name])
        if name != model and mine_ms + menu.tables[name][index][0] > tightest_ms:
            return False
    return True


def joined(slot: Slot, model: str, rate_rps: float) -> tuple[tuple[str, float], ...]:
    """The slot's parts with that much more of a model."""
    others = [part for part in slot.parts if part[0] != model]
    return tuple(sorted([*others, (model, slot.rate_of(model) + rate_rps)]))


def _part(model: str, rate_rps: float, spaces: Sequence[Space]) -> Option | None:
    """Performs the option that places most of the rate for what it uses; None when none does."""
    able = [(at, space) for at, space in enumerate(spaces) if space.menu.serves(model)]
    found = [o for at, space in able if (o := _fill(model, rate_rps, at, space)) is not None]
    if len(able) <= FEW or not found:
        able.sort(key=lambda pair: (-pair[1].free_pct, pair[0]))
        for at, space in able[:FEW]:
            found += _squeezed(model, rate_rps, at, space)
    found.sort(key=lambda option: (-option.rate_rps, option))
    return _perform(found, spaces)


def _fill(model: str, rate_rps: float, at: int, space: Space) -> Option | None:
    """All that is free, as one gpulet."""
    menu = space.menu
    index = menu.index_within(space.free_pct)
    if index < menu.least[model]:
        return None
    rate_rps = min(rate_rps, menu.lone_rps[model][index])
    index = menu.share_for(model, rate_rps)
    return _new(model, rate_rps, at, space)


def _squeezed(model: str, rate_rps: float, at: int, space: Space) -> list[Option]:
    """Beside others, as much as fits in the time they leave, grown by what is free."""
    menu = space.menu
    found = []
    for place, slot in enumerate(space.slots):
        if not joinable(menu, slot, model, 0.0, space.free_pct):
            continue
        now_pct = menu.shares[slot.size]
        index = menu.index_within(now_pct + space.free_pct)
        low_rps, high_rps, best = 0.0, rate_rps, None
        for _ in range(BISECTIONS):
            middle_rps = (low_rps + high_rps) / 2.0
            fit = menu.fit(joined(slot, model, middle_rps), index, slot.factor)
            if fit is None:
                high_rps = middle_rps
            else:
                low_rps, best = middle_rps, fit
        if best is None:
            continue
        parts = joined(slot, model, low_rps)
        smallest = menu.smallest(parts, slot.size, index, slot.factor)
        if smallest is not None:
            cost = menu.shares[smallest[0]] - now_pct
            new = Slot(smallest[0], parts, smallest[1], slot.factor)
            found.append(Option(cost, space.free_pct - cost, at, place, new, low_rps))
    return found


def _perform(options: Iterable[Option], spaces: Sequence[Space]) -> Option | None:
    """The first option that memory and neighbours allow, done."""
    for option in options:
        space = spaces[option.device]
        if option.place < 0:
            if space.put(option.slot):
                return option
        elif space.change(option.place, option.slot):
            return option
    return None
