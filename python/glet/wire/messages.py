"""Every message of the control plane, one union per channel. Section 3 of README.md says when.

A message is one msgpack map; its key `op` names the struct. Commands are imperatives, events past.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from glet.types.app import AppSpec
from glet.types.device import DeviceInfo, DeviceUsage
from glet.types.model import ModelMemory, ModelSpec, Signature
from glet.types.plan import GpuletPlan
from glet.types.units import Units
from glet.wire.control_messages import NewPlan, Observed, RoundDone, SetAccept
from glet.wire.counters import AppCounters, FrontendCounters, ModelCounters
from glet.wire.loan_messages import SetLoans
from glet.wire.message import Count, Message, NotNegative, Number
from glet.wire.repository_messages import ModelRead, OfferModel, WithdrawModel

VERSION = 1

Role = Literal["frontend", "backend", "executor", "controller"]
ModelPhase = Literal["known", "compiling", "failed", "unloaded"]
ExecutorPhase = Literal["starting", "ready", "stopping", "dead"]
GpuletPhase = Literal["starting", "ready", "draining", "failed"]
LoadedPhase = Literal["loading", "ready", "draining", "failed"]
Runner = Literal["compiled", "python", "profiled", "graph"]
LatencyPoints = tuple[
    tuple[Annotated[int, Meta(ge=1, le=65536)], Annotated[float, Meta(gt=0.0, le=3.6e6)]], ...
]
"""Points (batch, latency_ms), batches rising; as many and as long as the core's tables take."""


class Hello(Message, frozen=True, kw_only=True):
    """First on every connection, answered in kind."""

    version: int
    role: Role
    name: str = ""


class Refused(Message, frozen=True, kw_only=True):
    """Answer to bytes that are no message of the channel, or out of place."""

    code: Literal["malformed", "hello_required", "version"]
    message: str


class Heartbeat(Message, frozen=True, kw_only=True):
    """The sender lives."""


# ---- frontend <-> backend


class ApplyPlan(Message, frozen=True, kw_only=True):
    """What the device shall look like. Absolute: sending it twice is harmless.

    Models in `keep` serve on here although the plan has them elsewhere, until a later message says
    otherwise: they are not ready there yet.
    """

    gpulets: tuple[GpuletPlan, ...]
    keep: tuple[str, ...] = ()


class StateSeen(Message, frozen=True, kw_only=True):
    """The frontend routes by this state, and sends nothing to what it calls draining.

    Said of states that call something so; of others nobody waits for it.
    """

    seq: Count


class ExecutorState(msgspec.Struct, frozen=True, kw_only=True):
    """A process of the backend. `generation` rises with every start."""

    executor: Number
    generation: Number
    state: ExecutorPhase
    endpoint: str = ""
    pid: int = 0
    restarts: int = 0
    error: str = ""


class LoadedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model on a gpulet, -1 before it is there. `weight` > 0: its part of the model's requests/s.

    `runner` is what computes: a ModelSource's, `compiled` also on a GPU, or `eager` where a CUDA
    graph could not be captured; `note` has the reason why it is not what was meant. `memory_mb` is
    all that it needs, also beyond the known parts; 0 where that is not known.
    """

    name: str
    model: Annotated[int, Meta(ge=-1, le=2**31 - 1)]
    batch: Count
    state: LoadedPhase
    weight: NotNegative = 0.0
    time_share: NotNegative = 1.0
    runner: str = ""
    note: str = ""
    latency_ms: LatencyPoints = ()
    memory_mb: NotNegative = 0.0
    memory: ModelMemory = ModelMemory()
    error: str = ""


class GpuletState(msgspec.Struct, frozen=True, kw_only=True):
    """A gpulet: what was asked, what the device could give, what runs there.

    `cores` are of a CPU, `units` of a GPU cut by green contexts.
    """

    gpulet: Number
    executor: Number
    share_pct: Count
    given_pct: NotNegative
    state: GpuletPhase
    cores: tuple[int, ...] = ()
    units: Units | None = None
    models: tuple[LoadedModel, ...] = ()
    error: str = ""


class ModelState(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the backend's repository, or one that a plan names and nobody has.

    `unloaded` is one that was withdrawn; `error` is the reason, if one was given. `cost` compares
    models with each other: a latency where one is known, else the file's size.
    """

    name: str
    state: ModelPhase
    spec: ModelSpec | None = None
    cost: NotNegative = 0.0
    error: str = ""


class AppState(msgspec.Struct, frozen=True, kw_only=True):
    """An app of the backend's repository; without `spec` it is not sound, and `error` says why."""

    name: str
    spec: AppSpec | None = None
    error: str = ""
    unloaded: bool = False


class BackendState(Message, frozen=True, kw_only=True):
    """Everything about one device. `incarnation` is new with every start of the backend.

    `plan` and `keep` are the last that were applied. `served` is the last plan that was there as a
    whole; while `error` says why `plan` cannot be, all of `served` stays. `in_use_s` counts the
    seconds in which the device had an executor; `usage` is None where it is not known.
    """

    seq: Count
    name: str
    incarnation: str
    number: Number
    device: DeviceInfo
    plan: tuple[GpuletPlan, ...] = ()
    keep: tuple[str, ...] = ()
    served: tuple[GpuletPlan, ...] = ()
    error: str = ""
    in_use_s: NotNegative = 0.0
    usage: DeviceUsage | None = None
    executors: tuple[ExecutorState, ...] = ()
    gpulets: tuple[GpuletState, ...] = ()
    models: tuple[ModelState, ...] = ()
    apps: tuple[AppState, ...] = ()
    counters: tuple[ModelCounters, ...] = ()


# ---- backend <-> executor


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The plan's side of a queue. `linger_ms`: how long its oldest request waits for company.

    `slowdown`: how many times longer an emulated device takes, for the neighbours it has. `slo_ms`:
    what a request has from arrival to deadline, 0 where that is not known; such a model's gpulet
    lends its share to nobody before requests have come.
    """

    batch: int
    time_share: NotNegative
    capacity: int
    margin_ms: NotNegative
    linger_ms: NotNegative = 0.0
    slowdown: NotNegative = 1.0
    slo_ms: NotNegative = 0.0


class ModelSource(msgspec.Struct, frozen=True, kw_only=True):
    """What an executor needs to load a model. `path` is the compiled package or the entry's folder.

    Runner `graph` is a network of torch on a GPU: compiled for it in `library`, else captured into
    CUDA graphs; `note` says why it is not compiled where it was to be. `compute_ms` is what a
    `profiled` runner takes.
    """

    name: str
    runner: Runner
    signature: Signature
    slo_ms: float
    max_batch: int
    path: str = ""
    library: str = ""
    note: str = ""
    compute_ms: LatencyPoints = ()


class AddGpulet(Message, frozen=True, kw_only=True):
    """`cores` are of a CPU; `units` of the GPU `device`, counted as the executor sees them.

    `priority` is of a GPU's streams: lower runs first, 0 is usual, and it stays.
    """

    step: int
    gpulet: int
    kind: str
    share_pct: int
    cores: tuple[int, ...]
    device: int = 0
    units: Units | None = None
    priority: int = 0


class ModelFit(msgspec.Struct, frozen=True, kw_only=True):
    """A model of a gpulet that changes its share.

    `known`: `latency_ms` is that of the new share. Otherwise it is the old one, until measured.
    """

    model: int
    limits: Limits
    latency_ms: LatencyPoints
    known: bool = True


class ResizeGpulet(Message, frozen=True, kw_only=True):
    """The gpulet's worker switches between two batches; nothing that waits is lost.

    `models` are those it has, fitted to the new share in the same step.
    """

    step: int
    gpulet: int
    kind: str
    share_pct: int
    cores: tuple[int, ...]
    device: int = 0
    units: Units | None = None
    models: tuple[ModelFit, ...] = ()


class RemoveGpulet(Message, frozen=True, kw_only=True):
    step: int
    gpulet: int
    drain_ms: NotNegative


class LoadModel(Message, frozen=True, kw_only=True):
    """Without `latency_ms` the executor measures."""

    step: int
    gpulet: int
    model: int
    source: ModelSource
    limits: Limits
    latency_ms: LatencyPoints = ()


class UpdateModel(Message, frozen=True, kw_only=True):
    """Without `latency_ms` the executor measures, up to `max_batch`, between other batches."""

    step: int
    gpulet: int
    model: int
    max_batch: int
    limits: Limits
    latency_ms: LatencyPoints = ()


class UnloadModel(Message, frozen=True, kw_only=True):
    step: int
    gpulet: int
    model: int
    drain_ms: NotNegative


Step = AddGpulet | ResizeGpulet | RemoveGpulet | LoadModel | UpdateModel | UnloadModel | SetLoans


class Steps(Message, frozen=True, kw_only=True):
    """Several that go together: performed in this order, answered with one StepsDone."""

    steps: Annotated[tuple[Step, ...], Meta(min_length=1)]


class ExecutorReady(Message, frozen=True, kw_only=True):
    """The executor's data socket is bound."""

    executor: int
    generation: int
    endpoint: str


class StepDone(Message, frozen=True, kw_only=True):
    """A step ended; with an error nothing of it remains.

    `latency_ms` is set by LoadModel and UpdateModel; the rest by LoadModel. `memory_mb`: what
    the model's weights take, 0 where that is not known; `used_mb`: all that it takes.
    """

    step: int
    error: str = ""
    latency_ms: LatencyPoints = ()
    memory_mb: NotNegative = 0.0
    used_mb: NotNegative = 0.0
    runner: str = ""
    note: str = ""
    memory: ModelMemory = ModelMemory()


class StepsDone(Message, frozen=True, kw_only=True):
    """All steps of a message ended, in its order; also those after one that failed."""

    done: tuple[StepDone, ...]


class ExecutorBeat(Message, frozen=True, kw_only=True):
    """The executor lives, and this is what it counted."""

    outstanding: Count
    counters: tuple[ModelCounters, ...] = ()


# ---- frontend <-> controller


class FrontendReport(Message, frozen=True, kw_only=True):
    """Some times a second: what a frontend counted, and all that its backends told it.

    `incarnation` is new with every start of the frontend; `silent` are backends not heard for a
    while. `sent_s` is the frontend's clock. States come without their `models`: with many devices
    these would be most of it, and `slo_ms` and `max_batch` are what is needed of them.
    """

    name: str
    incarnation: str
    sent_s: Annotated[float, Meta(ge=0.0, le=1e9)]
    models: tuple[FrontendCounters, ...] = ()
    apps: tuple[AppCounters, ...] = ()
    states: tuple[BackendState, ...] = ()
    silent: tuple[str, ...] = ()


FrontendToBackend = Hello | Refused | Heartbeat | ApplyPlan | StateSeen | OfferModel | WithdrawModel
BackendToFrontend = Hello | Refused | BackendState | ModelRead
BackendToExecutor = (
    Hello
    | Refused
    | Heartbeat
    | AddGpulet
    | ResizeGpulet
    | RemoveGpulet
    | LoadModel
    | UpdateModel
    | UnloadModel
    | SetLoans
    | Steps
)
ExecutorToBackend = Hello | Refused | ExecutorReady | StepDone | StepsDone | ExecutorBeat
FrontendToController = Hello | Refused | Heartbeat | FrontendReport
ControllerToFrontend = Hello | Refused | NewPlan | SetAccept | RoundDone | Observed
