"""A plan that begins with the one that serves: gpulets stay, rates move."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from glet.plan.draft import deduped, gpulets_of
from glet.plan.menu import Menu, Parts, menus
from glet.plan.moves import moves
from glet.plan.problem import Problem, unmet
from glet.plan.search import insert_all
from glet.plan.space import Slot, Space
from glet.types.plan import GpuletPlan, ModelShare, Plan

BISECTIONS = 8
# Rates closer than this part are one.
ALIKE = 1e-9


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


class KeptCost:
    """What devices cost against the plan that serves: counted anew only where they changed.

    A search changes a few devices at a time, and what has to be loaded on one does not depend on
    any other.
    """

    def __init__(self, current: Plan, move_cost: float) -> None:
        self._move_cost = move_cost
        by_device: dict[int, list[GpuletPlan]] = defaultdict(list)
        for gpulet in current.gpulets:
            by_device[gpulet.device].append(gpulet)
        self._current = {
            number: Plan(gpulets=tuple(gpulets)) for number, gpulets in by_device.items()
        }
        self._known: dict[int, tuple[tuple[Slot, ...], int]] = {}

    def of(self, spaces: Sequence[Space]) -> tuple[float, int, int]:
        """(devices in use and the cost of moves, moves, share in percent)."""
        used = sum(1 for space in spaces if space.slots)
        moved = sum(self._moves(space) for space in spaces)
        return used + self._move_cost * moved, moved, sum(space.used_pct for space in spaces)

    def _moves(self, space: Space) -> int:
        known = self._known.get(space.number)
        if known is not None and known[0] is space.slots:
            return known[1]
        wanted = Plan(
            gpulets=tuple(
                GpuletPlan(
                    device=space.number,
                    share_pct=space.share_of(slot),
                    models=tuple(ModelShare(model=model, batch=1) for model, _ in slot.parts),
                )
                for slot in space.slots
            )
        )
        count = moves(self._current.get(space.number, Plan()), wanted)
        self._known[space.number] = (space.slots, count)
        return count


def stayed(problem: Problem, current: Plan, *, recheck: bool) -> Plan:
    """The plan that serves at the wanted rates, with nothing loaded, moved or resized.

    Each model's rate goes to its gpulets in the proportion of the current rates, as much of it as
    they carry; the rest is unmet. Gpulets whose rates are as before are not looked at, unless
    `recheck` says that profiles or objectives may be others. Gpulets on devices that are not there,
    or of shares that these cannot give, go.
    """
    types = {device.number: problem.types[device.type] for device in problem.devices}
    here = [
        gpulet
        for gpulet in current.gpulets
        if gpulet.device in types and gpulet.share_pct in types[gpulet.device].shares
    ]
    parts = _parts(here, {task.model: task.rate_rps for task in problem.tasks})
    changed = {
        gpulet.device
        for gpulet, wanted in zip(here, parts, strict=True)
        if recheck or _rates_differ(gpulet, wanted)
    }
    names = {model for g, wanted in zip(here, parts, strict=True) for model, _ in wanted
             if g.device in changed}  # fmt: skip
    part = msgspec.structs.replace(
        problem,
        tasks=tuple(task for task in problem.tasks if task.model in names),
        devices=tuple(device for device in problem.devices if device.number in changed),
    )
    made = menus(part)
    spaces = {device.number: Space(device.number, made[device.type]) for device in part.devices}
    done: list[GpuletPlan] = []
    for gpulet, wanted in zip(here, parts, strict=True):
        space = spaces.get(gpulet.device)
        if space is None:
            done.append(gpulet)
            continue
        able = tuple(one for one in wanted if space.menu.serves(one[0]))
        slot = _slot(space.menu, gpulet, able) if able else None
        if slot is not None:
            space.put(slot)
    done += [gpulet for space in spaces.values() for gpulet in gpulets_of(space)]
    placed = [(share.model, share.rate_rps) for gpulet in done for share in gpulet.models]
    return Plan(gpulets=deduped(done), unmet=unmet(problem, placed))


class Repair:
    """Puts what a plan does not serve beside what it serves, in little time.

    Menus are made once for types and objectives that stay the same from call to call.
    """

    def __init__(self) -> None:
        self._menus: dict[str, Menu] = {}

    def plan(self, problem: Problem, current: Plan) -> Plan:
        """The current gpulets at the wanted rates, and the rest where it costs least.

        Gpulets grow, get another model, or are added, on devices in use first (plan/insert.py).
        No search: the plan may use more devices than one made anew.
        """
        made = {name: self._menu(name, problem) for name in {d.type for d in problem.devices}}
        spaces = [Space(device.number, made[device.type]) for device in problem.devices]
        rates = {
            task.model: task.rate_rps
            for task in problem.tasks
            if any(menu.serves(task.model) for menu in made.values())
        }
        kept(current, rates, spaces)
        have: dict[int, list[GpuletPlan]] = defaultdict(list)
        for gpulet in current.gpulets:
            have[gpulet.device].append(gpulet)
        done: list[GpuletPlan] = []
        for space in spaces:
            same = _same(have[space.number], space)
            done += have[space.number] if same else gpulets_of(space)
        placed = [part for space in spaces for slot in space.slots for part in slot.parts]
        return Plan(gpulets=deduped(done), unmet=unmet(problem, placed))

    def _menu(self, name: str, problem: Problem) -> Menu:
        kind = problem.types[name]
        known = self._menus.get(name)
        if (
            known is None
            or known.type.profile is not kind.profile
            or known.type.interference is not kind.interference
            or known.shares != kind.shares
            or known.rules != problem.rules
            or any(known.slo_ms.get(task.model) != task.slo_ms for task in problem.tasks)
        ):
            known = self._menus[name] = Menu(problem, kind)
        return known


def _same(gpulets: Sequence[GpuletPlan], space: Space) -> bool:
    """Whether a device carries what it did: its gpulets need not be made again."""
    if len(gpulets) != len(space.slots) or space.menu.disturbed:
        return False
    return all(
        gpulet.share_pct == space.share_of(slot) and not _rates_differ(gpulet, slot.parts)
        for gpulet, slot in zip(gpulets, space.slots, strict=True)
    )


def _parts(gpulets: Sequence[GpuletPlan], rates: Mapping[str, float]) -> list[Parts]:
    """For each gpulet the models that are wanted, with their parts of the wanted rates."""
    total: dict[str, float] = defaultdict(float)
    for gpulet in gpulets:
        for share in gpulet.models:
            total[share.model] += max(share.rate_rps, 1e-9)
    return [
        tuple(
            sorted(
                (share.model, rates[share.model] * max(share.rate_rps, 1e-9) / total[share.model])
                for share in gpulet.models
                if rates.get(share.model, 0.0) > 0.0
            )
        )
        for gpulet in gpulets
    ]


def _rates_differ(gpulet: GpuletPlan, wanted: Parts) -> bool:
    now = {share.model: share.rate_rps for share in gpulet.models}
    return now.keys() != {model for model, _ in wanted} or any(
        abs(now[model] - rate_rps) > ALIKE * rate_rps for model, rate_rps in wanted
    )


def _slot(menu: Menu, gpulet: GpuletPlan, parts: Parts) -> Slot | None:
    """The gpulet with as much of these rates as it carries; None when it carries nothing.

    What it carries now comes before what is wanted more, so that one model's growth takes nothing
    from those beside it.
    """
    if gpulet.share_pct not in menu.shares:
        return None
    size = menu.shares.index(gpulet.share_pct)
    found = menu.fit(parts, size)
    if found is not None:
        return Slot(size, parts, found)
    now = {share.model: share.rate_rps for share in gpulet.models}
    least = tuple((model, min(rate_rps, now[model]) or rate_rps) for model, rate_rps in parts)
    found = menu.fit(least, size)
    best = Slot(size, least, found) if found is not None else None
    low = [rate_rps if best is not None else 0.0 for _, rate_rps in least]
    high = [rate_rps for _, rate_rps in (parts if best is not None else least)]
    for _ in range(BISECTIONS):
        middle = [(few + many) / 2.0 for few, many in zip(low, high, strict=True)]
        tried = tuple((part[0], rate) for part, rate in zip(parts, middle, strict=True))
        found = menu.fit(tried, size)
        if found is None:
            high = middle
        else:
            low, best = middle, Slot(size, tried, found)
    return best
