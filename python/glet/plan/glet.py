"""glet's own planner: several ways to a plan, the best improved, never worse than the others."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import numpy as np

from glet.plan.bound import lower_bound
from glet.plan.build import build
from glet.plan.draft import deduped, gpulets_of
from glet.plan.edf import EdfPlanner
from glet.plan.elastic import ElasticPlanner
from glet.plan.exhaustive import ExhaustivePlanner
from glet.plan.keep import KeptCost, kept
from glet.plan.menu import Menu, menus
from glet.plan.moves import moves, renumbered
from glet.plan.problem import Planner, Problem, unmet
from glet.plan.search import (
    Score,
    empty,
    fits_made,
    insert_all,
    parts_of,
    ruin_and_recreate,
)
from glet.plan.selftuning import SelftuningPlanner
from glet.plan.space import Space
from glet.plan.split import split
from glet.plan.timeshare import TimesharePlanner
from glet.types.plan import Plan

# Slowdowns by neighbours for which gpulets are made before any neighbour is known.
FACTORS = (1.0, 1.06, 1.15, 1.3)
# Up to so many models the other planners' plans are candidates, and insertion in several orders.
FEW_MODELS = 64
# Up to so many models and devices the best two-way plan is a candidate.
TINY_MODELS = 6
TINY_DEVICES = 4
TINY_NODES = 60
TINY_SHARES = 20
FEW_SHARES = 6
PUBLISHED_SHARES = (20, 40, 50, 60, 80, 100)
# Fits that the search may make: at least, and for each model.
FITS = 1200
FITS_PER_MODEL = 5
MOST_LEGS = 50
# Many models that serve: a plan made anew loads this part of them elsewhere, and its devices are
# rarely less than this part above the bound.
MOVED_ANEW = 0.4
NEAR = 0.05

Found = tuple[list[Space], dict[str, float]]
"""Devices, and the rates in requests/s by model that are left over."""


class GletPlanner:
    """N gpulets on a device, of any share it can give; turns or deadlines inside each.

    Candidates are made by cutting, merging and packing pieces (plan/build.py), by best insertion in
    several orders, by keeping the current plan, and by every published planner, the temporal ones
    included. The best of glet's own is improved (plan/search.py) until the proven bound is reached
    or the budget, counted in fits, is spent. Fewest unmet first, then devices and the cost of
    moves, then share. So a plan is never worse than that of a planner among the candidates: all of
    them for up to FEW_MODELS models, `exhaustive` for tiny problems.
    """

    name = "glet"

    def __init__(self, *, effort: float = 1.0, seed: int = 0) -> None:
        """`effort` scales the search's budget; `seed` is for its choices."""
        self._effort = effort
        self._seed = seed

    def plan(self, problem: Problem) -> Plan:
        """Never fails for want of room: the rest is in `unmet`."""
        return _Planning(canonical(problem), self._effort, self._seed).best()


def canonical(problem: Problem) -> Problem:
    """The same, tasks by name and devices by number, so that the order told has no effect."""
    return msgspec.structs.replace(
        problem,
        tasks=tuple(sorted(problem.tasks, key=lambda task: task.model)),
        devices=tuple(sorted(problem.devices, key=lambda device: device.number)),
    )


def coarser(problem: Problem) -> Problem | None:
    """The same with tens alone for shares, or the published six; None where types have few."""
    types = dict(problem.types)
    for name, kind in problem.types.items():
        tens = tuple(share for share in kind.shares if share % 10 == 0)
        six = tuple(share for share in kind.shares if share in PUBLISHED_SHARES)
        fewer = [shares for shares in (tens, six) if 0 < len(shares) < len(kind.shares)]
        if len(kind.shares) > FEW_SHARES and fewer:
            types[name] = msgspec.structs.replace(kind, shares=fewer[0])
    if types == problem.types:
        return None
    return msgspec.structs.replace(problem, types=types, current=None)


def _without_least_used(spaces: Sequence[Space]) -> list[Space]:
    """Copies of the devices in use but for the one that is used least."""
    used = sorted((s for s in spaces if s.slots), key=lambda s: (s.used_pct, s.number))
    keep = {space.number for space in used[1:]}
    return [space.copy() for space in spaces if space.number in keep]


class _Planning:
    """One call of plan()."""

    def __init__(self, problem: Problem, effort: float, seed: int) -> None:
        self._problem = problem
        self._menus = menus(problem)
        self._bound = lower_bound(problem, self._menus)
        self._effort = effort
        self._rates = {
            task.model: task.rate_rps
            for task in problem.tasks
            if any(menu.serves(task.model) for menu in self._menus.values())
        }
        # Proven: not everything fits. A longer search would only move what is left out.
        self._impossible = self._bound > len(problem.devices)
        fits = FITS + FITS_PER_MODEL * len(problem.tasks)
        self._fits = int(effort * (fits // 4 if self._impossible else fits))
        self._seed = seed
        self._few = len(problem.tasks) <= FEW_MODELS

    def best(self) -> Plan:
        current = self._problem.current
        if current is not None and not self._few:
            kept_plan = self._kept(current)
            if self._hard_to_beat(kept_plan, current):
                return kept_plan
        found = self._built()
        if not self._is_optimal(found):
            found = self._improved(found)
        plans = [self._plan_of(found)]
        if current is not None:
            plans.append(self._kept(current) if self._few else kept_plan)
        if not self._is_optimal(found):
            plans += [planner.plan(self._problem) for planner in self._others()]
            coarse = coarser(self._problem) if self._few else None
            if coarse is not None:
                # Fewer shares are searched more thoroughly in the same number of fits.
                plans.append(_Planning(coarse, self._effort, self._seed).best())
        if current is not None:
            types = {device.number: device.type for device in self._problem.devices}
            plans += [renumbered(current, plan, types) for plan in plans]
        return min(plans, key=self._score)

    def _built(self) -> Found:
        """The best first plan of several."""
        best: Found | None = None
        for made in self._ways():
            if best is None or self._judge(*made) < self._judge(*best):
                best = made
            if self._is_optimal(best) or (self._impossible and self._fits_made() >= self._fits):
                break
        return best if best is not None else (self._spaces(), dict(self._rates))

    def _ways(self) -> Iterator[Found]:
        """First plans, the most promising first."""
        disturbed = any(menu.disturbed for menu in self._menus.values())
        by_type = (
            split(self._problem, self._menus)
            if len(self._menus) > 1
            else dict.fromkeys(self._menus, self._rates)
        )
        for factor in FACTORS if disturbed else FACTORS[:1]:
            yield self._packed(by_type, factor)
        if self._few:
            for order in self._orders():
                spaces = self._spaces()
                yield spaces, insert_all(order, [], list(spaces))

    def _packed(self, by_type: Mapping[str, Mapping[str, float]], factor: float) -> Found:
        spaces = self._spaces()
        over: dict[str, float] = {}
        for name, menu in self._menus.items():
            mine = [space for space in spaces if space.menu is menu]
            for model, rate_rps in build(menu, by_type[name], mine, factor).items():
                over[model] = over.get(model, 0.0) + rate_rps
        if over and len(self._menus) > 1:
            opened = [space for space in spaces if space.slots]
            closed = [space for space in spaces if not space.slots]
            over = insert_all(sorted(over.items()), opened, closed)
        return spaces, over

    def _orders(self) -> list[list[tuple[str, float]]]:
        """In which models are inserted: by work, by objective, by smallest share, by memory."""
        menu_of = self._best_menu

        def work(model: str) -> float:
            return -self._rates[model] * menu_of(model).area[model]

        def least(model: str) -> float:
            return -menu_of(model).least[model]

        def memory(model: str) -> float:
            return -menu_of(model).memory_mb[model]

        slo_ms = {task.model: task.slo_ms for task in self._problem.tasks}
        keys: list[Callable[[str], tuple[float, float]]] = [
            lambda m: (work(m), 0.0),
            lambda m: (slo_ms[m], work(m)),
            lambda m: (least(m), work(m)),
            lambda m: (-slo_ms[m], work(m)),
            lambda m: (memory(m), work(m)),
        ]
        return [
            [(m, self._rates[m]) for m in sorted(self._rates, key=lambda m: (*key(m), m))]
            for key in keys
        ]

    def _best_menu(self, model: str) -> Menu:
        able = [menu for menu in self._menus.values() if menu.serves(model)]
        return min(able, key=lambda menu: menu.area[model])

    def _improved(self, found: Found) -> Found:
        spaces, left = found
        stop = fits_made(spaces) + self._fits
        spaces, left = empty(spaces, left, self._judge, stop)
        if not self._few:
            return spaces, left
        rng = np.random.default_rng(self._seed)
        for _ in range(MOST_LEGS):
            if fits_made(spaces) >= stop or self._is_optimal((spaces, left)):
                break
            # With one device less, until nothing is left over; or with all, as little as can be.
            fewer = spaces if left else _without_least_used(spaces)
            if len(fewer) < len(spaces):
                inside = {space.number for space in fewer}
                gone = [space for space in spaces if space.number not in inside]
                over = insert_all(parts_of(gone), fewer, [])
            else:
                over = left
            if not fewer:
                break
            tried, over = ruin_and_recreate(fewer, over, self._work_judge, (stop, 0.0), rng)
            if left or not over:
                rest = [Space(s.number, s.menu) for s in spaces]
                done = {space.number: space for space in tried}
                spaces, left = [done.get(space.number, space) for space in rest], over
        return spaces, left

    def _kept(self, current: Plan) -> Plan:
        spaces = self._spaces()
        left = kept(current, self._rates, spaces)
        cost = KeptCost(current, self._problem.move_cost)

        def judge(devices: Sequence[Space], over: dict[str, float]) -> Score:
            return (self._unmet_part(over), *cost.of(devices))

        return self._plan_of(empty(spaces, left, judge, fits_made(spaces) + self._fits))

    def _hard_to_beat(self, plan: Plan, current: Plan) -> bool:
        """Whether a plan made anew would hardly save what its moves cost.

        It moves about MOVED_ANEW of the models at least, and is seldom closer to the bound than
        NEAR. Where moves are free there is no reason not to look.
        """
        if plan.unmet or self._problem.move_cost == 0.0:
            return False
        _, cost, _, _ = self._score(plan)
        placed = sum(len(gpulet.models) for gpulet in current.gpulets)
        saved = max(self._problem.move_cost * placed * MOVED_ANEW, self._bound * NEAR)
        return cost <= self._bound + saved

    def _others(self) -> list[Planner]:
        if not self._few:
            return []
        planners: list[Planner] = [
            TimesharePlanner(),
            EdfPlanner(),
            ElasticPlanner(),
            SelftuningPlanner(),
        ]
        tiny = (
            len(self._rates) <= TINY_MODELS
            and len(self._problem.devices) <= TINY_DEVICES
            and all(len(menu.shares) <= TINY_SHARES for menu in self._menus.values())
        )
        return [*planners, ExhaustivePlanner(max_nodes=TINY_NODES)] if tiny else planners

    def _fits_made(self) -> int:
        return sum(menu.fits for menu in self._menus.values())

    def _spaces(self) -> list[Space]:
        return [Space(d.number, self._menus[d.type]) for d in self._problem.devices]

    def _is_optimal(self, found: Found) -> bool:
        spaces, left = found
        used = sum(1 for space in spaces if space.slots)
        return not self._unmet_part(left) and used <= self._bound

    def _unmet_part(self, left: Mapping[str, float]) -> float:
        """Each model's part of its rate that is left over, summed; less than rounding is none."""
        parts = (rate / self._rates[model] for model, rate in left.items())
        return round(sum(part for part in parts if part > 1e-6), 9)

    def _work_judge(self, spaces: Sequence[Space], left: dict[str, float]) -> Score:
        """For the search itself: how much share what is left over needs, then how much is used."""
        left_pct = sum(self._best_menu(part[0]).weight_pct(*part) for part in left.items())
        return (left_pct * bool(self._unmet_part(left)), sum(space.used_pct for space in spaces))

    def _judge(self, spaces: Sequence[Space], left: dict[str, float]) -> Score:
        used = [space.used_pct for space in spaces if space.slots]
        return (self._unmet_part(left), len(used), sum(used))

    def _score(self, plan: Plan) -> Score:
        asked = {task.model: task.rate_rps for task in self._problem.tasks}
        parts = (rate_rps / asked[model] for model, rate_rps in plan.unmet.items())
        used = {gpulet.device for gpulet in plan.gpulets if gpulet.models}
        current = self._problem.current
        moved = moves(current, plan) if current is not None else 0
        cost = len(used) + self._problem.move_cost * moved
        return (round(sum(parts), 9), cost, moved, sum(g.share_pct for g in plan.gpulets))

    def _plan_of(self, found: Found) -> Plan:
        spaces, _ = found
        gpulets = [gpulet for space in spaces for gpulet in gpulets_of(space)]
        placed = [part for space in spaces for slot in space.slots for part in slot.parts]
        return Plan(gpulets=deduped(gpulets), unmet=unmet(self._problem, placed))
