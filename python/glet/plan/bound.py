"""A proven lower bound on the number of devices: no plan of glet's model of latency uses fewer."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from glet.plan.assess import memory_limit_mb
from glet.plan.menu import Menu, menus
from glet.plan.problem import Problem

TIME_LIMIT_S = 5.0
# A bound of 3.0000001 devices is one of 3: the solver's own tolerance.
TOLERANCE = 1e-6
INFEASIBLE = 2


def lower_bound(problem: Problem, made: Mapping[str, Menu] | None = None) -> int:
    """The least number of devices on which everything that can be served at all may fit.

    More than there are when it is proven that not everything fits. Relaxes the plan to a mixed
    integer program: of each type t, n_t devices; of each model m a rate x_mt on type t, from y_mt
    gpulets. A request takes at least `Menu.area` of a device; a gpulet holds at most `max_models`
    models and is no smaller than the smallest share that serves each of them; weights and processes
    fit in memory. Models that no type can serve are left out. Interference only adds to it.
    HiGHS (Huangfu and Hall, 2018) solves it; when it runs out of time its dual bound still holds.
    """
    made = menus(problem) if made is None else made
    counts = {name: sum(d.type == name for d in problem.devices) for name in made}
    bound = _solve(problem, made, counts)
    if bound is None:
        # Even all devices are too few: how many of them would be enough?
        unlimited = _solve(problem, made, dict.fromkeys(counts))
        return max(len(problem.devices) + 1, unlimited or 0)
    return bound


def _solve(
    problem: Problem, made: Mapping[str, Menu], counts: Mapping[str, int | None]
) -> int | None:
    """The bound with so many devices of each type, None for any number; None if it cannot be."""
    rows = Rows()
    devices = {name: rows.variable(counts[name], cost=1.0, whole=True) for name in made}
    gpulets = {name: rows.variable(None) for name in made}
    uses: dict[str, list[tuple[int, float]]] = {}
    for name, menu in made.items():
        work, room, memory = [(devices[name], -1.0)], [(devices[name], -1.0)], []
        hosts = []
        for task in problem.tasks:
            if not menu.serves(task.model):
                continue
            rate, hosted = rows.variable(task.rate_rps), rows.variable(None)
            uses.setdefault(task.model, []).append((rate, task.rate_rps))
            # Rates in requests/s, areas in devices: one gpulet carries 1 / area at most.
            rows.at_most([(rate, menu.area[task.model]), (hosted, -1.0)], 0.0)
            rows.at_most([(rate, 1.0 / task.rate_rps), (hosted, -1.0)], 0.0)
            work.append((rate, menu.area[task.model]))
            share = menu.shares[menu.least[task.model]] / 100.0
            room.append((hosted, share / problem.rules.max_models))
            memory.append((hosted, menu.memory_mb[task.model]))
            hosts.append((hosted, 1.0 / problem.rules.max_models))
        rows.at_most(work, 0.0)
        rows.at_most(room, 0.0)
        _memory(rows, problem, menu, devices[name], (gpulets[name], hosts, memory))
    for parts in uses.values():
        rows.at_least([(rate, 1.0) for rate, _ in parts], parts[0][1])
    return rows.minimum()


def _memory(
    rows: "Rows",
    problem: Problem,
    menu: Menu,
    devices: int,
    used: tuple[int, list[tuple[int, float]], list[tuple[int, float]]],
) -> None:
    limit_mb = memory_limit_mb(menu.type, problem.rules)
    if math.isinf(limit_mb):
        return
    gpulets, hosts, weights = used
    process_mb = problem.rules.memory.process_mb
    if problem.rules.memory.shared_weights:
        # One process a device, and a model's weights once on each device that has it.
        rows.at_most([*weights, (devices, process_mb - limit_mb)], 0.0)
        return
    rows.at_most([*hosts, (gpulets, -1.0)], 0.0)
    rows.at_most([*weights, (gpulets, process_mb), (devices, -limit_mb)], 0.0)


class Rows:
    """A mixed integer program, written a row at a time."""

    def __init__(self) -> None:
        self._upper: list[float] = []
        self._cost: list[float] = []
        self._whole: list[int] = []
        self._entries: list[tuple[int, int, float]] = []
        self._low: list[float] = []
        self._high: list[float] = []

    def variable(self, most: float | None, *, cost: float = 0.0, whole: bool = False) -> int:
        """A number from 0 to `most` (None: without end); its index."""
        self._upper.append(np.inf if most is None else most)
        self._cost.append(cost)
        self._whole.append(int(whole))
        return len(self._cost) - 1

    def at_most(self, terms: list[tuple[int, float]], limit: float) -> None:
        """sum(factor * variable) <= limit."""
        self._row(terms, -np.inf, limit)

    def at_least(self, terms: list[tuple[int, float]], limit: float) -> None:
        """sum(factor * variable) >= limit."""
        self._row(terms, limit, np.inf)

    def minimum(self) -> int | None:
        """The least cost, proven, rounded up; None when the rows contradict each other."""
        if not self._entries:
            return 0
        found = self._solved()
        if found.status == INFEASIBLE:
            return None
        proven: float | None = found.mip_dual_bound
        if proven is None or not math.isfinite(proven):
            return 0
        return math.ceil(proven - TOLERANCE)

    def solution(self) -> list[float]:
        """The variables at the least cost; zeros when none was found."""
        found = self._solved() if self._entries else None
        if found is None or found.x is None:
            return [0.0] * len(self._cost)
        return [float(value) for value in found.x]

    def _solved(self) -> Any:
        row, column, factor = zip(*self._entries, strict=True)
        shape = (len(self._low), len(self._cost))
        matrix = csr_array((factor, (row, column)), shape=shape)
        return milp(
            np.array(self._cost),
            constraints=LinearConstraint(matrix, self._low, self._high),
            integrality=np.array(self._whole),
            bounds=Bounds(0.0, np.array(self._upper)),
            options={"time_limit": TIME_LIMIT_S},
        )

    def _row(self, terms: list[tuple[int, float]], low: float, high: float) -> None:
        row = len(self._low)
        self._entries += [(row, variable, factor) for variable, factor in terms if factor]
        self._low.append(low)
        self._high.append(high)
