"""Guided self-tuning: shares that grow and shrink with the gaps they leave, max-min fair."""

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence

from glet.plan.fit import EPSILON
from glet.plan.menu import Menu
from glet.plan.problem import Problem
from glet.plan.room import CRUMB, Cluster, Gpulet, settled, want_of
from glet.plan.squishy import packed, residue
from glet.types.plan import Plan

ROUNDS = 20
# A share is let be when throughput and latency are within this of what is wanted.
THRESHOLD = 0.05
# Of a rate, what neighbours leave at least when gpulets are put beside each other.
KEPT = 0.85


class SelftuningPlanner:
    """Guided self-tuning, spatial only, the GSLICE-like baseline of Choi et al. (ATC 2022).

    GSLICE (Dhakal, Kulkarni and Ramakrishnan, SoCC 2020) gives every model a gpulet of its own, and
    begins with even ones. In rounds each grows or shrinks by the larger of the relative gaps of
    throughput and of latency, at the batch that is best there, until both are within 5 %. A model
    that needs more than a device has whole ones first. When all together want more than there is,
    shares are max-min fair: nobody's can be raised but at the expense of a smaller one. Gpulets are
    then placed best fit, the largest first; what fits nowhere whole takes the largest piece left.

    Profiles stand for the measurements of the published system, and all devices are tuned for at
    once. With several types a model goes to the one that is least asked for with it. What is left
    of any rate at the end is offered all that is free.
    """

    name = "selftuning"

    def plan(self, problem: Problem) -> Plan:
        cluster = Cluster(problem)
        board = _Board(cluster)
        for name, rates in sorted(_assigned(cluster).items()):
            menu = cluster.menus[name]
            pieces = allotted(menu, rates, len(cluster.numbers[name]))
            for size, model in sorted(pieces, key=lambda piece: (-piece[0], piece[1])):
                board.put(name, model, size)
        board.fill()
        return cluster.plan(board.gpulets(), packed)


def allotted(menu: Menu, rates: Mapping[str, float], devices: int) -> list[tuple[int, str]]:
    """(size, model) of the gpulets for these rates on so many devices; sizes are share indices."""
    whole = menu.shares[-1]
    capacity_pct = float(whole * devices)
    even_pct = capacity_pct / len(rates)
    counts: dict[str, int] = {}
    rests: dict[str, int] = {}
    for model, rate_rps in rates.items():
        most_rps = menu.lone_rps[model][-1]
        counts[model] = min(devices, int(rate_rps / most_rps + EPSILON))
        rest_rps = rate_rps - counts[model] * most_rps
        if rest_rps > CRUMB * rate_rps:
            rests[model] = tuned(menu, model, rest_rps, even_pct)
    wanted = {
        model: float(counts[model] * whole + (menu.shares[rests[model]] if model in rests else 0))
        for model in rates
    }
    pieces: list[tuple[int, str]] = []
    for model, share_pct in max_min_fair(wanted, capacity_pct).items():
        count, rest_pct = divmod(share_pct + EPSILON, whole)
        pieces += [(len(menu.shares) - 1, model)] * int(count)
        rest = menu.index_within(int(rest_pct))
        if rest >= 0 and menu.lone_rps[model][rest] > 0.0:
            pieces.append((rest, model))
    return pieces


def tuned(menu: Menu, model: str, rate_rps: float, start_pct: float) -> int:
    """The size at which tuning from a share ends; the largest when no size is enough."""
    last = len(menu.shares) - 1
    size = _size_of(menu, model, start_pct)
    enough, seen = last, set()
    for _ in range(ROUNDS):
        seen.add(size)
        gap = gap_at(menu, model, rate_rps, size)
        if gap <= 0.0:
            enough = min(enough, size)
        if -THRESHOLD <= gap <= 0.0 or (gap > 0.0 and size == last):
            break
        moved = _size_of(menu, model, menu.shares[size] * (1.0 + gap))
        size = max(moved, size + 1) if gap > 0.0 else moved
        if size in seen:
            break
    return enough


def gap_at(menu: Menu, model: str, rate_rps: float, size: int) -> float:
    """By what part the share should grow, at most doubled, or, below 0, may shrink.

    The larger of the relative gaps of throughput and latency.
    """
    most_rps = menu.lone_rps[model][size]
    slo_ms = menu.slo_ms[model]
    table = menu.tables[model][size]
    if most_rps * (1.0 + EPSILON) < rate_rps:
        late = (2.0 * table[0] - slo_ms) / slo_ms
        return min(1.0, max((rate_rps - most_rps) / rate_rps, late))
    alone = residue(want_of(menu, model, min(rate_rps, most_rps), size))
    if alone is None:
        return THRESHOLD
    latency_ms = alone.fit.duty_ms[0] + table[alone.fit.batches[0] - 1]
    return -max((most_rps - rate_rps) / most_rps, (slo_ms - latency_ms) / slo_ms)


def max_min_fair(wanted: Mapping[str, float], capacity: float) -> dict[str, float]:
    """What each gets: all it wants, or, where that is too much, the same as others in that case."""
    given: dict[str, float] = {}
    left = capacity
    order = sorted(wanted, key=lambda name: (wanted[name], name))
    for place, name in enumerate(order):
        given[name] = min(wanted[name], left / (len(order) - place))
        left -= given[name]
    return given


def _size_of(menu: Menu, model: str, share_pct: float) -> int:
    """The smallest size of at least this share that serves the model; the largest beyond all."""
    size = bisect_left(menu.shares, share_pct * (1.0 - EPSILON))
    return min(max(size, menu.least[model]), len(menu.shares) - 1)


def _assigned(cluster: Cluster) -> dict[str, dict[str, float]]:
    """Models with their rates by type: large ones first, each where least is asked for then."""
    assigned: dict[str, dict[str, float]] = {}
    asked = dict.fromkeys(cluster.menus, 0.0)
    needs = []
    for task in cluster.tasks:
        by_type = {
            name: task.rate_rps / cluster.menus[name].lone_rps[task.model][-1]
            for name in cluster.fastest(task.model)
            if cluster.memory_holds(name, [[task.model]])
        }
        if by_type:
            needs.append((-min(by_type.values()), task.model, task.rate_rps, by_type))
    for _, model, rate_rps, by_type in sorted(needs, key=lambda need: need[:2]):
        after = {
            name: (asked[name] + devices) / len(cluster.numbers[name])
            for name, devices in by_type.items()
        }
        best = min(after, key=lambda name: (after[name], name))
        asked[best] += by_type[best]
        assigned.setdefault(best, {})[model] = rate_rps
    return {name: dict(sorted(rates.items())) for name, rates in assigned.items()}


class _Board:
    """Devices and what is placed on them, and what is left of every rate."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._on: dict[int, list[Gpulet]] = {}
        self._memory_mb: dict[int, float] = {}
        self._left = {task.model: task.rate_rps for task in cluster.tasks}
        # By type: (free percent, number), ascending.
        self._free = {
            name: [(100, number) for number in numbers] for name, numbers in cluster.numbers.items()
        }
        self._keep = KEPT

    def gpulets(self) -> list[Gpulet]:
        return [gpulet for gpulets in self._on.values() for gpulet in gpulets]

    def put(self, name: str, model: str, size: int) -> None:
        """A gpulet of that size best fit, or smaller on the largest piece; maybe nowhere."""
        while size >= 0:
            if self._fit(name, model, size):
                return
            most_pct = self._free[name][-1][0] if self._free[name] else 0
            size = min(size - 1, self._cluster.menus[name].index_within(most_pct))

    def fill(self) -> None:
        """Offers what is free to what is left, the worst served first; nobody loses by it."""
        self._keep = 1.0
        wanted = {task.model: task.rate_rps for task in self._cluster.tasks}
        for model in sorted(wanted, key=lambda model: (-self._left[model] / wanted[model], model)):
            for name in self._cluster.fastest(model):
                menu = self._cluster.menus[name]
                while self._left[model] > CRUMB * wanted[model]:
                    size = min(menu.share_for(model, self._left[model]), len(menu.shares) - 1)
                    before = self._left[model]
                    self.put(name, model, size)
                    if self._left[model] >= before:
                        break

    def _fit(self, name: str, model: str, size: int) -> bool:
        menu = self._cluster.menus[name]
        rate_rps = min(self._left[model], menu.lone_rps[model][size])
        fresh = residue(want_of(menu, model, rate_rps, size)) if rate_rps > 0.0 else None
        if fresh is None:
            return False
        share_pct = menu.shares[size]
        free = self._free[name]
        rules = self._cluster.problem.rules.memory
        # Where processes share weights, those may be there already.
        more_mb = 0.0 if rules.shared_weights else rules.process_mb + menu.memory_mb[model]
        most_mb = self._cluster.limits_mb[name] - more_mb
        for place in range(bisect_left(free, (share_pct, -1)), len(free)):
            free_pct, number = free[place]
            if self._memory_mb.get(number, 0.0) > most_mb:
                continue
            gpulets = [*self._on.get(number, ()), Gpulet(number, share_pct, fresh)]
            if self._take(name, number, gpulets, model):
                del free[place]
                insort(free, (free_pct - share_pct, number))
                return True
        return False

    def _take(self, name: str, number: int, gpulets: Sequence[Gpulet], model: str) -> bool:
        """Makes these the device's if that holds for all of them."""
        cluster = self._cluster
        if len(gpulets) > cluster.problem.rules.max_gpulets:
            return False
        memory_mb = cluster.memory_mb(name, [gpulet.bin.models for gpulet in gpulets])
        if memory_mb > cluster.limits_mb[name]:
            return False
        held = settled(cluster.menus[name], gpulets, packed, self._keep)
        if held is None:
            return False
        for gpulet in self._on.get(number, ()):
            self._left[gpulet.bin.wants[0].model] += gpulet.bin.wants[0].rate_rps
        for gpulet in held:
            self._left[gpulet.bin.wants[0].model] -= gpulet.bin.wants[0].rate_rps
        self._on[number] = held
        self._memory_mb[number] = memory_mb
        return True
