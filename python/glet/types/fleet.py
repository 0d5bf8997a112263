"""What autoscalers see and say: replicas of models that share a quota of units.

A unit is what one device is counted in: a vCPU, a slice of a GPU, a step of share.
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec


class BatchLatency(msgspec.Struct, frozen=True, kw_only=True):
    """A model with `replicas` of its units together runs `batch` requests in `latency_ms`."""

    replicas: int
    batch: int
    latency_ms: float


class FleetJob(msgspec.Struct, frozen=True, kw_only=True):
    """One model: its objective, its limits, and what the last time brought.

    `percentile` (0..1) of its requests shall be answered within `slo_ms`. A replica takes `units`.
    `replicas` serve now, `starting` do not yet, `target` is what was asked for last; while
    `changing`, the last target is not reached yet.

    `arrivals` are requests per whole interval of the observation, the newest last, refused ones
    included, and `so_far` those since the last whole interval, None where nobody counts them.
    `recent_rps`, `mean_ms` (of answers; None without any), `violated`, `dropped` (parts
    of the requests, 0..1: late or refused, and refused) and `busy` (of the replicas' time, 0..1)
    are over the look-back. `outstanding` requests wait or run now. `accept` is the part of the
    requests that is let in.

    `processing_ms` is the time of one request on one replica as measured, 0 where nothing was;
    `nominal_ms` is what its owner says. `rate_limit_rps` is what one replica lets through, 0 for no
    limit. For a model that batches, `batches` says what its units together can do; processing time
    and the number of replicas as parallel servers mean nothing then.
    """

    model: str
    slo_ms: float
    percentile: float = 0.99
    weight: float = 1.0
    units: int = 1
    min_replicas: int = 1
    max_replicas: int = 100
    replicas: int = 1
    starting: int = 0
    target: int = 1
    changing: bool = False
    arrivals: tuple[float, ...] = ()
    so_far: float | None = None
    recent_rps: float = 0.0
    mean_ms: float | None = None
    violated: float = 0.0
    dropped: float = 0.0
    busy: float = 0.0
    outstanding: int = 0
    accept: float = 1.0
    processing_ms: float = 0.0
    nominal_ms: float = 0.0
    rate_limit_rps: float = 0.0
    batches: tuple[BatchLatency, ...] = ()


class FleetObservation(msgspec.Struct, frozen=True, kw_only=True):
    """All models that share `quota` units at `now_s`, in a fixed order.

    `arrivals` of the jobs are per `interval_s`, counted from time 0; means are over `lookback_s`.
    A replica that is asked for now helps after `start_s` where every unit is in use, and after
    `start_free_s` where one is free.
    """

    now_s: float
    quota: int
    interval_s: float = 60.0
    lookback_s: float = 30.0
    start_s: float = 65.0
    start_free_s: float = 35.0
    jobs: tuple[FleetJob, ...] = ()

    @property
    def free(self) -> int:
        """Units that no target claims; below 0 when the quota shrank."""
        return self.quota - sum(job.units * job.target for job in self.jobs)


class FleetTargets(msgspec.Struct, frozen=True, kw_only=True):
    """Replicas wanted, absolute, by model; a model that is not named stays as it is.

    With the targets of the others they never add up to more than the quota: who grows by what
    another gives up is performed after it. `accept` is the part of the requests to let in, by
    model; not named: as before. `why` is a few words. `errors` are what went wrong, one line each:
    then the targets are a fallback.
    """

    replicas: Mapping[str, int] = {}
    accept: Mapping[str, float] = {}
    why: str = ""
    errors: tuple[str, ...] = ()


class Autoscaler(Protocol):
    """Observation -> targets. Pure: no clock and no randomness of its own, but it remembers.

    The same observations in the same order give the same targets. Who has slower parts (a stage
    every 300 s) tells them by `now_s`.
    """

    @property
    def name(self) -> str: ...

    @property
    def interval_s(self) -> float:
        """It is to be asked every so many seconds, the first time after the first of them."""

    def targets(self, observation: FleetObservation) -> FleetTargets: ...
