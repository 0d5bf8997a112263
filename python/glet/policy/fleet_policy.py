"""Policy `fleet`: an autoscaler drives shares of devices. A unit is a step of share."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import numpy as np

from glet.errors import ProfileError
from glet.policy.fleet.latency import mdc_latency_s
from glet.policy.headroom import padded_rps
from glet.policy.policy import Target, Targets
from glet.profiles.device_profile import ModelProfile
from glet.types.fleet import Autoscaler, BatchLatency, FleetJob, FleetObservation
from glet.types.observation import ModelObservation, Observation

# A rate is known to this power of two of what the units could do at most.
HALVINGS = 12
KEPT_INTERVALS = 2000
# The shortest time over which arrivals are counted for head room.
WINDOW_S = 0.25
# Batches that are looked at: doubling loses little and keeps tables small.
DOUBLING = 2


class FleetPolicySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Devices are counted in units of `step_pct`. Arrivals are counted per `interval_s`.

    Of the quota `spare` (a part) is kept free, because shares of models do not fill devices
    exactly. A gpulet that is asked for now serves after `start_s`.
    """

    step_pct: int = 10
    interval_s: float = 10.0
    start_s: float = 2.0
    percentile: float = 0.99
    spare: float = 0.0
    min_rps: float = 1.0


class _Seen(NamedTuple):
    """Requests by whole interval, in the current one, and units as last asked for."""

    whole: tuple[float, ...] = ()
    so_far: float = 0.0
    target: int = 0
    accept: float = 1.0


def batches_of(
    profile: ModelProfile, step_pct: int, devices: int, factor: float = 1.0
) -> tuple[BatchLatency, ...]:
    """What 1, 2, ... steps of share can do with a model, over that many devices.

    n steps of one device are a share of n * step_pct; k whole devices run k batches at once.
    Shares that were not measured are left out. Latencies are multiplied by `factor`. Raises
    ProfileError where no share of the steps was measured.
    """
    found = []
    whole = 100 // step_pct
    for steps in range(1, whole + 1):
        share_pct = steps * step_pct
        if not profile.shares[0] <= share_pct <= profile.shares[-1]:
            continue
        row = profile.tables((share_pct,))[0] * factor
        copies = devices if steps == whole else 1
        found += [
            BatchLatency(
                replicas=steps * many, batch=batch * many, latency_ms=float(row[batch - 1])
            )
            for many in range(1, copies + 1)
            for batch in _doubling(profile.max_batch)
        ]
    if not found:
        raise ProfileError(f"profile of {profile.name!r} has no share in steps of {step_pct} %")
    return tuple(found)


def capacity_rps(job: FleetJob, replicas: int) -> float:
    """The highest rate at which so many units answer within the objective; 0 for none.

    For each batch size at once, by bisection between 0 and all of the units' time.
    """
    points = [point for point in job.batches if point.replicas <= replicas]
    if not points:
        return 0.0
    sizes = np.array([float(point.batch) for point in points])
    took_s = np.array([point.latency_ms / 1000.0 for point in points])
    low, high = np.zeros(len(points)), sizes / took_s
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        late = mdc_latency_s(middle / sizes, took_s, 1.0, job.percentile) > job.slo_ms / 1000.0
        low, high = np.where(late, low, middle), np.where(late, middle, high)
    return float(low.max())


class FleetPolicy:
    """The autoscaler says how many units each model gets; the planner is asked for the rate that
    these answer within the objective (`capacity_rps`), and finds where.

    So the same autoscalers run here and in the simulator. A model without `batches` is planned for
    its average rate with head room. What the autoscaler lets in (`accept`) is passed on for the
    frontends; the rate to plan for is what the units carry, whatever is let in.
    """

    name = "fleet"
    plans = True

    def __init__(
        self,
        autoscaler: Autoscaler,
        settings: FleetPolicySettings,
        batches: Mapping[str, tuple[BatchLatency, ...]],
        weights: Mapping[str, float] | None = None,
    ) -> None:
        """`batches` by model are what profiles say: batches_of()."""
        self._autoscaler, self._settings = autoscaler, settings
        self._batches, self._weights = batches, weights or {}
        self._seen: dict[str, _Seen] = {}
        self._began_s: float | None = None
        self._last_s = 0.0
        self._due_s = 0.0
        self.errors: tuple[str, ...] = ()

    def targets(self, observation: Observation) -> Targets:
        self._count(observation)
        fleet = self.fleet_observation(observation)
        if fleet.now_s >= self._due_s - 1e-6:
            # From when it was due, not from now: rounds come a little late, and that would add up.
            self._due_s += self._autoscaler.interval_s
            if self._due_s <= fleet.now_s:
                self._due_s = fleet.now_s + self._autoscaler.interval_s
            said = self._autoscaler.targets(fleet)
            self.errors = said.errors
            for job in fleet.jobs:
                count = said.replicas.get(job.model, job.target)
                part = said.accept.get(job.model, job.accept)
                self._seen[job.model] = self._seen[job.model]._replace(target=count, accept=part)
        jobs = {job.model: job for job in fleet.jobs}
        found = []
        for model in sorted(observation.models, key=lambda one: one.model):
            window_s = max(WINDOW_S, model.slo_ms / 1000.0)
            rate_rps = padded_rps(model.mean_rps, window_s, self._settings.percentile)
            accept = 1.0
            if model.model in jobs:
                seen = self._seen[model.model]
                rate_rps = capacity_rps(jobs[model.model], seen.target)
                accept = seen.accept
            rate_rps = max(self._settings.min_rps, rate_rps)
            found.append(
                Target(model=model.model, rate_rps=rate_rps, slo_ms=model.slo_ms, accept=accept)
            )
        return tuple(found)

    def fleet_observation(self, observation: Observation) -> FleetObservation:
        """The same picture in units: models with `batches`, quota of the devices that live."""
        settings = self._settings
        alive = sum(device.alive for device in observation.devices)
        quota = math.floor(alive * (100 // settings.step_pct) * (1.0 - settings.spare))
        jobs = [
            self._job(observation, model, quota)
            for model in sorted(observation.models, key=lambda one: one.model)
            if model.model in self._batches
        ]
        return FleetObservation(
            now_s=observation.now_s - (self._began_s or 0.0),
            quota=quota,
            interval_s=settings.interval_s,
            lookback_s=observation.span_s,
            start_s=settings.start_s,
            start_free_s=settings.start_s,
            jobs=tuple(jobs),
        )

    def _job(self, observation: Observation, model: ModelObservation, quota: int) -> FleetJob:
        seen = self._seen.get(model.model, _Seen())
        given_pct = sum(
            gpulet.share_pct / max(1, len(gpulet.models))
            for gpulet in observation.plan.gpulets
            if any(share.model == model.model for share in gpulet.models)
        )
        serving = round(given_pct / self._settings.step_pct)
        ended = model.outcomes
        refused = ended.late + ended.full
        total = max(1, refused + ended.ok + ended.failed)
        batches = self._batches[model.model]
        most = max(1, min(quota, max(point.replicas for point in batches)))
        return FleetJob(
            model=model.model,
            slo_ms=model.slo_ms,
            percentile=self._settings.percentile,
            weight=self._weights.get(model.model, 1.0),
            max_replicas=most,
            replicas=serving,
            target=seen.target or max(1, min(serving, most)),
            arrivals=seen.whole,
            so_far=seen.so_far,
            recent_rps=model.offered_rps,
            mean_ms=model.p50_ms,
            violated=refused / total,
            dropped=ended.full / total,
            busy=_busy(observation, model.model),
            outstanding=model.outstanding,
            accept=seen.accept,
            batches=batches,
        )

    def _count(self, observation: Observation) -> None:
        """Arrivals since the last call, by whole interval; rates stand for the time between."""
        if self._began_s is None:
            self._began_s = self._last_s = observation.now_s
        settings = self._settings
        before_s, now_s = self._last_s - self._began_s, observation.now_s - self._began_s
        self._last_s = observation.now_s
        for model in observation.models:
            seen = self._seen.get(model.model, _Seen())
            whole, so_far, at_s = seen.whole, seen.so_far, before_s
            while now_s - at_s > 1e-9:
                end_s = (math.floor(at_s / settings.interval_s + 1e-9) + 1) * settings.interval_s
                until_s = min(now_s, end_s)
                so_far += model.offered_rps * (until_s - at_s)
                if until_s >= end_s - 1e-9:
                    whole, so_far = (*whole[1 - KEPT_INTERVALS :], so_far), 0.0
                at_s = until_s
            self._seen[model.model] = seen._replace(whole=whole, so_far=so_far)


def _busy(observation: Observation, model: str) -> float:
    """The most that a gpulet with the model was busy."""
    return max(
        (
            gpulet.busy
            for device in observation.devices
            for gpulet in device.gpulets
            if any(tenant.model == model for tenant in gpulet.models)
        ),
        default=0.0,
    )


def _doubling(most: int) -> list[int]:
    found = [1]
    while found[-1] * DOUBLING <= most:
        found.append(found[-1] * DOUBLING)
    return found if found[-1] == most else [*found, most]
