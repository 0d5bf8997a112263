"""The full picture of a device that a backend sends to its frontends."""

from collections.abc import Callable, Mapping, Sequence

from glet.plan.layout import PlacedGpulet
from glet.serve.hosted import HostedGpulet, HostedModel
from glet.serve.measure import capacity_rps
from glet.types.plan import ModelShare
from glet.wire.messages import GpuletState, LoadedModel

WhyNot = Callable[[PlacedGpulet, ModelShare], str]


def gpulet_states(
    placed: Sequence[PlacedGpulet],
    hosted: Mapping[int, HostedGpulet],
    executor_of: Callable[[int], int],
    why_not: WhyNot,
) -> tuple[GpuletState, ...]:
    """What is wanted, as far as it got, and what still drains.

    `why_not` says why a model is not there; '' while it is on its way.
    """
    wanted = {gpulet.number: gpulet for gpulet in placed}
    draining = [gpulet.placed for number, gpulet in hosted.items() if number not in wanted]
    return tuple(
        _gpulet_state(gpulet, hosted.get(gpulet.number), executor_of(gpulet.number), why_not)
        for gpulet in (*placed, *draining)
    )


def _gpulet_state(
    placed: PlacedGpulet, hosted: HostedGpulet | None, executor: int, why_not: WhyNot
) -> GpuletState:
    there = hosted.models if hosted is not None else {}
    error = placed.error or (hosted.error if hosted is not None else "")
    has_failed = bool(placed.error) or (hosted is not None and hosted.state == "failed")
    is_now = hosted.placed if hosted is not None else placed
    missing = [
        _missing(placed, m, error if has_failed else "", why_not)
        for m in placed.models
        if m.model not in there
    ]
    wanted = {share.model: share for share in placed.models}
    loaded = [_loaded(model, wanted.get(name)) for name, model in there.items()]
    return GpuletState(
        gpulet=placed.number,
        executor=executor,
        share_pct=is_now.share_pct,
        given_pct=is_now.given_pct,
        state="failed" if has_failed else hosted.state if hosted is not None else "starting",
        cores=is_now.cores,
        units=is_now.units,
        models=(*loaded, *missing),
        error=error,
    )


def _missing(
    placed: PlacedGpulet, share: ModelShare, gpulet_error: str, why_not: WhyNot
) -> LoadedModel:
    error = gpulet_error or why_not(placed, share)
    return LoadedModel(
        name=share.model,
        model=-1,
        batch=share.batch,
        state="failed" if error else "loading",
        time_share=share.time_share,
        error=error,
    )


def _loaded(model: HostedModel, share: ModelShare | None) -> LoadedModel:
    rate_rps = (share or model.share).rate_rps
    weight = 0.0
    if model.state == "ready":
        capacity = capacity_rps(model.latency_ms, model.limits.batch) * model.limits.time_share
        weight = rate_rps or capacity
    return LoadedModel(
        name=model.source.name,
        model=model.number,
        batch=model.limits.batch,
        state=model.state,
        weight=weight,
        time_share=model.limits.time_share,
        runner=model.runner or model.source.runner,
        note=model.note,
        latency_ms=model.latency_ms,
        memory_mb=model.memory_mb,
        memory=model.memory,
        error=model.error,
    )
