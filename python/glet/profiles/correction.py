"""What a profile gets wrong, learnt while serving: measured over profiled latency.

A profile was measured once, on another machine of the type or under another driver. What runs now
corrects it, per type of device and model; what neighbours do to each other corrects the model of
interference (interference_residuals).
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from glet.errors import ProfileError
from glet.profiles.device_profile import DeviceProfile
from glet.profiles.interference import Interference, Tenant
from glet.profiles.interference_residuals import Observation, Residuals, corrected

# Beyond these a measurement is a stall or a mistake, not a property of the model.
LEAST_FACTOR, MOST_FACTOR = 0.5, 3.0
# What a sample may move the estimate by, as a part: one stalled second is not believed.
MOST_STEP = 0.2
SMOOTHING = 0.2
# An estimate that nobody confirms goes half its way back to the profile in this time.
HALF_LIFE_S = 600.0
# A correction that is planned with changes by at least this: the plan must not follow noise.
DEAD_BAND = 0.08
# Neighbours that are busy for a larger part of the time count as running beside.
BUSY = 0.5


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """Latencies of a model on a type of device are planned `factor` times as long as profiled.

    `beside` is (model, share in percent) of its neighbours where the factor is for those only.
    """

    device_type: str
    model: str
    factor: float
    beside: tuple[tuple[str, int], ...] = ()


class Sample(NamedTuple):
    """What a model's batches took on a gpulet, over what the profile says for it alone.

    `others` are the tenants of neighbouring gpulets, one for each that ran, and `busy` the largest
    part of the time that one of them did.
    """

    device_type: str
    tenant: Tenant
    ratio: float
    others: tuple[Tenant, ...] = ()
    busy: float = 0.0


class _Track(NamedTuple):
    log: float = 0.0
    used: float = 1.0
    seen_s: float = 0.0


class Corrections(msgspec.Struct, frozen=True, kw_only=True):
    """Robust moving means of log(measured / profiled). Immutable: observed() gives the next one.

    A sample moves the mean by a part SMOOTHING of its distance, MOST_STEP at most; unseen means
    decay. What is planned with (`used`) follows when the mean is DEAD_BAND away from it.
    """

    tracks: dict[tuple[str, str], _Track] = {}
    residuals: dict[str, Residuals] = {}
    used: dict[str, Residuals] = {}

    def observed(
        self, now_s: float, samples: Iterable[Sample], base: Mapping[str, Interference]
    ) -> "Corrections":
        """With these samples; `base` is what predicts the slowdown, by type of device."""
        tracks = {key: _decayed(track, now_s) for key, track in self.tracks.items()}
        beside: dict[str, list[Observation]] = {}
        for sample in samples:
            if not (math.isfinite(sample.ratio) and sample.ratio > 0.0):
                continue
            key = sample.device_type, sample.tenant.model
            slowdown = base[sample.device_type].slowdown(sample.tenant, sample.others)
            own = math.exp(tracks[key].log) if key in tracks else 1.0
            if sample.others and sample.busy >= BUSY:
                seen = Observation(sample.tenant, sample.others, sample.ratio / own, slowdown)
                beside.setdefault(sample.device_type, []).append(seen)
            else:
                expected = 1.0 + (slowdown - 1.0) * sample.busy
                tracks[key] = _moved(tracks.get(key, _Track()), sample.ratio / expected, now_s)
        residuals, used = dict(self.residuals), dict(self.used)
        for name, seen_here in beside.items():
            residuals[name] = residuals.get(name, Residuals()).observed(seen_here)
            if _differs(residuals[name], used.get(name, Residuals()), seen_here):
                used[name] = residuals[name]
        kept = {key: track for key, track in tracks.items() if abs(track.log) > 1e-6}
        return Corrections(tracks=kept, residuals=residuals, used=used)

    def factor(self, device_type: str, model: str) -> float:
        """What the profile's latencies of the model alone are multiplied by."""
        track = self.tracks.get((device_type, model))
        return 1.0 if track is None else track.used

    def interference(self, device_type: str, base: Interference) -> Interference:
        """`base`, or what was learnt about it."""
        found = self.used.get(device_type)
        return base if found is None else corrected(base, found)

    def notes(self) -> tuple[Correction, ...]:
        """All that differ from the profile, for the record."""
        alone = [
            Correction(device_type=name, model=model, factor=track.used)
            for (name, model), track in sorted(self.tracks.items())
            if track.used != 1.0
        ]
        beside = [
            Correction(device_type=name, model=key[0], factor=track.factor, beside=key[2])
            for name, residuals in sorted(self.used.items())
            for key, track in sorted(residuals.by_set.items(), key=lambda pair: pair[0])
        ]
        return (*alone, *beside)


def corrected_profile(
    profile: DeviceProfile, factors: Mapping[str, float], max_batch: Mapping[str, int]
) -> DeviceProfile:
    """The same with latencies times a factor, and batches up to `max_batch`, by model."""
    models = {
        name: profile.model(name).adjusted(factors.get(name, 1.0), max_batch.get(name, 0))
        for name in profile.models()
    }
    return DeviceProfile(
        profile.type,
        models,
        memory_mb=profile.memory_mb,
        where=profile.where,
        shares=profile.shares,
    )


def measured_ratio(
    profile: DeviceProfile,
    tenant: Tenant,
    latency_ms: tuple[tuple[int, float], ...],
    correction: float,
) -> float | None:
    """Measured over profiled latency; None where the profile or the queue has no such point.

    `latency_ms` are the points (batch, latency) that the queue predicts with, `correction` what it
    measured over that.
    """
    predicted_ms = next((ms for batch, ms in latency_ms if batch >= tenant.batch), None)
    if predicted_ms is None:
        return None
    try:
        profiled_ms = profile.model(tenant.model).latency_ms(tenant.share_pct, tenant.batch)
    except ProfileError:
        return None
    return correction * predicted_ms / profiled_ms


def _moved(track: _Track, ratio: float, now_s: float) -> _Track:
    wanted = math.log(min(max(ratio, LEAST_FACTOR), MOST_FACTOR))
    step = min(max(SMOOTHING * (wanted - track.log), -MOST_STEP), MOST_STEP)
    return _used(track.log + step, track.used, now_s)


def _decayed(track: _Track, now_s: float) -> _Track:
    part = 0.5 ** (max(0.0, now_s - track.seen_s) / HALF_LIFE_S)
    return _used(track.log * part, track.used, now_s)


def _used(log: float, used: float, now_s: float) -> _Track:
    if abs(log - math.log(used)) > math.log(1.0 + DEAD_BAND):
        used = math.exp(log)
    # Close to the profile the profile is the better guess.
    elif abs(log) < math.log(1.0 + DEAD_BAND) / 4.0:
        used = 1.0
    return _Track(log, used, now_s)


def _differs(new: Residuals, used: Residuals, seen: Iterable[Observation]) -> bool:
    return any(
        abs(math.log(new.factor(s.victim, s.others) / used.factor(s.victim, s.others)))
        > math.log(1.0 + DEAD_BAND)
        for s in seen
    )
