"""Autoscalers `additive` and `aiad`: one replica more, and one less."""

import msgspec

from glet.policy.fleet.counters import Counters
from glet.policy.fleet.grants import Grants
from glet.policy.fleet.numbers import Count, Positive
from glet.types.fleet import FleetObservation, FleetTargets


class AdditiveSettings(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="policy",
    tag="additive",
):
    """One replica more after `up_s` above the objective; never fewer."""

    interval_s: Positive = 10.0
    up_s: Positive = 30.0
    trials: Count = 1


class AiadSettings(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="policy",
    tag="aiad",
):
    """One replica more after `up_s` above the objective, one less after `down_s` not above it."""

    interval_s: Positive = 10.0
    up_s: Positive = 30.0
    down_s: Positive = 600.0
    trials: Count = 1


class Additive:
    """Additive increase, with AiadSettings additive decrease too (AIAD, as in the Faro paper)."""

    def __init__(self, settings: AdditiveSettings | AiadSettings) -> None:
        down_s = settings.down_s if isinstance(settings, AiadSettings) else None
        self.name = "additive" if down_s is None else "aiad"
        self.interval_s = settings.interval_s
        self._trials = settings.trials
        self._counters = Counters(settings.interval_s, settings.up_s, down_s)
        self._grants = Grants()

    def clear(self) -> None:
        """Starts counting anew."""
        self._counters.clear()

    def targets(self, observation: FleetObservation) -> FleetTargets:
        return self._grants.granted(
            observation, self.wishes(observation), self._trials, "one more or less"
        )

    def wishes(self, observation: FleetObservation) -> dict[str, int]:
        """Replicas wanted, by model, of those whose number should change."""
        fired = self._counters.fired(observation)
        target = {job.model: job.target for job in observation.jobs}
        up = {model: target[model] + 1 for model in fired.above}
        return up | {model: max(1, target[model] - 1) for model in fired.below}
