"""What one executor hosts, and what becomes of it. Decides; does not act."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from glet.plan.layout import PlacedGpulet
from glet.types.model import ModelMemory
from glet.types.plan import ModelShare
from glet.wire.counters import ModelCounters
from glet.wire.loan_messages import Loan, SetLoans
from glet.wire.messages import (
    AddGpulet,
    GpuletPhase,
    LatencyPoints,
    Limits,
    LoadedPhase,
    LoadModel,
    ModelSource,
    RemoveGpulet,
    ResizeGpulet,
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
    runner: str = ""
    note: str = ""
    memory_mb: float = 0.0
    memory: ModelMemory = field(default_factory=ModelMemory)
    error: str = ""
    retired_seq: int | None = None
    # Whether latency_ms is that of the gpulet's present share.
    is_fitted: bool = True


@dataclass
class HostedGpulet:
    """A gpulet that an executor was told to add. `placed` is what it is, `target` what it becomes.

    `refused` is what it could not become; `error` says why.
    """

    placed: PlacedGpulet
    target: PlacedGpulet | None = None
    refused: PlacedGpulet | None = None
    state: GpuletPhase = "starting"
    error: str = ""
    retired_seq: int | None = None
    models: dict[str, HostedModel] = field(default_factory=dict)
    loans: tuple[Loan, ...] = ()

    def placed_with(self, models: tuple[ModelShare, ...]) -> PlacedGpulet:
        """Itself with the models that it should have, of the share that it has by now."""
        return msgspec.structs.replace(self.placed, models=models)


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
    `released` says whether all frontends have seen the state of that number. `fits` says whether
    there is memory for a model on a gpulet, or no hope to get more by ending something, `awaits`
    whether a wanted model is still being compiled.
    """

    kind: str
    drain_ms: float
    wanted_models: Callable[[PlacedGpulet], Sequence[Wanted]]
    released: Callable[[int], bool]
    fits: Callable[[int, str], bool] = lambda gpulet, model: True
    awaits: Callable[[], bool] = lambda: False
    loans: Callable[[Mapping[int, HostedGpulet]], Mapping[int, tuple[Loan, ...]]] = lambda _: {}


def unready(hosted: Mapping[int, HostedGpulet], wanted: Sequence[PlacedGpulet]) -> set[str]:
    """Models that are not ready yet on every gpulet that should have them."""
    waiting = set()
    for placed in wanted:
        gpulet = hosted.get(placed.number)
        there = gpulet.models if gpulet is not None and gpulet.state == "ready" else {}
        ready = {name for name, model in there.items() if model.state == "ready"}
        waiting |= {share.model for share in placed.models} - ready
    return waiting


def failure(hosted: Mapping[int, HostedGpulet], wanted: Sequence[PlacedGpulet]) -> str:
    """Why a step towards what is wanted failed, in one line, or ''."""
    for placed in wanted:
        gpulet = hosted.get(placed.number)
        if gpulet is None:
            continue
        names = {share.model for share in placed.models}
        failed = [m.error for n, m in gpulet.models.items() if n in names and m.state == "failed"]
        error = gpulet.error or next(iter(failed), "")
        if error:
            return error
    return ""


def forget_failures(hosted: dict[int, HostedGpulet]) -> None:
    """For another plan: what failed is tried anew. The executor has nothing of it."""
    for number, gpulet in list(hosted.items()):
        if gpulet.state == "failed":
            del hosted[number]
        elif gpulet.refused is not None:
            gpulet.refused, gpulet.error = None, ""
        for name, model in list(gpulet.models.items()):
            if model.state == "failed":
                del gpulet.models[name]


def retire(
    hosted: dict[int, HostedGpulet],
    wanted: Sequence[PlacedGpulet],
    seq: int,
    stays: Callable[[int, str], bool] = lambda gpulet, model: False,
) -> bool:
    """Marks what is not wanted any more as draining since state `seq`; whether anything changed.

    `stays` says which model has to serve on where it is, although it is not wanted there; its
    gpulet stays with it. What failed is only forgotten: the executor has nothing of it.
    """
    keep = {placed.number: {share.model for share in placed.models} for placed in wanted}
    changed = False
    for number, gpulet in list(hosted.items()):
        wanted_here = keep.get(number, set())
        surplus = gpulet.models.keys() - wanted_here
        stay = {name for name in surplus if stays(number, name)}
        if number not in keep and gpulet.retired_seq is None and not stay:
            if gpulet.state == "failed":
                del hosted[number]
            gpulet.retired_seq, gpulet.state = seq, "draining"
            changed = True
        if surplus - stay:
            changed |= _retire_models(gpulet, wanted_here | stay, seq)
    return changed


def revive(
    hosted: Mapping[int, HostedGpulet], wanted: Sequence[PlacedGpulet], pending: Sequence[Step]
) -> bool:
    """What is wanted again and was not ended yet serves on; whether there was any."""
    changed = False
    for placed in wanted:
        gpulet = hosted.get(placed.number)
        if gpulet is None or gpulet.retired_seq is not None:
            continue
        ending = {
            step.model
            for step in pending
            if isinstance(step, UnloadModel) and step.gpulet == placed.number
        }
        for share in placed.models:
            model = gpulet.models.get(share.model)
            if model is not None and model.state == "draining" and model.number not in ending:
                model.state, model.retired_seq = "ready", None
                changed = True
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
    elif isinstance(step, ResizeGpulet):
        hosted[step.gpulet].target = placed
    elif isinstance(step, LoadModel):
        share = next(share for share in placed.models if share.model == step.source.name)
        hosted[step.gpulet].models[step.source.name] = HostedModel(
            number=step.model, source=step.source, share=share, limits=step.limits
        )


def judged(step: Step, done: StepDone) -> StepDone:
    """The same, failed when a load told no latency: nothing could be planned or said of it."""
    if not isinstance(step, LoadModel) or done.error or done.latency_ms:
        return done
    return msgspec.structs.replace(done, error="the executor measured no latency")


def record_end(hosted: dict[int, HostedGpulet], step: Step, done: StepDone) -> None:
    """Notes how a step ended."""
    gpulet = hosted[step.gpulet]
    if isinstance(step, RemoveGpulet):
        del hosted[step.gpulet]
    elif isinstance(step, AddGpulet):
        gpulet.state, gpulet.error = ("failed" if done.error else "ready"), done.error
    elif isinstance(step, SetLoans):
        gpulet.loans = step.loans
    elif isinstance(step, ResizeGpulet):
        _record_resize(gpulet, step, done)
        for each in hosted.values():  # the core ended those that it was part of
            each.loans = ()
    else:
        model = next(m for m in gpulet.models.values() if m.number == step.model)
        if isinstance(step, UnloadModel):
            del gpulet.models[model.source.name]
        elif isinstance(step, UpdateModel):
            # A refused update is not tried again: the model serves on as it was.
            model.limits, model.error, model.is_fitted = step.limits, done.error, True
            model.latency_ms = done.latency_ms or model.latency_ms
        else:
            model.latency_ms, model.error = done.latency_ms, done.error
            model.runner, model.note = done.runner, done.note
            model.memory_mb, model.memory = done.used_mb, done.memory
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


def _record_resize(gpulet: HostedGpulet, step: ResizeGpulet, done: StepDone) -> None:
    target, gpulet.target = gpulet.target, None
    gpulet.error = done.error
    if target is None or done.error:
        gpulet.refused = target
        return
    gpulet.placed = target
    fits = {fit.model: fit for fit in step.models}
    for model in gpulet.models.values():
        fit = fits.get(model.number)
        if fit is not None:
            model.limits, model.latency_ms = fit.limits, fit.latency_ms
            model.is_fitted = fit.known
