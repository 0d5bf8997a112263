"""What one type of device can do for each model: latencies, rates and costs by share, made once."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from glet.errors import ProfileError
from glet.plan.fit import Fit, Want, fit
from glet.plan.problem import DeviceType, Problem

Parts = tuple[tuple[str, float], ...]
"""(model, rate_rps) that share a gpulet."""


MOST_KNOWN = 100_000


class Menu:
    """The models of a problem on one type of device. Shares are named by their index in `shares`.

    `tables[model][index]` are latencies in ms by batch, the rules' latency ratio included.
    `lone_rps[model][index]` is the most that the model alone is served on such a gpulet.
    `least[model]` is the first index that serves any. `area[model]` is the least part of a device
    that a request per second needs: share times time. Models that the type cannot serve are in none
    of them. `fits` counts the tests that were made: the unit of search budgets.
    """

    def __init__(self, problem: Problem, device: DeviceType) -> None:
        self.type = device
        self.rules = problem.rules
        self.shares = device.shares
        self.slo_ms = {task.model: task.slo_ms for task in problem.tasks}
        self.tables: dict[str, list[list[float]]] = {}
        self.lone_rps: dict[str, list[float]] = {}
        self.least: dict[str, int] = {}
        self.area: dict[str, float] = {}
        self.memory_mb: dict[str, float] = {}
        self.disturbed = device.interference.name != "none"
        self.fits = 0
        # A search comes back to the same gpulets again and again.
        self._known: dict[tuple[Parts, int, float], Fit | None] = {}
        known = frozenset(device.profile.models())
        for task in sorted(problem.tasks, key=lambda task: task.model):
            if task.model in known:
                self._add(task.model, task.slo_ms)

    def serves(self, model: str) -> bool:
        """Whether any share of this type serves the model within its objective."""
        return model in self.least

    def fit(self, parts: Parts, index: int, factor: float = 1.0) -> Fit | None:
        """How these share a gpulet of that share, or None."""
        if len(parts) > self.rules.max_models:
            return None
        if len(parts) == 1:
            model, rate_rps = parts[0]
            if factor == 1.0 and rate_rps > self.lone_rps[model][index] * (1.0 + 1e-9):
                return None
        self.fits += 1
        asked = (parts, index, factor)
        if asked in self._known:
            return self._known[asked]
        found = fit(self.wants(parts, index), factor)
        if len(self._known) < MOST_KNOWN:
            self._known[asked] = found
        return found

    def wants(self, parts: Parts, index: int) -> list[Want]:
        """The same as fit.py takes them."""
        return [
            Want(model, rate_rps, self.slo_ms[model], self.tables[model][index])
            for model, rate_rps in parts
        ]

    def smallest(
        self, parts: Parts, low: int, high: int, factor: float = 1.0
    ) -> tuple[int, Fit] | None:
        """The smallest share in low..high (indices, both included) on which these fit."""
        if len(parts) > self.rules.max_models or low > high:
            return None
        if len(parts) == 1 and factor == 1.0:
            model, rate_rps = parts[0]
            index = self.share_for(model, rate_rps, low)
            found = self.fit(parts, index) if index <= high else None
            return (index, found) if found is not None else None
        best = self.fit(parts, high, factor)
        if best is None:
            return None
        while low < high:
            middle = (low + high) // 2
            found = self.fit(parts, middle, factor)
            if found is None:
                low = middle + 1
            else:
                high, best = middle, found
        return high, best

    def share_for(self, model: str, rate_rps: float, low: int = 0) -> int:
        """The smallest index from `low` whose lone rate is this or more; else len(shares)."""
        rates = self.lone_rps[model]
        for index in range(max(low, self.least[model]), len(rates)):
            if rates[index] >= rate_rps * (1.0 - 1e-9):
                return index
        return len(rates)

    def weight_pct(self, model: str, rate_rps: float) -> float:
        """What a rate needs of a device at least: its work, or the smallest gpulet that serves."""
        return max(100.0 * rate_rps * self.area[model], float(self.shares[self.least[model]]))

    def index_within(self, free_pct: int) -> int:
        """The largest index whose share is at most this; -1 when none is."""
        return bisect_right(self.shares, free_pct) - 1

    def _add(self, model: str, slo_ms: float) -> None:
        try:
            profile = self.type.profile.model(model)
            tables = profile.tables(self.shares) * self.rules.latency_ratio
        except ProfileError:
            return
        batches = np.arange(1, tables.shape[1] + 1)
        rates = 1000.0 * batches / tables
        in_time = 2.0 * tables <= slo_ms
        lone = np.where(in_time, rates, 0.0).max(axis=1)
        single = (lone == 0.0) & (tables[:, 0] <= slo_ms)
        lone[single] = rates[single, 0]
        if not lone.any():
            return
        # A larger gpulet can always do what a smaller one does.
        lone = np.maximum.accumulate(lone)
        self.tables[model] = tables.tolist()
        self.lone_rps[model] = lone.tolist()
        self.least[model] = int(np.argmax(lone > 0.0))
        self.area[model] = least_area(tables, self.shares, slo_ms)
        self.memory_mb[model] = profile.memory_mb


def least_area(tables: NDArray[np.float64], shares: Sequence[int], slo_ms: float) -> float:
    """The least share (of 1) times seconds that a request needs, over shares and batches.

    `tables` (shares, batches) in ms. On a gpulet that serves evenly spaced requests at r per ms, a
    batch of b waits (b - 1) / r for its last request, and r <= b / L(b) of the best batch, so only
    batches with (2 - 1 / b) L(b) <= SLO can carry a rate. Infinite when there is none.
    """
    batches = np.arange(1, tables.shape[1] + 1)
    possible = (2.0 - 1.0 / batches) * tables <= slo_ms * (1.0 + 1e-9)
    part = np.asarray(shares)[:, None] / 100.0 * tables / (1000.0 * batches)
    return float(np.where(possible, part, np.inf).min())


def menus(problem: Problem) -> Mapping[str, Menu]:
    """A menu for every type that a device of the problem has."""
    used = sorted({device.type for device in problem.devices})
    return {name: Menu(problem, problem.types[name]) for name in used}
