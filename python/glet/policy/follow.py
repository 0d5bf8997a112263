"""Policy `follow`: measured rates with head room; up at once, down after a while."""

import math
from typing import NamedTuple

import msgspec

from glet.policy.headroom import padded_rps, poisson_quantile
from glet.policy.policy import Target, Targets
from glet.types.observation import ModelObservation, Observation
from glet.types.plan import Plan

# A peak that Poisson arrivals at the mean reach this rarely is a rise, not chance.
RISE_QUANTILE = 0.9999
# Standard deviations of an average that are taken for chance.
CHANCE = 2.5


class FollowSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`window_s` is the shortest over which arrivals are counted for head room.

    A target grows when `grow_step` (a part of it) more is needed, and shrinks, to the most of the
    last `shrink_after_s`, when that is `shrink_step` less. Both count beyond what the average over
    `mean_s` varies by chance.
    """

    quantile: float = 0.99
    window_s: float = 0.25
    mean_s: float = 10.0
    grow_step: float = 0.05
    shrink_step: float = 0.1
    shrink_after_s: float = 10.0
    min_rps: float = 1.0


class _Held(NamedTuple):
    """A target, since when its model is known, and what was needed: (time, rate), falling."""

    rate_rps: float
    since_s: float
    recent: tuple[tuple[float, float], ...] = ()


class FollowPolicy:
    """Plans for the moving average, or for the recent maximum where that says that load has risen.

    With Poisson arrivals the maximum of many spans is always above the mean, so a maximum counts
    only when arrivals at the mean would not reach it (RISE_QUANTILE); below the mean it says that
    load has fallen. Head room is padded_rps()
    over the objective or `window_s`, whichever is longer: within its objective a request can wait
    for those before it, and bunches shorter than `window_s` are taken by larger batches.
    """

    name = "follow"
    plans = True

    def __init__(self, settings: FollowSettings) -> None:
        self._settings = settings
        self._held: dict[str, _Held] = {}

    def targets(self, observation: Observation) -> Targets:
        held: dict[str, _Held] = {}
        found = []
        for model in sorted(observation.models, key=lambda model: model.model):
            name = model.model
            needed_rps = self._needed_rps(model, observation.span_s)
            # What was planned before this policy saw anything is held like a target.
            before = self._held.get(name) or _Held(
                _planned_rps(observation.plan, name), observation.now_s
            )
            chance_rps = CHANCE * self._deviation_rps(model)
            held[name] = self._next(before, needed_rps, chance_rps, observation.now_s)
            found.append(Target(model=name, rate_rps=held[name].rate_rps, slo_ms=model.slo_ms))
        self._held = held
        return tuple(found)

    def _needed_rps(self, model: ModelObservation, span_s: float) -> float:
        settings = self._settings
        peak_rps = max(model.peak_rps, model.offered_rps)
        # The average is an estimate itself: it may be too low by chance.
        likely_rps = model.mean_rps + self._deviation_rps(model)
        chance_rps = poisson_quantile(likely_rps * span_s, RISE_QUANTILE) / span_s
        rate_rps = peak_rps if peak_rps > chance_rps else min(model.mean_rps, peak_rps)
        window_s = max(settings.window_s, model.slo_ms / 1000.0)
        return max(settings.min_rps, padded_rps(rate_rps, window_s, settings.quantile))

    def _deviation_rps(self, model: ModelObservation) -> float:
        """Standard deviation of an exponential average of Poisson counts."""
        return math.sqrt(model.mean_rps / (2.0 * self._settings.mean_s))

    def _next(self, held: _Held, needed_rps: float, chance_rps: float, now_s: float) -> _Held:
        settings = self._settings
        first_s = now_s - settings.shrink_after_s
        # Of what was needed before, only what was more can matter.
        higher = [one for one in held.recent if one[0] >= first_s and one[1] > needed_rps]
        recent = (*higher, (now_s, needed_rps))
        rate_rps, most_rps = held.rate_rps, recent[0][1]
        grown = needed_rps > rate_rps * (1.0 + settings.grow_step) + chance_rps
        if grown or rate_rps < settings.min_rps:
            rate_rps = needed_rps
        elif (
            held.since_s <= first_s
            and most_rps < rate_rps * (1.0 - settings.shrink_step) - chance_rps
        ):
            rate_rps = most_rps
        return _Held(rate_rps, held.since_s, recent)


def _planned_rps(plan: Plan, model: str) -> float:
    return sum(s.rate_rps for gpulet in plan.gpulets for s in gpulet.models if s.model == model)
