"""Packing on whole devices: what the temporal planners do around their own way to share one."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glet.plan.fit import EPSILON, Want
from glet.plan.room import CRUMB, Bin, Cluster, Gpulet, want_of
from glet.plan.squishy import filling, saturated


class WholeDevices(ABC):
    """Saturated devices first, then what is left of every model, best fit by falling occupancy.

    Devices are the largest share that their type can give. With several types a model takes the
    fastest that is left. What finds no device is left out. Open devices, those that may take more
    models, are numbered by `place` in the order of opening.
    """

    def __init__(self, cluster: Cluster) -> None:
        count = len(cluster.problem.devices)
        self.bins: list[Bin] = []
        self._cluster = cluster
        self._free = {name: numbers[::-1] for name, numbers in cluster.numbers.items()}
        self._full: list[Gpulet] = []
        self._opened: list[tuple[str, int]] = []
        # By place: what may still come to it.
        self._types: NDArray[np.object_] = np.full(count, "", dtype=object)
        self._models = np.zeros(count, dtype=np.int64)
        self._time = np.zeros(count)
        self._memory_mb = np.zeros(count)

    @abstractmethod
    def alone(self, want: Want) -> Bin | None:
        """A model that has no company yet."""

    @abstractmethod
    def best(self, places: Sequence[int], fresh: Bin) -> tuple[int, Bin] | None:
        """(place, merged bin) for the open device, of these, that takes the fresh one best."""

    def note(self, place: int) -> None:
        """Called when the bin of an open device is new."""
        now = self.bins[place]
        self._models[place] = len(now.wants)
        self._time[place] = now.least

    def pack(self) -> list[Gpulet]:
        """The gpulets, one on each device used."""
        rests: list[tuple[float, str, float]] = []
        for task in self._cluster.tasks:
            types = self._serving(task.model)
            left_rps = self._saturate(task.model, task.rate_rps, types)
            if types and left_rps > CRUMB * task.rate_rps:
                fresh = self._alone(types[0], task.model, left_rps)
                rests.append((-fresh.occupancy if fresh else -1.0, task.model, left_rps))
        for _, model, left_rps in sorted(rests):
            self._place(model, left_rps)
        shares = {name: menu.shares[-1] for name, menu in self._cluster.menus.items()}
        return self._full + [
            Gpulet(number, shares[name], now)
            for (name, number), now in zip(self._opened, self.bins, strict=True)
        ]

    def _serving(self, model: str) -> list[str]:
        """Types by falling speed; only those whose largest share and memory hold the model."""
        cluster = self._cluster
        return [n for n in cluster.fastest(model) if cluster.memory_holds(n, [[model]])]

    def _alone(self, type_name: str, model: str, rate_rps: float) -> Bin | None:
        return self.alone(want_of(self._cluster.menus[type_name], model, rate_rps))

    def _saturate(self, model: str, left_rps: float, types: Sequence[str]) -> float:
        """Gives the model devices that it fills; returns what is left of its rate."""
        for name in types:
            menu = self._cluster.menus[name]
            want = want_of(menu, model, left_rps)
            _, most_rps = saturated(want.table, want.slo_ms)
            while self._free[name] and most_rps * (1.0 - EPSILON) <= left_rps:
                part = want._replace(rate_rps=min(left_rps, most_rps))
                full = filling(part)
                if full is None:
                    return left_rps
                self._full.append(Gpulet(self._free[name].pop(), menu.shares[-1], full))
                left_rps -= part.rate_rps
            if self._free[name]:
                break
        return left_rps

    def _place(self, model: str, left_rps: float) -> None:
        types = self._serving(model)
        if self._join(model, left_rps, types):
            return
        rest_rps = self._saturate(model, left_rps, types)
        if rest_rps <= CRUMB * left_rps:
            return
        for name in types:
            fresh = self._alone(name, model, rest_rps) if self._free[name] else None
            if fresh is not None:
                self._open(name, fresh)
                return

    def _open(self, type_name: str, fresh: Bin) -> None:
        place = len(self.bins)
        self._opened.append((type_name, self._free[type_name].pop()))
        self._types[place] = type_name
        self._memory_mb[place] = self._cluster.memory_mb(type_name, [fresh.models])
        self.bins.append(fresh)
        self.note(place)

    def _join(self, model: str, rate_rps: float, types: Sequence[str]) -> bool:
        """Puts it to others on an open device, the one that is fullest then."""
        found: tuple[float, int, Bin, float] | None = None
        for name in types:
            fresh = self._alone(name, model, rate_rps)
            if fresh is None:
                continue
            weights_mb = self._cluster.menus[name].memory_mb[model]
            best = self.best(self._places(name, fresh, weights_mb), fresh)
            if best is not None and (found is None or best[1].occupancy > found[0]):
                found = best[1].occupancy, *best, weights_mb
        if found is None:
            return False
        _, place, both, weights_mb = found
        self.bins[place] = both
        self._memory_mb[place] += weights_mb
        self.note(place)
        return True

    def _places(self, type_name: str, fresh: Bin, weights_mb: float) -> list[int]:
        """Open devices of the type that may have room: by count, time and memory."""
        used = slice(len(self.bins))
        may = (self._types[used] == type_name) & (
            self._models[used] < self._cluster.problem.rules.max_models
        )
        may &= self._time[used] <= 1.0 + EPSILON - fresh.least
        may &= self._memory_mb[used] + weights_mb <= self._cluster.limits_mb[type_name]
        places: list[int] = np.flatnonzero(may).tolist()
        return places
