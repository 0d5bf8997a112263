"""How much of a plan is new against the one that serves, and device numbers that keep it little."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from glet.types.plan import GpuletPlan, Plan


def moves(current: Plan, wanted: Plan) -> int:
    """Models that have to be loaded on a gpulet that does not have them now.

    A wanted gpulet takes over the current one of its share, on its device, with most models in
    common, as the backends do (plan/layout.py); a gpulet of another share is a new one.
    """
    have, want = _by_place(current.gpulets), _by_place(wanted.gpulets)
    return sum(_loads(have.get(place, []), gpulets) for place, gpulets in want.items())


def renumbered(current: Plan, wanted: Plan, types: Mapping[int, str]) -> Plan:
    """The same plan on devices numbered so that most models stay; only within a type of device.

    Greedy: the pair of a wanted and a current device with most in common first.
    """
    have, want = _by_device(current), _by_device(wanted)
    free = sorted(types)
    pairs = sorted(
        (-_alike(have[old], want[new]), old != new, old, new)
        for new in want
        for old in have
        if types.get(old) == types[new]
    )
    chosen: dict[int, int] = {}
    for likeness, _, old, new in pairs:
        if likeness < 0 and new not in chosen and old in free:
            chosen[new] = old
            free.remove(old)
    for new in sorted(want.keys() - chosen.keys()):
        same = [number for number in free if types[number] == types[new]]
        chosen[new] = new if new in same else same[0]
        free.remove(chosen[new])
    return msgspec.structs.replace(
        wanted,
        gpulets=tuple(
            msgspec.structs.replace(gpulet, device=chosen[gpulet.device])
            for gpulet in wanted.gpulets
        ),
    )


def _by_place(gpulets: Sequence[GpuletPlan]) -> dict[tuple[int, int], list[set[str]]]:
    """(device, share) -> the models of each gpulet there."""
    places: dict[tuple[int, int], list[set[str]]] = defaultdict(list)
    for gpulet in gpulets:
        if gpulet.models:
            names = {share.model for share in gpulet.models}
            places[(gpulet.device, gpulet.share_pct)].append(names)
    return places


def _by_device(plan: Plan) -> dict[int, list[GpuletPlan]]:
    devices: dict[int, list[GpuletPlan]] = defaultdict(list)
    for gpulet in plan.gpulets:
        if gpulet.models:
            devices[gpulet.device].append(gpulet)
    return devices


def _loads(have: Sequence[set[str]], want: Sequence[set[str]]) -> int:
    pairs = sorted(
        (-len(names & models), new, old)
        for new, names in enumerate(want)
        for old, models in enumerate(have)
    )
    kept: dict[int, int] = {}
    taken: set[int] = set()
    for common, new, old in pairs:
        if new not in kept and old not in taken:
            kept[new] = -common
            taken.add(old)
    return sum(len(names) - kept.get(new, 0) for new, names in enumerate(want))


def _alike(have: Sequence[GpuletPlan], want: Sequence[GpuletPlan]) -> int:
    count: Counter[tuple[int, str]] = Counter()
    for gpulet in have:
        count.update((gpulet.share_pct, share.model) for share in gpulet.models)
    common = Counter((g.share_pct, share.model) for g in want for share in g.models)
    return (count & common).total()
