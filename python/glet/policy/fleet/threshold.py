"""Autoscalers `threshold_v1` and `threshold_v2`: limits on utilisation, and on violations."""

import msgspec

from glet.policy.fleet.grants import Grants
from glet.policy.fleet.numbers import NotNegative, Part, Positive
from glet.types.fleet import FleetJob, FleetObservation, FleetTargets


class LimitsV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Utilisations (0..1): above `two_up` two more, above `one_up` one; below the others fewer."""

    two_up: Part = 0.82
    one_up: Part = 0.8
    one_down: Part = 0.44
    two_down: Part = 0.2


class LimitsV2(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parts of the requests violated, and utilisations: either above, one more; both below, one
    less."""

    violated_high: Part = 0.081
    violated_low: Part = 0.0007
    busy_high: Part = 0.9
    busy_low: Part = 0.32


class ThresholdV1Settings(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="policy",
    tag="threshold_v1",
):
    """`limits` by model, `default` for the others. None goes for `hold_s` after one came."""

    interval_s: Positive = 30.0
    hold_s: NotNegative = 180.0
    default: LimitsV1 = LimitsV1()
    limits: dict[str, LimitsV1] = {}


class ThresholdV2Settings(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="policy",
    tag="threshold_v2",
):
    """`limits` by model, `default` for the others. None goes for `hold_s` after one came."""

    interval_s: Positive = 30.0
    hold_s: NotNegative = 180.0
    default: LimitsV2 = LimitsV2()
    limits: dict[str, LimitsV2] = {}


class Threshold:
    """Moves of one or two replicas when limits are crossed (the rules of DRAFAS, tuned there).

    A move of two that is not possible is one of one. A move down is not made within `hold_s` of the
    last one up.
    """

    def __init__(self, settings: ThresholdV1Settings | ThresholdV2Settings) -> None:
        self._settings = settings
        self._grants = Grants()
        self._rose_s: dict[str, float] = {}
        self.interval_s = settings.interval_s
        self.name = "threshold_v1" if isinstance(settings, ThresholdV1Settings) else "threshold_v2"

    def targets(self, observation: FleetObservation) -> FleetTargets:
        wishes = {}
        for job in observation.jobs:
            move = self._move(job)
            held = observation.now_s - self._rose_s.get(job.model, -1e18) < self._settings.hold_s
            if move < 0 and held:
                move = 0
            wishes[job.model] = max(job.min_replicas, job.target + move)
        found = self._grants.granted(observation, wishes, 1, "limit crossed")
        for job in observation.jobs:
            if found.replicas.get(job.model, job.target) > job.target:
                self._rose_s[job.model] = observation.now_s
        return found

    def _move(self, job: FleetJob) -> int:
        settings = self._settings
        if isinstance(settings, ThresholdV1Settings):
            return _move_v1(job, settings.limits.get(job.model, settings.default))
        return _move_v2(job, settings.limits.get(job.model, settings.default))


def _move_v1(job: FleetJob, limits: LimitsV1) -> int:
    if job.busy > limits.one_up:
        return 2 if job.busy > limits.two_up else 1
    if job.busy < limits.one_down:
        return -2 if job.busy < limits.two_down else -1
    return 0


def _move_v2(job: FleetJob, limits: LimitsV2) -> int:
    if job.violated > limits.violated_high or job.busy > limits.busy_high:
        return 1
    return -(job.violated < limits.violated_low and job.busy < limits.busy_low)
