"""Autoscaler `one_shot`: in proportion to how far latency is from the objective."""

import math

import msgspec

from glet.policy.fleet.counters import Counters
from glet.policy.fleet.grants import Grants
from glet.policy.fleet.numbers import Count, Positive
from glet.types.fleet import FleetObservation, FleetTargets


class OneShotSettings(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="policy",
    tag="one_shot",
):
    """Latency has to be above the objective for `up_s`, or not for `down_s`."""

    interval_s: Positive = 10.0
    up_s: Positive = 30.0
    down_s: Positive = 600.0
    trials: Count = 1


class OneShot:
    """ceil(replicas * latency / objective), up and down, as Kubernetes' HPA and Ray Serve do."""

    name = "one_shot"

    def __init__(self, settings: OneShotSettings) -> None:
        self._settings = settings
        self._grants = Grants()
        self._counters = Counters(settings.interval_s, settings.up_s, settings.down_s)
        self.interval_s = settings.interval_s

    def targets(self, observation: FleetObservation) -> FleetTargets:
        fired = self._counters.fired(observation)
        wishes = {
            job.model: max(1, math.ceil(job.target * (job.mean_ms or 0.0) / job.slo_ms))
            for job in observation.jobs
            if job.model in fired.above or job.model in fired.below
        }
        return self._grants.granted(
            observation, wishes, self._settings.trials, "in proportion to latency"
        )
