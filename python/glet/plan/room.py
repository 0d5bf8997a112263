"""What gpulets hold while the published planners fill them, and whether neighbours let it hold."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from glet.plan.assess import memory_limit_mb, memory_of, slowdowns
from glet.plan.draft import deduped, gpulet_plan
from glet.plan.fit import EPSILON, Fit, Want, lone_rate_rps
from glet.plan.menu import Menu, menus
from glet.plan.problem import Problem, unmet
from glet.profiles.interference import Tenant
from glet.types.plan import Plan

SETTLING_ROUNDS = 8
# What is left of a rate below this part of it is rounding, not a request.
CRUMB = 1e-7


class Bin(NamedTuple):
    """Models that share a gpulet, how, and what part of its time that takes.

    `least` is the part of its time that they take whatever else comes to it, `once_ms` how long one
    request of each takes.
    """

    wants: tuple[Want, ...]
    fit: Fit
    occupancy: float
    least: float
    once_ms: float

    @property
    def models(self) -> list[str]:
        return [want.model for want in self.wants]


Refit = Callable[[Sequence[Want], float], Bin | None]
"""(models, slowdown) -> how they share a gpulet then; None when they do not fit."""


class Gpulet(NamedTuple):
    """A bin on its share of a device. It holds up to a slowdown of `factor`."""

    device: int
    share_pct: int
    bin: Bin
    factor: float = 1.0


class Cluster:
    """The devices of a problem, by type and ascending number, and what their types can do."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.menus: Mapping[str, Menu] = menus(problem)
        self.tasks = sorted(problem.tasks, key=lambda task: task.model)
        self.numbers: dict[str, list[int]] = {name: [] for name in self.menus}
        for device in sorted(problem.devices, key=lambda device: device.number):
            self.numbers[device.type].append(device.number)
        self.limits_mb = {
            name: memory_limit_mb(menu.type, menu.rules) * (1.0 + EPSILON)
            for name, menu in self.menus.items()
        }

    def fastest(self, model: str) -> list[str]:
        """Types that serve the model, the one that serves most on a whole device first."""
        serving = [name for name, menu in self.menus.items() if menu.serves(model)]
        return sorted(serving, key=lambda name: (-self.menus[name].lone_rps[model][-1], name))

    def memory_mb(self, type_name: str, gpulets: Iterable[Sequence[str]]) -> float:
        """What gpulets with these models take of one device."""
        return memory_of(gpulets, self.menus[type_name].type, self.problem.rules)

    def memory_holds(self, type_name: str, gpulets: Iterable[Sequence[str]]) -> bool:
        """Whether that is within what may be used."""
        return self.memory_mb(type_name, gpulets) <= self.limits_mb[type_name]

    def plan(self, gpulets: Iterable[Gpulet], refit: Refit) -> Plan:
        """These gpulets as a plan, after what their neighbours' slowdown makes of them."""
        types = {n: name for name, numbers in self.numbers.items() for n in numbers}
        here: dict[int, list[Gpulet]] = defaultdict(list)
        for gpulet in gpulets:
            here[gpulet.device].append(gpulet)
        kept: list[Gpulet] = []
        for number, mine in sorted(here.items()):
            kept += trimmed(self.menus[types[number]], mine, refit)
        placed = [(want.model, want.rate_rps) for gpulet in kept for want in gpulet.bin.wants]
        plans = [gpulet_plan(g.device, g.share_pct, g.bin.wants, g.bin.fit) for g in kept]
        return Plan(gpulets=deduped(plans), unmet=unmet(self.problem, placed))


def want_of(menu: Menu, model: str, rate_rps: float, index: int = -1) -> Want:
    """A part of a model's rate on a gpulet; by default on the largest."""
    return Want(model, rate_rps, menu.slo_ms[model], menu.tables[model][index])


def settled(
    menu: Menu, gpulets: Sequence[Gpulet], refit: Refit, keep: float = 1.0
) -> list[Gpulet] | None:
    """Gpulets of one device, in order, with batches that hold beside each other; None without.

    A model alone on its gpulet may lose rate to that, down to `keep` of it.
    """
    if not menu.disturbed:
        return list(gpulets)
    now = list(gpulets)
    for _ in range(SETTLING_ROUNDS):
        tenants = [_tenants(gpulet) for gpulet in now]
        steady = True
        for place, gpulet in enumerate(now):
            others = [*tenants[:place], *tenants[place + 1 :]]
            factor = slowdowns(menu.type.interference, tenants[place], others)
            if factor <= gpulet.factor * (1.0 + EPSILON):
                continue
            steady = False
            slower = slowed(gpulets[place].bin, factor, refit, keep)
            if slower is None:
                return None
            now[place] = gpulet._replace(bin=slower, factor=factor)
        if steady:
            return now
    return None


def slowed(full: Bin, factor: float, refit: Refit, keep: float) -> Bin | None:
    """The same models with everything `factor` times as slow, a lone one with what it can keep."""
    found = refit(full.wants, factor)
    if found is not None or len(full.wants) > 1:
        return found
    (want,) = full.wants
    most_rps = lone_rate_rps(want.table, want.slo_ms, factor)
    if most_rps < max(keep, CRUMB) * want.rate_rps:
        return None
    return refit((want._replace(rate_rps=min(want.rate_rps, most_rps)),), factor)


def trimmed(menu: Menu, gpulets: Sequence[Gpulet], refit: Refit) -> list[Gpulet]:
    """Like settled(), with as much taken away as that needs: rates, then the last gpulets."""
    left = list(gpulets)
    while left:
        found = settled(menu, left, refit, keep=0.0)
        if found is not None:
            return found
        left.pop()
    return []


def _tenants(gpulet: Gpulet) -> list[Tenant]:
    pairs = zip(gpulet.bin.wants, gpulet.bin.fit.batches, strict=True)
    return [Tenant(want.model, batch, gpulet.share_pct) for want, batch in pairs]
