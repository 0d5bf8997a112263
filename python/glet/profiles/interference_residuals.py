"""What a model of interference gets wrong, learnt while serving: measured over predicted.

A model that was fitted once meets models it never saw, and clocks, drivers and inputs that change.
A residual per combination that really runs corrects it where it matters, and nowhere else.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from glet.errors import ArgumentError
from glet.profiles.interference import Interference, Tenant

# One stalled batch must not be believed.
LEAST_RATIO, MOST_RATIO = 0.25, 4.0
# Ratios that a guard is taken from, and combinations that are remembered.
RECENT = 64
MOST_KEYS = 4096

_Key = tuple[str, int, tuple[tuple[str, int], ...]]


class Observation(NamedTuple):
    """A slowdown that was measured, and what the uncorrected model had predicted for it."""

    victim: Tenant
    others: tuple[Tenant, ...]
    measured: float
    predicted: float


class Track(NamedTuple):
    """Ratios of one combination: how many there were, their moving mean, the latest, the answer."""

    seen: int
    mean: float
    recent: tuple[float, ...]
    factor: float


class Residuals(msgspec.Struct, frozen=True, kw_only=True):
    """Moving means of measured / predicted slowdown. Immutable: observed() gives the next one.

    Per (model, share, set of neighbours with their shares); a combination that was never seen has
    its model's mean, and a model that was never seen 1. The first observations count equally, later
    ones `smoothing` each. With a `guard`, 0 to 1, the answer is that quantile of the latest ratios
    where it is above the mean: 0.95 is too low for one batch in twenty.
    """

    smoothing: float = 0.1
    guard: float | None = None
    by_set: dict[_Key, Track] = {}
    by_model: dict[str, Track] = {}

    def observed(self, seen: Iterable[Observation]) -> "Residuals":
        """With these, in order. Raises ArgumentError for slowdowns that are none."""
        self._check()
        by_set, by_model = dict(self.by_set), dict(self.by_model)
        for victim, others, measured, predicted in seen:
            if not others or not all(0.0 < x < math.inf for x in (measured, predicted)):
                raise ArgumentError(
                    f"observation of {victim.model!r}: {len(others)} neighbours, measured "
                    f"{measured:g}, predicted {predicted:g}; valid are 1 or more, above 0, above 0"
                )
            ratio = min(max(measured / predicted, LEAST_RATIO), MOST_RATIO)
            key = _key(victim, others)
            # Taken out and put in again: the one that was longest not seen is first.
            by_set[key] = self._next(by_set.pop(key, None), ratio)
            by_model[victim.model] = self._next(by_model.pop(victim.model, None), ratio)
            if len(by_set) > MOST_KEYS:
                del by_set[next(iter(by_set))]
            if len(by_model) > MOST_KEYS:
                del by_model[next(iter(by_model))]
        return msgspec.structs.replace(self, by_set=by_set, by_model=by_model)

    def factor(self, victim: Tenant, others: Sequence[Tenant]) -> float:
        """What to multiply a prediction by."""
        track = self.by_set.get(_key(victim, others)) or self.by_model.get(victim.model)
        return 1.0 if track is None else track.factor

    def _next(self, track: Track | None, ratio: float) -> Track:
        seen, mean, recent, _ = track or Track(0, 0.0, (), 1.0)
        seen += 1
        mean += max(self.smoothing, 1.0 / seen) * (ratio - mean)
        recent = (*recent, ratio)[-RECENT:]
        if self.guard is None:
            return Track(seen, mean, recent, mean)
        rank = max(1, math.ceil(self.guard * len(recent)))
        return Track(seen, mean, recent, max(mean, sorted(recent)[rank - 1]))

    def _check(self) -> None:
        if not 0.0 < self.smoothing <= 1.0:
            raise ArgumentError(f"smoothing is {self.smoothing:g}; valid is above 0 to 1")
        if self.guard is not None and not 0.0 <= self.guard <= 1.0:
            raise ArgumentError(f"guard is {self.guard:g}; valid is 0..1")


class CorrectedInterference:
    """Another model's predictions times what was learnt about them; at least 1."""

    def __init__(self, base: Interference, residuals: Residuals) -> None:
        self.base = base
        self.residuals = residuals
        self.name = f"{base.name}+residual"

    def slowdown(self, victim: Tenant, others: Sequence[Tenant]) -> float:
        if not others:
            return 1.0
        predicted = self.base.slowdown(victim, others)
        return max(1.0, predicted * self.residuals.factor(victim, others))


def corrected(base: Interference, residuals: Residuals) -> CorrectedInterference:
    """`base`, corrected by residuals whose observations were predicted by `base` itself."""
    return CorrectedInterference(base, residuals)


def _key(victim: Tenant, others: Sequence[Tenant]) -> _Key:
    beside = sorted([(other.model, other.share_pct) for other in others])
    return victim.model, victim.share_pct, tuple(beside)
