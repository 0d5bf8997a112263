"""One frozen picture of demand and devices, the same live and in the simulator."""

import msgspec

from glet.types.plan import Plan


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests ended how, within the span of an observation."""

    ok: int = 0
    late: int = 0
    full: int = 0
    failed: int = 0
    unavailable: int = 0
    invalid: int = 0
    cancelled: int = 0


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of a model or an app within the last span, and what became of it.

    `offered_rps` counts every request for it that arrived, `mean_rps` is its moving average and
    `peak_rps` its recent maximum. `goodput_rps` counts answers within their deadline. Latencies
    are those of ok answers, arrival at a frontend to answer; None when there were none.
    `outstanding` requests wait for their answer now, in gpulets or on the way.
    """

    slo_ms: float
    offered_rps: float = 0.0
    mean_rps: float = 0.0
    peak_rps: float = 0.0
    goodput_rps: float = 0.0
    outcomes: Outcomes = Outcomes()
    outstanding: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


class ModelObservation(Demand, frozen=True, kw_only=True):
    """`max_batch` is the largest that the model takes, 0 where it is not known.

    What its apps ask of it is in it.
    """

    model: str
    max_batch: int = 0


class StageObservation(msgspec.Struct, frozen=True, kw_only=True):
    """A stage of an app: `requests` of the model for one of the app, within `budget_ms`."""

    stage: str
    model: str
    requests: int
    budget_ms: float


class AppObservation(Demand, frozen=True, kw_only=True):
    """An app is for who watches: plans are made for its models."""

    app: str
    stages: tuple[StageObservation, ...] = ()


class TenantObservation(msgspec.Struct, frozen=True, kw_only=True):
    """A model on a gpulet. `correction` is measured over predicted batch latency, 1 when unknown.

    `latency_ms` are the points (batch, latency) that its queue predicts with, before correction.
    """

    model: str
    state: str
    batch: int
    served_rps: float = 0.0
    mean_batch: float = 0.0
    waiting: int = 0
    busy: float = 0.0
    correction: float = 1.0
    latency_ms: tuple[tuple[int, float], ...] = ()
    error: str = ""


class GpuletObservation(msgspec.Struct, frozen=True, kw_only=True):
    """A gpulet as it is. `busy` is the part of the span that it ran batches, 0..1."""

    gpulet: int
    share_pct: int
    given_pct: float
    state: str
    busy: float = 0.0
    models: tuple[TenantObservation, ...] = ()
    error: str = ""


class DeviceObservation(msgspec.Struct, frozen=True, kw_only=True):
    """A device as its backend says. Without `alive` all of it is as it was last heard.

    It gives shares in steps of `granularity_pct`: whole cores, units of a GPU; but none of
    `bad_units`, counts of them.
    """

    device: int
    name: str
    type: str
    kind: str
    alive: bool
    emulated: bool = False
    granularity_pct: float = 1.0
    bad_units: tuple[int, ...] = ()
    memory_mb: int = 0
    gpulets: tuple[GpuletObservation, ...] = ()

    @property
    def in_use(self) -> bool:
        """Whether it hosts anything: such a device is paid for."""
        return bool(self.gpulets)


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a control round may know. `span_s` is what rates and counts are over.

    `plan` is what the backends say they were told, device by device.
    """

    now_s: float
    span_s: float
    models: tuple[ModelObservation, ...] = ()
    apps: tuple[AppObservation, ...] = ()
    devices: tuple[DeviceObservation, ...] = ()
    plan: Plan = Plan()

    def model(self, name: str) -> ModelObservation | None:
        """None for a model that nobody serves."""
        return next((model for model in self.models if model.model == name), None)
