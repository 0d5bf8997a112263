"""What one executor hosts, and the steps towards what it should. Decides; does not act."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from glet.plan.layout import PlacedGpulet
from glet.types.plan import ModelShare
from glet.wire.messages import (
    AddGpulet,
    GpuletPhase,
    LatencyPoints,
    Limits,
    LoadedPhase,
    LoadModel,
    ModelCounters,
    ModelSource,
    RemoveGpulet,
    Step,
    StepDone,
    UnloadModel,
    UpdateModel,
)

HANG_FACTOR = 20.0


@dataclass
class HostedModel:
    """A model on a gpulet. `retired_seq`: the state that told frontends to leave it."""

    number: int
    source: ModelSource
    share: ModelShare
    limits: Limits
    state: LoadedPhase = "loading"
    latency_ms: LatencyPoints = ()
    error: str = ""
    retired_seq: int | None = None


@dataclass
class HostedGpulet:
    """A gpulet that an executor was told to add."""

    placed: PlacedGpulet
    state: GpuletPhase = "starting"
    error: str = ""
    retired_seq: int | None = None
    models: dict[str, HostedModel] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """A model that a gpulet should have: where it comes from and how it is limited."""

    number: int
    source: ModelSource
    share: ModelShare
    limits: Limits
    latency_ms: LatencyPoints


@dataclass(frozen=True)
class Room:
    """What decisions may know of the world.

    `wanted_models` gives the loadable models of a gpulet, the ones to load first in front.
    `released` says whether all frontends have seen the state of that number.
    """

    kind: str
    drain_ms: float
    wanted_models: Callable[[PlacedGpulet], Sequence[Wanted]]
    released: Callable[[int], bool]


def missing_step(
    hosted: Mapping[int, HostedGpulet], wanted: Sequence[PlacedGpulet], room: Room, step: int
) -> Step | None:
    """The first step towards what is wanted and not there, or None."""
    for placed in wanted:
        if placed.error:
            continue
        gpulet = hosted.get(placed.number)
        if gpulet is None:
            return AddGpulet(
                step=step,
                gpulet=placed.number,
                kind=room.kind,
                share_pct=placed.share_pct,
                cores=placed.cores,
            )
        if gpulet.state == "ready":
            missing = _missing_model(gpulet, room.wanted_models(placed), step)
            if missing is not None:
                return missing
    return None


def surplus_step(hosted: Mapping[int, HostedGpulet], room: Room, step: int) -> Step | None:
    """The first step that ends what is retired and released by all frontends, or None."""
    for number, gpulet in hosted.items():
        if gpulet.retired_seq is not None:
            if room.released(gpulet.retired_seq):
                return RemoveGpulet(step=step, gpulet=number, drain_ms=room.drain_ms)
            continue
        for model in gpulet.models.values():
            if model.retired_seq is not None and room.released(model.retired_seq):
                return UnloadModel(
                    step=step, gpulet=number, model=model.number, drain_ms=room.drain_ms
                )
    return None


def retire(hosted: dict[int, HostedGpulet], wanted: Sequence[PlacedGpulet], seq: int) -> bool:
    """Marks what is not wanted any more as draining since state `seq`; whether anything changed.

    For when nothing is missing: make before break. What failed is only forgotten: the executor has
    nothing of it.
    """
    keep = {placed.number: {share.model for share in placed.models} for placed in wanted}
    changed = False
    for number, gpulet in list(hosted.items()):
        if number not in keep and gpulet.retired_seq is None:
            if gpulet.state == "failed":
                del hosted[number]
            gpulet.retired_seq, gpulet.state = seq, "draining"
            changed = True
        changed |= _retire_models(gpulet, keep.get(number, set()), seq)
    return changed


def hung(
    hosted: Mapping[int, HostedGpulet], counters: Sequence[ModelCounters], limit_ms: float
) -> HostedModel | None:
    """A model with a batch that has been running beyond any doubt, or None.

    That is `limit_ms`, or HANG_FACTOR times its longest batch where that is more.
    """
    running = {(c.gpulet, c.model): c.running_ms for c in counters}
    for number, gpulet in hosted.items():
        for model in gpulet.models.values():
            longest_ms = max((ms for _, ms in model.latency_ms), default=0.0)
            if running.get((number, model.number), 0.0) > max(limit_ms, HANG_FACTOR * longest_ms):
                return model
    return None


def record_start(hosted: dict[int, HostedGpulet], step: Step, placed: PlacedGpulet) -> None:
    """Notes that a step was sent; `placed` is its gpulet as it was planned."""
    if isinstance(step, AddGpulet):
        hosted[step.gpulet] = HostedGpulet(placed=placed)
    elif isinstance(step, LoadModel):
        share = next(share for share in placed.models if share.model == step.source.name)
        hosted[step.gpulet].models[step.source.name] = HostedModel(
            number=step.model, source=step.source, share=share, limits=step.limits
        )


def record_end(hosted: dict[int, HostedGpulet], step: Step, done: StepDone) -> None:
    """Notes how a step ended."""
    gpulet = hosted[step.gpulet]
    if isinstance(step, RemoveGpulet):
        del hosted[step.gpulet]
    elif isinstance(step, AddGpulet):
        gpulet.state, gpulet.error = ("failed" if done.error else "ready"), done.error
    else:
        model = next(m for m in gpulet.models.values() if m.number == step.model)
        if isinstance(step, UnloadModel):
            del gpulet.models[model.source.name]
        elif isinstance(step, UpdateModel):
            # A refused update is not tried again: the model serves on as it was.
            model.limits, model.error = step.limits, done.error
        else:
            model.latency_ms, model.error = done.latency_ms, done.error
            if model.retired_seq is None or done.error:
                model.state = "failed" if done.error else "ready"


def _retire_models(gpulet: HostedGpulet, keep: set[str], seq: int) -> bool:
    changed = False
    for name, model in list(gpulet.models.items()):
        if name not in keep and model.retired_seq is None:
            if model.state == "failed":
                del gpulet.models[name]
            model.retired_seq, model.state = seq, "draining"
            changed = True
    return changed


def _missing_model(gpulet: HostedGpulet, wanted: Sequence[Wanted], step: int) -> Step | None:
    number = gpulet.placed.number
    for model in wanted:
        loaded = gpulet.models.get(model.source.name)
        if loaded is None:
            return LoadModel(
                step=step,
                gpulet=number,
                model=model.number,
                source=model.source,
                limits=model.limits,
                latency_ms=model.latency_ms,
            )
        if loaded.state == "ready" and loaded.limits != model.limits:
            return UpdateModel(
                step=step,
                gpulet=number,
                model=loaded.number,
                limits=model.limits,
                latency_ms=loaded.latency_ms,
            )
    return None
