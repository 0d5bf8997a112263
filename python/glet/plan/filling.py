"""What a gpulet can hold: contents, their fits, and whether a device's gpulets stand each other."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from glet.errors import ProfileError
from glet.plan.assess import memory_limit_mb, memory_of, slowdowns
from glet.plan.fit import Fit, Table, Want, fit, lone_rate_rps, most_rate_rps
from glet.plan.problem import DeviceType, Rules, Task
from glet.profiles.interference import NoInterference, Tenant

# Halvings to find how much of a rate fits, and the least part of it that is worth a gpulet.
STEPS = 16
LEAST_PART = 1e-3
# A part that is found to fit is taken this much smaller: what is left of rounding.
SHY = 1.0 - 1e-9
SLACK = 1e-6
ROUNDS = 8

Contents = tuple[tuple[int, float], ...]
"""(task's index, rate_rps), ascending by index."""


class Part(NamedTuple):
    """A gpulet with what it serves."""

    share_pct: int
    contents: Contents


class Sketch(NamedTuple):
    """What a gpulet may hold: all of these, and at most so much of one model more."""

    whole: Contents
    part: Contents = ()


class Filling:
    """One type of device: what its gpulets can hold of some tasks. Remembers every fit."""

    def __init__(
        self, device: DeviceType, tasks: Sequence[Task], rules: Rules, most_gpulets: int
    ) -> None:
        """`tasks` by index. What the type has no profile of, at a share, is not served there."""
        self.device = device
        self._tasks = tasks
        self._rules = rules
        self._fits: dict[tuple[int, Contents, float], Fit | None] = {}
        self._parts: dict[tuple[int, Contents, tuple[int, float], float], float] = {}
        self.tables = [self._tables_of(task) for task in tasks]
        self.most_rps = {
            share: tuple(self._most_rps(index, share) for index in range(len(tasks)))
            for share in device.shares
        }
        self.isolated = isinstance(device.interference, NoInterference)
        # Whether gpulets do not care for what else is on their device.
        self.independent = self.isolated and self._memory_is_ample(most_gpulets)

    def sketches(self, share_pct: int, left_rps: Sequence[float]) -> Iterator[Sketch]:
        """All that a gpulet of that share may hold, as far as time goes."""
        most = self.most_rps[share_pct]
        live = [i for i, rate in enumerate(left_rps) if rate > 0 and most[i] > 0]
        for size in range(1, self._rules.max_models + 1):
            for chosen in combinations(live, size):
                everything = tuple((index, left_rps[index]) for index in chosen)
                if sum(rate / most[index] for index, rate in everything) <= 1.0 + SLACK:
                    yield Sketch(everything)
                else:
                    yield from self._splits(share_pct, everything)

    def contents(
        self, beside: tuple[Part, ...], share_pct: int, sketch: Sketch
    ) -> tuple[list[Contents], list[Sketch]]:
        """What comes of a sketch on a gpulet beside those parts of its device.

        Contents that fit; or other sketches, with one model in part, when not all of it fits.
        """
        if not sketch.part:
            if self.fits((*beside, Part(share_pct, sketch.whole))) is not None:
                return [sketch.whole], []
            return [], list(self._splits(share_pct, sketch.whole))
        (more,) = sketch.part
        if sketch.whole and self.fits((*beside, Part(share_pct, sketch.whole))) is None:
            return [], []
        return list(self._with_part(beside, share_pct, sketch.whole, more)), []

    def fits(self, parts: tuple[Part, ...]) -> tuple[Fit, ...] | None:
        """How each gpulet of one device serves its contents; None when they cannot stand together.

        Interference changes batches, and batches interference: slowdowns are raised until they are
        those that the batches cause.
        """
        if not self.independent and not self._memory_holds(parts):
            return None
        factors = [1.0] * len(parts)
        for _ in range(ROUNDS):
            found = []
            for part, factor in zip(parts, factors, strict=True):
                one = self.fit(part.share_pct, part.contents, factor)
                if one is None:
                    return None
                found.append(one)
            if self.isolated:
                return tuple(found)
            caused = self._slowdowns(parts, found)
            if all(now <= planned for now, planned in zip(caused, factors, strict=True)):
                return tuple(found)
            factors = [max(pair) for pair in zip(caused, factors, strict=True)]
        return None

    def fit(self, share_pct: int, contents: Contents, factor: float = 1.0) -> Fit | None:
        """How one gpulet serves its contents at that slowdown."""
        key = (share_pct, contents, factor)
        if key not in self._fits:
            rates = self.most_rps[share_pct]
            # Each takes its part of the time at least.
            used = sum(rate / rates[index] if rates[index] else 2.0 for index, rate in contents)
            wants = self.wants(share_pct, contents) if used * factor <= 1.0 + SLACK else None
            self._fits[key] = fit(wants, factor) if wants else None
        return self._fits[key]

    def wants(self, share_pct: int, contents: Contents) -> list[Want]:
        """The same as fits take it."""
        return [
            Want(
                self._tasks[index].model,
                rate_rps,
                self._tasks[index].slo_ms,
                self.tables[index][share_pct],
            )
            for index, rate_rps in contents
        ]

    def _splits(self, share_pct: int, everything: Contents) -> Iterator[Sketch]:
        """All but one model whole, and of that one what time allows."""
        most = self.most_rps[share_pct]
        for at, (index, left_rps) in enumerate(everything):
            whole = (*everything[:at], *everything[at + 1 :])
            room = 1.0 - sum(rate / most[other] for other, rate in whole)
            if room > 0.0:
                yield Sketch(whole, ((index, min(left_rps, room * most[index])),))

    def _with_part(
        self, beside: tuple[Part, ...], share_pct: int, whole: Contents, more: tuple[int, float]
    ) -> Iterator[Contents]:
        """The same and as much of one more as fits."""
        index, _ = more
        tried = set()
        for factor in self._factors(beside, share_pct, (*whole, more)):
            rate_rps = self._part_rps(share_pct, whole, more, factor)
            if rate_rps in tried or rate_rps < LEAST_PART * self._tasks[index].rate_rps:
                continue
            tried.add(rate_rps)
            contents = tuple(sorted((*whole, (index, rate_rps))))
            if self.fits((*beside, Part(share_pct, contents))) is not None:
                yield contents

    def _part_rps(
        self, share_pct: int, whole: Contents, more: tuple[int, float], factor: float
    ) -> float:
        key = (share_pct, whole, more, factor)
        if key not in self._parts:
            (want,) = self.wants(share_pct, (more,))
            others = self.wants(share_pct, whole)
            self._parts[key] = most_rate_rps(want, others, factor, STEPS) * SHY
        return self._parts[key]

    def _factors(self, beside: tuple[Part, ...], share_pct: int, contents: Contents) -> list[float]:
        """Slowdowns to be ready for: by the neighbours that are there, or by one that may come."""
        if self.isolated:
            return [1.0]
        if beside:
            neighbours = [[self._tenants(part) for part in beside]]
        else:
            rest = 100 - share_pct
            share = max((s for s in self.device.shares if s <= rest), default=0)
            everyone = range(len(self._tasks)) if share else ()
            neighbours = [
                [self._tenants(Part(share, ((index, 1.0),)))]
                for index in everyone
                if self.most_rps[share][index] > 0
            ]
        mine = self._tenants(Part(share_pct, contents))
        caused = [slowdowns(self.device.interference, mine, each) for each in neighbours]
        return sorted({1.0, *caused})

    def _tenants(self, part: Part) -> list[Tenant]:
        """Each model with batch 1 and with the largest that it can have on that gpulet."""
        found = []
        for index, _ in part.contents:
            slo_ms = self._tasks[index].slo_ms
            table = self.tables[index][part.share_pct]
            largest = sum(latency_ms <= slo_ms for latency_ms in table) or 1
            found += [
                Tenant(self._tasks[index].model, batch, part.share_pct)
                for batch in sorted({1, largest})
            ]
        return found

    def _slowdowns(self, parts: Sequence[Part], found: Sequence[Fit]) -> list[float]:
        tenants = [
            [
                Tenant(self._tasks[index].model, batch, part.share_pct)
                for (index, _), batch in zip(part.contents, one.batches, strict=True)
            ]
            for part, one in zip(parts, found, strict=True)
        ]
        return [
            slowdowns(self.device.interference, mine, [*tenants[:at], *tenants[at + 1 :]])
            for at, mine in enumerate(tenants)
        ]

    def _memory_holds(self, parts: Sequence[Part]) -> bool:
        names = [[self._tasks[index].model for index, _ in part.contents] for part in parts]
        used_mb = memory_of(names, self.device, self._rules)
        return used_mb <= memory_limit_mb(self.device, self._rules)

    def _memory_is_ample(self, most_gpulets: int) -> bool:
        known = [t.model for t, tables in zip(self._tasks, self.tables, strict=True) if tables]
        sizes = sorted(self.device.profile.model(name).memory_mb for name in known)
        each_mb = self._rules.memory.process_mb + sum(sizes[-self._rules.max_models :])
        return most_gpulets * each_mb <= memory_limit_mb(self.device, self._rules)

    def _tables_of(self, task: Task) -> dict[int, Table]:
        """Planned latencies by share; only where the type has a profile."""
        try:
            profile = self.device.profile.model(task.model)
        except ProfileError:
            return {}
        shares = [s for s in self.device.shares if profile.shares[0] <= s <= profile.shares[-1]]
        rows = profile.tables(shares) * self._rules.latency_ratio
        return {share: row.tolist() for share, row in zip(shares, rows, strict=True)}

    def _most_rps(self, index: int, share_pct: int) -> float:
        """No gpulet of that share serves more of the model, whoever is with it.

        A batch takes its latency, its requests come one after the other before it runs, and both
        have to be within the objective; or two batches are, of a model that takes turns.
        """
        task, table = self._tasks[index], self.tables[index].get(share_pct)
        if table is None:
            return 0.0
        gap_ms = 1000.0 / task.rate_rps
        collected = [
            1000.0 * batch / latency_ms
            for batch, latency_ms in enumerate(table, start=1)
            if (batch - 1) * gap_ms + latency_ms <= task.slo_ms * (1.0 + 1e-6)
        ]
        return max([lone_rate_rps(table, task.slo_ms), *collected])
