"""One round of elastic partitioning: models placed one after the other on a number of devices."""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from glet.plan.elastic_cuts import Cuts
from glet.plan.fit import EPSILON, lone_rate_rps
from glet.plan.room import CRUMB, Bin, Cluster, Gpulet, settled, want_of
from glet.plan.squishy import merged, packed, residue

# What neighbours leave of a rate at least; what they take is placed again, once.
KEPT = 0.85
# A gpulet is not set anew for less more of a rate, unless that is all of it.
WORTH = 1e-3

_Kind = tuple[str, int, float]
"""(type, share_pct, slowdown): what a model alone depends on."""
_Entry = tuple[float, int, int, float, float, _Kind]
"""A gpulet that may take more models: (-occupancy, device, place, least, slack_ms, kind)."""


class Round:
    """Places models on the devices it is given.

    Every model goes through best fit, readjusting, merging and time sharing until its rate is
    placed or none of them helps. Nothing is taken back.
    """

    def __init__(
        self, cluster: Cluster, cuts: Mapping[str, Cuts], devices: Sequence[tuple[str, int]]
    ) -> None:
        """`devices` are (type, number), the preferred first."""
        self._cluster = cluster
        self._cuts = cuts
        self._types = {number: name for name, number in devices}
        self._ranks = {name: rank for rank, name in enumerate(dict.fromkeys(n for n, _ in devices))}
        self._whole: dict[str, list[int]] = {name: [] for name in self._ranks}
        for name, number in devices:
            self._whole[name].append(number)
        # Cut, with this half free: (type, size) -> numbers.
        self._half: dict[tuple[str, int], list[int]] = defaultdict(list)
        self._on: dict[int, list[Gpulet]] = {number: [] for number in self._types}
        self._serving: dict[str, list[int]] = defaultdict(list)
        # Gpulets that can take more models, the most occupied first.
        self._sharing: list[_Entry] = []
        self._lost: dict[str, float] = defaultdict(float)
        self._keep = KEPT

    def gpulets(self) -> list[Gpulet]:
        return [gpulet for gpulets in self._on.values() for gpulet in gpulets]

    def place(self, model: str, rate_rps: float, slack_rps: float) -> bool:
        """Whether all of the rate but the slack, or a crumb, is placed."""
        done_rps = max(slack_rps, CRUMB * rate_rps)
        left_rps = rate_rps
        while left_rps > done_rps:
            placed_rps = (
                self._best_fit(model, left_rps)
                or self._readjust(model, left_rps)
                or self._merge(model, left_rps)
                or self._time_share(model, left_rps)
            )
            if placed_rps == 0.0:
                return False
            left_rps -= placed_rps
        return True

    def retry(self, slack_rps: float) -> bool:
        """Places again what neighbours took from models; this time they take nothing."""
        self._keep = 1.0
        lost, self._lost = self._lost, defaultdict(float)
        results = [self.place(model, rate, slack_rps) for model, rate in sorted(lost.items())]
        return all(results)

    def _best_fit(self, model: str, left_rps: float) -> float:
        """On the free gpulet with least share too much; whole devices are cut to the ideal one."""
        options = []
        for name in self._serving_types(model):
            cuts = self._cuts[name]
            shares = cuts.menu.shares
            ideal = cuts.ideal(model, left_rps)
            rank = self._ranks[name]
            if self._whole[name]:
                options.append((0, 1, rank, ideal, name))
            options += [
                (shares[size] - shares[ideal], 0, rank, size, name)
                for size in cuts.rest
                if size >= ideal and self._half[name, size]
            ]
        for _, is_whole, _, size, name in sorted(options):
            for number in self._whole[name][:1] if is_whole else [*self._half[name, size]]:
                placed_rps = self._add(model, left_rps, number, size)
                if placed_rps > 0.0:
                    return placed_rps
        return 0.0

    def _readjust(self, model: str, left_rps: float) -> float:
        """A part of the rate on whatever is free, the largest first."""
        halves = [
            (-self._cuts[name].menu.shares[size], self._ranks[name], number, size)
            for name in self._serving_types(model)
            for size in self._cuts[name].rest
            for number in self._half[name, size]
        ]
        for _, _, number, size in sorted(halves):
            placed_rps = self._add(model, left_rps, number, size)
            if placed_rps > 0.0:
                return placed_rps
        return 0.0

    def _merge(self, model: str, left_rps: float) -> float:
        """With what the model has already: as much as a gpulet of its own takes, or all."""
        for number in [*self._serving[model]]:
            for place, gpulet in enumerate(self._on[number]):
                fuller = _raised(gpulet, model, left_rps)
                if fuller is not None:
                    placed_rps = self._change(number, place, gpulet._replace(bin=fuller), model)
                    if placed_rps > 0.0:
                        return placed_rps
        return 0.0

    def _time_share(self, model: str, left_rps: float) -> float:
        """All of the rate beside other models of a gpulet, the most occupied first."""
        alone: dict[_Kind, tuple[Bin, float, float] | None] = {}
        for _, number, place, least, slack_ms, kind in self._sharing:
            if kind not in alone:
                alone[kind] = self._alone(kind, model, left_rps)
            own = alone[kind]
            # What merged() would say, said faster for the many that are full.
            if own is None or least > own[1] or slack_ms < own[2]:
                continue
            gpulet = self._on[number][place]
            both = merged(gpulet.bin, own[0], gpulet.factor)
            if both is not None and model not in gpulet.bin.models:
                placed_rps = self._change(number, place, gpulet._replace(bin=both), model)
                if placed_rps > 0.0:
                    return placed_rps
        return 0.0

    def _alone(self, kind: _Kind, model: str, rate_rps: float) -> tuple[Bin, float, float] | None:
        """The model by itself, and how full and with how little slack a gpulet may be for it."""
        name, share_pct, factor = kind
        menu = self._cuts[name].menu
        if not menu.serves(model):
            return None
        size = menu.shares.index(share_pct)
        own = residue(want_of(menu, model, rate_rps, size), factor)
        return own and (own, 1.0 + EPSILON - own.least, own.once_ms * (1.0 - EPSILON))

    def _serving_types(self, model: str) -> Iterator[str]:
        return (name for name in self._ranks if self._cuts[name].menu.serves(model))

    def _add(self, model: str, left_rps: float, number: int, size: int) -> float:
        """A new gpulet with as much of the rate as it carries; what it got."""
        name = self._types[number]
        cuts = self._cuts[name]
        most_rps = cuts.menu.lone_rps[model][size]
        if most_rps == 0.0:
            return 0.0
        fresh = residue(want_of(cuts.menu, model, min(left_rps, most_rps), size))
        if fresh is None:
            return 0.0
        there = self._on[number]
        gpulet = Gpulet(number, cuts.menu.shares[size], fresh)
        placed_rps = self._take(number, [*there, gpulet], model)
        if placed_rps > 0.0 and not there:
            self._whole[name].remove(number)
            if size in cuts.rest:
                insort(self._half[name, cuts.rest[size]], number)
        elif placed_rps > 0.0:
            self._half[name, size].remove(number)
        return placed_rps

    def _change(self, number: int, place: int, gpulet: Gpulet, model: str) -> float:
        there = self._on[number]
        return self._take(number, [*there[:place], gpulet, *there[place + 1 :]], model)

    def _take(self, number: int, gpulets: Sequence[Gpulet], model: str) -> float:
        """Makes these the device's if that holds; what the model gains, 0 when it does not."""
        name = self._types[number]
        if not self._cluster.memory_holds(name, [gpulet.bin.models for gpulet in gpulets]):
            return 0.0
        held = settled(self._cuts[name].menu, gpulets, packed, self._keep)
        if held is None:
            return 0.0
        gains = _rates(held)
        for other, rate_rps in _rates(self._on[number]).items():
            gains[other] -= rate_rps
        gained_rps = gains.pop(model)
        if gained_rps <= 0.0:
            return 0.0
        for other, gain_rps in gains.items():
            if gain_rps < 0.0:
                self._lost[other] -= gain_rps
        if number not in self._serving[model]:
            self._serving[model].append(number)
        self._set(number, held)
        return gained_rps

    def _set(self, number: int, gpulets: list[Gpulet]) -> None:
        for entry in self._entries(number):
            del self._sharing[bisect_left(self._sharing, entry)]
        self._on[number] = gpulets
        for entry in self._entries(number):
            insort(self._sharing, entry)

    def _entries(self, number: int) -> list[_Entry]:
        most = self._cluster.problem.rules.max_models
        return [
            (
                -gpulet.bin.occupancy,
                number,
                place,
                gpulet.bin.least,
                gpulet.bin.fit.duty_ms[0] - gpulet.bin.once_ms,
                (self._types[number], gpulet.share_pct, gpulet.factor),
            )
            for place, gpulet in enumerate(self._on[number])
            if len(gpulet.bin.wants) < most and gpulet.bin.occupancy < 1.0
        ]


def _rates(gpulets: Sequence[Gpulet]) -> dict[str, float]:
    rates: dict[str, float] = defaultdict(float)
    for gpulet in gpulets:
        for want in gpulet.bin.wants:
            rates[want.model] += want.rate_rps
    return rates


def _raised(gpulet: Gpulet, model: str, more_rps: float) -> Bin | None:
    """The same bin with more of a model that it has; None when it has not, or takes no more."""
    wants = []
    for want in gpulet.bin.wants:
        rate_rps = want.rate_rps
        if want.model == model:
            rate_rps += more_rps
        if len(gpulet.bin.wants) == 1:
            rate_rps = min(rate_rps, lone_rate_rps(want.table, want.slo_ms, gpulet.factor))
        wants.append(want._replace(rate_rps=rate_rps))
    raised_rps = sum(want.rate_rps for want in wants)
    before_rps = sum(want.rate_rps for want in gpulet.bin.wants)
    worth_rps = min(before_rps * WORTH, more_rps * (1.0 - EPSILON))
    if raised_rps < before_rps + worth_rps or model not in gpulet.bin.models:
        return None
    return packed(wants, gpulet.factor)
