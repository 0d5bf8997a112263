"""Bounds on what devices can serve, by prices; for searches that leave out what cannot succeed.

A model alone on a gpulet gets a most rate M; several get rates x_i with sum x_i / M_i <= 1, because
each request takes its part of its batch's time at least. So whatever a request of model i is said
to be worth, y_i, a gpulet earns max_i y_i M_i at most, a device what its best layout earns, and the
rates that are left cannot all be served when they are worth more than the devices can earn. Good
prices come from the game in which one side fills the devices and the other picks the model that is
served worst (multiplicative weights; Plotkin, Shmoys and Tardos, FOCS 1991). Any prices are sound.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import combinations_with_replacement
from typing import NamedTuple

Layout = tuple[int, ...]
"""Shares of one device's gpulets in percent, ascending."""

ROUNDS = 200
MOST_PRICES = 8


class Resource(NamedTuple):
    """A device of a kind of which gpulets of these shares, ascending, are filled already."""

    kind: int
    used: Layout = ()


class Capacity(NamedTuple):
    """A kind of device: its layouts, and by share the most that each model alone is served."""

    layouts: tuple[Layout, ...]
    most_rps: dict[int, tuple[float, ...]]


def layouts_of(shares: Sequence[int], most_gpulets: int) -> tuple[Layout, ...]:
    """Every way to cut a device into that many gpulets at most.

    Only those in which no gpulet could be larger, and none be added.
    """
    found = []
    for count in range(1, most_gpulets + 1):
        for layout in combinations_with_replacement(sorted(shares), count):
            free = 100 - sum(layout)
            larger = (s - part for part in layout for s in shares if s > part)
            more = shares if count < most_gpulets else ()
            if free >= 0 and all(step > free for step in (*larger, *more)):
                found.append(layout)
    return tuple(found)


def without(layout: Layout, used: Layout) -> Layout | None:
    """The rest of a layout beside the used shares; None when they are no part of it."""
    rest = [*layout]
    for share in used:
        if share not in rest:
            return None
        rest.remove(share)
    return tuple(rest)


class Ceiling:
    """How much of the rates that are left has to stay unmet, at least."""

    def __init__(
        self, wanted_rps: Sequence[float], capacities: Sequence[Capacity], counts: Sequence[int]
    ) -> None:
        """`counts`: devices of each kind, for which prices are sought."""
        self._wanted_rps = wanted_rps
        self._capacities = capacities
        found = [_Prices(each, wanted_rps, capacities) for each in self._candidates(counts)]
        whole = [Resource(kind) for kind, count in enumerate(counts) for _ in range(count)]
        # Those that exclude most come first.
        found.sort(key=lambda prices: -self._short_by(prices, wanted_rps, whole))
        self._prices = found[:MOST_PRICES]

    def short(self, left_rps: Sequence[float], resources: Sequence[Resource]) -> float:
        """A lower bound of the sum over models of (unmet / wanted)."""
        return max(self._short_by(prices, left_rps, resources) for prices in self._prices)

    def spare(
        self, left_rps: Sequence[float], resources: Sequence[Resource], short: float
    ) -> float:
        """How much may be wasted (see there) when no more than `short` shall stay unmet."""
        prices = self._prices[0]
        worth = math.fsum(p * rate for p, rate in zip(prices.each, left_rps, strict=True))
        earned = math.fsum(map(prices.most, resources))
        return earned + short * prices.dearest - worth * (1.0 - 1e-9)

    def waste(
        self, resource: Resource, share_pct: int, served: Iterable[tuple[int, float]]
    ) -> float:
        """What filling a gpulet so earns less than the device could have."""
        prices = self._prices[0]
        after = Resource(resource.kind, tuple(sorted((*resource.used, share_pct))))
        earned = sum(prices.each[index] * rate_rps for index, rate_rps in served)
        return prices.most(resource) - prices.most(after) - earned

    def _short_by(
        self, prices: "_Prices", left_rps: Sequence[float], resources: Sequence[Resource]
    ) -> float:
        worth = math.fsum(p * rate for p, rate in zip(prices.each, left_rps, strict=True))
        missing = worth * (1.0 - 1e-9) - math.fsum(map(prices.most, resources))
        return max(0.0, missing / prices.dearest)

    def _candidates(self, counts: Sequence[int]) -> list[list[float]]:
        """Prices by model: of the game, capped in several ways; by area; equal for each rate."""
        weights, average = self._play(counts)
        found = [[1.0 / rate for rate in self._wanted_rps], self._areas()]
        for parts in (weights, average):
            found += [
                [min(part, cap) / rate for part, rate in zip(parts, self._wanted_rps, strict=True)]
                for cap in sorted(set(parts))
            ]
        return found

    def _areas(self) -> list[float]:
        """The least percent of a device that one request per second takes all the time."""
        areas = []
        for index in range(len(self._wanted_rps)):
            best = max(
                (
                    rates[index] / share
                    for c in self._capacities
                    for share, rates in c.most_rps.items()
                ),
                default=0.0,
            )
            areas.append(1.0 / best if best > 0 else 1.0 / self._wanted_rps[index])
        return areas

    def _play(self, counts: Sequence[int]) -> tuple[list[float], list[float]]:
        """The best weights that were met, and the average: parts of 1 by model."""
        size = len(self._wanted_rps)
        weights = [1.0 / size] * size
        total = [0.0] * size
        best, best_value = weights, math.inf
        for step in range(1, ROUNDS + 1):
            served = self._response(weights, counts)
            value = sum(w * part for w, part in zip(weights, served, strict=True))
            if value < best_value:
                best, best_value = weights, value
            total = [t + w for t, w in zip(total, weights, strict=True)]
            pace = 1.0 / (math.sqrt(step) * (max(served) or 1.0))
            raised = [w * math.exp(-pace * part) for w, part in zip(weights, served, strict=True)]
            weights = [w / sum(raised) for w in raised]
        return best, [t / ROUNDS for t in total]

    def _response(self, weights: Sequence[float], counts: Sequence[int]) -> list[float]:
        """Parts of the wanted rates that are served when devices earn the most at these weights."""
        each = [w / rate for w, rate in zip(weights, self._wanted_rps, strict=True)]
        prices = _Prices(each, self._wanted_rps, self._capacities)
        served = [0.0] * len(weights)
        for kind, (capacity, count) in enumerate(zip(self._capacities, counts, strict=True)):
            for share in prices.best_layout(kind) if count else ():
                rates = capacity.most_rps[share]
                index = max(range(len(rates)), key=lambda i: prices.each[i] * rates[i])
                served[index] += count * rates[index] / self._wanted_rps[index]
        return served


class _Prices:
    """What a request of each model is worth, and what devices earn at most."""

    def __init__(
        self, each: Sequence[float], wanted_rps: Sequence[float], capacities: Sequence[Capacity]
    ) -> None:
        self.each = each
        self.dearest = max(p * rate for p, rate in zip(each, wanted_rps, strict=True))
        self._layouts = [capacity.layouts for capacity in capacities]
        self._worth = [
            {
                share: max((p * rate for p, rate in zip(each, rates, strict=True)), default=0.0)
                for share, rates in capacity.most_rps.items()
            }
            for capacity in capacities
        ]
        self.most = cache(self._most)

    def best_layout(self, kind: int) -> Layout:
        layouts = self._layouts[kind]
        return max(layouts, key=lambda layout: self._worth_of(kind, layout), default=())

    def _most(self, resource: Resource) -> float:
        rests = (without(layout, resource.used) for layout in self._layouts[resource.kind])
        worths = [self._worth_of(resource.kind, rest) for rest in rests if rest is not None]
        return max(worths, default=0.0)

    def _worth_of(self, kind: int, layout: Layout) -> float:
        return sum(self._worth[kind][share] for share in layout)
