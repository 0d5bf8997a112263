"""The steps from what one executor hosts towards what it should. Decides; does not act."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from glet.plan.layout import PlacedGpulet
from glet.serve.hosted import HostedGpulet, Room, Wanted
from glet.serve.lending import loan_steps
from glet.types.units import Units
from glet.wire.messages import (
    AddGpulet,
    LoadModel,
    ModelFit,
    RemoveGpulet,
    ResizeGpulet,
    Step,
    UnloadModel,
    UpdateModel,
)


def next_steps(
    hosted: Mapping[int, HostedGpulet],
    wanted: Sequence[PlacedGpulet],
    room: Room,
    step: int,
    is_whole: Callable[[], bool],
) -> tuple[Step, ...]:
    """What an executor is told next, numbered from `step` on; nothing when all is as it should be.

    First what is missing; when the whole plan is there, what becomes smaller; then what is surplus,
    and last who may borrow whose share.
    """
    steps = together(missing_steps(hosted, wanted, room, step))
    if not steps and is_whole():
        steps = together(shrink_steps(hosted, wanted, room, step))
    return steps or surplus_steps(hosted, room, step) or loan_steps(hosted, room, step)


def missing_steps(
    hosted: Mapping[int, HostedGpulet], wanted: Sequence[PlacedGpulet], room: Room, step: int
) -> Iterator[Step]:
    """The next steps towards what is wanted and not there, numbered from `step` on.

    None of them waits for the end of another one. What has no room in memory waits. A gpulet grows
    here; it becomes smaller by shrink_steps(), when nobody waits for what it serves until then.
    """
    for placed in wanted:
        if placed.error:
            continue
        gpulet = hosted.get(placed.number)
        found: Iterable[Step] = ()
        if gpulet is None:
            found = (_add(placed, room, step),)
        elif gpulet.state != "ready":
            continue
        elif _has_to_resize(gpulet, placed) and placed.share_pct >= gpulet.placed.share_pct:
            found = (_resize(gpulet, placed, room, step),)
        else:
            loadable = room.wanted_models(gpulet.placed_with(placed.models))
            found = _missing_models(gpulet, loadable, room, step)
        for each in found:
            yield each
            step += 1


def shrink_steps(
    hosted: Mapping[int, HostedGpulet], wanted: Sequence[PlacedGpulet], room: Room, step: int
) -> Iterator[Step]:
    """The steps that make gpulets smaller, numbered from `step` on."""
    for placed in wanted:
        gpulet = hosted.get(placed.number)
        if placed.error or gpulet is None or gpulet.state != "ready":
            continue
        if _has_to_resize(gpulet, placed):
            yield _resize(gpulet, placed, room, step)
            step += 1


def together(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Those of the steps that go to an executor next, in one message.

    Their results come together as well, so nothing that is known to take long goes with others. At
    most one is a load, the last: whether there is memory for the next one shows only then, and a
    model that ends its executor has to be the only one there.
    """
    quick: list[Step] = []
    first: Step | None = None
    for step in steps:
        if isinstance(step, AddGpulet | ResizeGpulet) or _is_known(step, UpdateModel):
            quick.append(step)
        elif first is None:
            first = step
    if first is not None and (not quick or _is_known(first, LoadModel)):
        quick.append(first)
    return tuple(quick)


def _is_known(step: Step, kind: type[LoadModel | UpdateModel]) -> bool:
    """Whether it is of that kind, and has nothing to measure."""
    return isinstance(step, kind) and bool(step.latency_ms)


def surplus_steps(
    hosted: Mapping[int, HostedGpulet], room: Room, step: int
) -> tuple[()] | tuple[Step]:
    """The first step that ends what is retired and released by all frontends, if there is one.

    It lasts as long as requests of it are waiting, so nothing goes with it.
    """
    for number, gpulet in hosted.items():
        if gpulet.retired_seq is not None:
            if room.released(gpulet.retired_seq):
                return (RemoveGpulet(step=step, gpulet=number, drain_ms=room.drain_ms),)
            continue
        for model in gpulet.models.values():
            if model.retired_seq is not None and room.released(model.retired_seq):
                drain_ms = room.drain_ms
                return (
                    UnloadModel(step=step, gpulet=number, model=model.number, drain_ms=drain_ms),
                )
    return ()


def _has_to_resize(gpulet: HostedGpulet, placed: PlacedGpulet) -> bool:
    place = _place(placed)
    if gpulet.refused is not None and _place(gpulet.refused) == place:
        return False
    return _place(gpulet.placed) != place


def _place(placed: PlacedGpulet) -> tuple[int, tuple[int, ...], Units | None]:
    return placed.share_pct, placed.cores, placed.units


def _add(placed: PlacedGpulet, room: Room, step: int) -> AddGpulet:
    return AddGpulet(
        step=step,
        gpulet=placed.number,
        kind=room.kind,
        share_pct=placed.share_pct,
        cores=placed.cores,
        units=placed.units,
    )


def _resize(gpulet: HostedGpulet, placed: PlacedGpulet, room: Room, step: int) -> ResizeGpulet:
    wanted = {model.source.name: model for model in room.wanted_models(placed)}
    fits = []
    for name, model in gpulet.models.items():
        if model.state not in ("ready", "draining") or not model.latency_ms:
            continue
        fit = wanted.get(name)
        known = fit.latency_ms if fit is not None else ()
        fits.append(
            ModelFit(
                model=model.number,
                limits=fit.limits if fit is not None else model.limits,
                latency_ms=known or model.latency_ms,
                known=bool(known) or fit is None,
            )
        )
    return ResizeGpulet(
        step=step,
        gpulet=placed.number,
        kind=room.kind,
        share_pct=placed.share_pct,
        cores=placed.cores,
        units=placed.units,
        models=tuple(fits),
    )


def _missing_models(
    gpulet: HostedGpulet, wanted: Sequence[Wanted], room: Room, step: int
) -> Iterator[Step]:
    number = gpulet.placed.number
    for model in wanted:
        loaded = gpulet.models.get(model.source.name)
        if loaded is None:
            if not room.fits(number, model.source.name):
                continue
            yield LoadModel(
                step=step,
                gpulet=number,
                model=model.number,
                source=model.source,
                limits=model.limits,
                latency_ms=model.latency_ms,
            )
        elif loaded.state != "ready" or (loaded.is_fitted and loaded.limits == model.limits):
            continue
        else:
            yield UpdateModel(
                step=step,
                gpulet=number,
                model=loaded.number,
                max_batch=loaded.source.max_batch,
                limits=model.limits,
                latency_ms=loaded.latency_ms if loaded.is_fitted else model.latency_ms,
            )
        step += 1
