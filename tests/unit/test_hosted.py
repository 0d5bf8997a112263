"""Steps of an executor: make before break, ending at what is wanted."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from glet.plan.layout import PlacedGpulet
from glet.serve.hosted import (
    HostedGpulet,
    HostedModel,
    Room,
    Wanted,
    forget_failures,
    hung,
    record_end,
    record_start,
    retire,
    revive,
)
from glet.serve.next_steps import missing_steps, shrink_steps, surplus_steps, together
from glet.types.model import Signature, TensorSpec
from glet.types.plan import ModelShare
from glet.wire.counters import ModelCounters
from glet.wire.messages import (
    AddGpulet,
    Limits,
    LoadModel,
    ModelSource,
    RemoveGpulet,
    ResizeGpulet,
    Step,
    StepDone,
    UnloadModel,
    UpdateModel,
)

X = TensorSpec(name="x", dtype="float32", shape=(4,))
NUMBERS = {"a": 0, "b": 1}


def wanted_models(placed: PlacedGpulet) -> list[Wanted]:
    return [
        Wanted(
            number=NUMBERS[share.model],
            source=ModelSource(
                name=share.model,
                runner="profiled",
                signature=Signature(inputs=(X,), outputs=(X,)),
                slo_ms=10.0,
                max_batch=8,
            ),
            share=share,
            limits=Limits(batch=share.batch, time_share=1.0, capacity=8, margin_ms=1.0),
            latency_ms=((1, 1.0), (8, 4.0)),
        )
        for share in placed.models
    ]


def room(released: bool = True) -> Room:
    return Room(
        kind="profiled",
        drain_ms=10.0,
        wanted_models=wanted_models,
        released=lambda seq: released,
    )


def gpulet(number: int, *models: str, batch: int = 4, share_pct: int = 50) -> PlacedGpulet:
    shares = tuple(ModelShare(model=model, batch=batch) for model in models)
    return PlacedGpulet(number=number, share_pct=share_pct, models=shares)


def next_steps(hosted: dict[int, HostedGpulet], wanted: Sequence[PlacedGpulet]) -> list[Step]:
    return (
        list(missing_steps(hosted, wanted, room(), 1))
        or list(shrink_steps(hosted, wanted, room(), 1))
        or list(surplus_steps(hosted, room(), 1))
    )


def perform(
    hosted: dict[int, HostedGpulet], wanted: Sequence[PlacedGpulet], error: str = ""
) -> Step | None:
    """One step to its end; with an error, a LoadModel fails."""
    step = next(iter(next_steps(hosted, wanted)), None)
    if step is None:
        return None
    placed = {p.number: p for p in wanted}
    if step.gpulet in placed:
        record_start(hosted, step, placed[step.gpulet])
    failed = error if isinstance(step, LoadModel | ResizeGpulet) else ""
    record_end(hosted, step, StepDone(step=1, error=failed, latency_ms=((1, 1.0), (8, 4.0))))
    return step


def settle(hosted: dict[int, HostedGpulet], wanted: Sequence[PlacedGpulet]) -> list[type]:
    """Steps until nothing is missing, then until nothing is left over."""
    steps = []
    for _ in range(2):
        while (step := perform(hosted, wanted)) is not None:
            steps.append(type(step))
        retire(hosted, wanted, 1)
    while (step := perform(hosted, wanted)) is not None:
        steps.append(type(step))
    return steps


def test_from_nothing_to_a_plan_and_no_further() -> None:
    hosted: dict[int, HostedGpulet] = {}
    wanted = [gpulet(0, "a", "b"), gpulet(1, "b")]
    assert settle(hosted, wanted) == [AddGpulet, LoadModel, LoadModel, AddGpulet, LoadModel]
    assert settle(hosted, wanted) == []
    assert [sorted(g.models) for g in hosted.values()] == [["a", "b"], ["b"]]


def test_new_gpulets_come_before_old_ones_go() -> None:
    hosted: dict[int, HostedGpulet] = {}
    settle(hosted, [gpulet(0, "a")])
    assert settle(hosted, [gpulet(1, "a")]) == [AddGpulet, LoadModel, RemoveGpulet]
    assert list(hosted) == [1]


def test_a_new_batch_is_an_update() -> None:
    hosted: dict[int, HostedGpulet] = {}
    settle(hosted, [gpulet(0, "a", batch=4)])
    assert settle(hosted, [gpulet(0, "a", batch=2)]) == [UpdateModel]
    assert hosted[0].models["a"].limits.batch == 2


def test_a_model_that_left_is_unloaded() -> None:
    hosted: dict[int, HostedGpulet] = {}
    settle(hosted, [gpulet(0, "a", "b")])
    assert settle(hosted, [gpulet(0, "b")]) == [UnloadModel]
    assert list(hosted[0].models) == ["b"]


def test_nothing_ends_before_frontends_know() -> None:
    hosted: dict[int, HostedGpulet] = {}
    settle(hosted, [gpulet(0, "a")])
    assert retire(hosted, [], 7)
    assert hosted[0].state == "draining"
    assert surplus_steps(hosted, room(released=False), 1) == ()
    (step,) = surplus_steps(hosted, room(), 1)
    assert isinstance(step, RemoveGpulet)
    assert not retire(hosted, [], 8)


def test_what_failed_is_reported_and_not_tried_again() -> None:
    hosted: dict[int, HostedGpulet] = {}
    wanted = [gpulet(0, "a", "b")]
    perform(hosted, wanted)
    perform(hosted, wanted, error="broken")
    assert settle(hosted, wanted) == [LoadModel]
    states = {name: (m.state, m.error) for name, m in hosted[0].models.items()}
    assert states == {"a": ("failed", "broken"), "b": ("ready", "")}
    # The executor has nothing of it: it is forgotten without a step.
    assert settle(hosted, [gpulet(0, "b")]) == []
    assert list(hosted[0].models) == ["b"]


def test_a_batch_that_runs_beyond_any_doubt_hangs() -> None:
    placed = gpulet(3, "b")
    there = HostedGpulet(placed=placed)
    model = wanted_models(placed)[0]
    there.models["b"] = HostedModel(
        number=1, source=model.source, share=model.share, limits=model.limits
    )

    def found(running_ms: float, limit_ms: float) -> HostedModel | None:
        counters = (
            ModelCounters(gpulet=3, model=0, running_ms=1e6),
            ModelCounters(gpulet=3, model=1, running_ms=running_ms),
        )
        return hung({3: there}, counters, limit_ms)

    assert found(1000.0, 1000.0) is None
    assert found(1001.0, 1000.0) is there.models["b"]
    there.models["b"].latency_ms = ((1, 10.0), (8, 100.0))
    assert found(1999.0, 1000.0) is None  # 20 times its longest batch is more
    assert found(2001.0, 1000.0) is there.models["b"]
    assert hung({3: there}, (), 1000.0) is None


def test_another_share_is_one_step_that_fits_the_models() -> None:
    hosted: dict[int, HostedGpulet] = {}
    settle(hosted, [gpulet(0, "a")])
    (step,) = [perform(hosted, [gpulet(0, "a", batch=8, share_pct=80)])]
    assert isinstance(step, ResizeGpulet)
    (fit,) = step.models
    assert (step.share_pct, fit.limits.batch, fit.known) == (80, 8, True)
    assert hosted[0].placed.share_pct == 80
    assert settle(hosted, [gpulet(0, "a", batch=8, share_pct=80)]) == []


def test_what_is_loaded_for_a_smaller_gpulet_is_there_before_it_shrinks() -> None:
    hosted: dict[int, HostedGpulet] = {}
    settle(hosted, [gpulet(0, "a", share_pct=100)])
    wanted = [gpulet(0, "a"), gpulet(1, "b")]
    assert settle(hosted, wanted) == [AddGpulet, LoadModel, ResizeGpulet]


def test_a_share_without_a_table_is_measured_after_the_switch() -> None:
    hosted: dict[int, HostedGpulet] = {}
    settle(hosted, [gpulet(0, "a")])
    unknown = msgspec.structs.replace(gpulet(0, "a"), share_pct=90)

    def without_tables(placed: PlacedGpulet) -> list[Wanted]:
        return [replace(w, latency_ms=()) for w in wanted_models(placed)]

    world = replace(room(), wanted_models=without_tables)
    (resize,) = missing_steps(hosted, [unknown], world, 1)
    assert isinstance(resize, ResizeGpulet)
    assert [fit.known for fit in resize.models] == [False]
    record_start(hosted, resize, unknown)
    record_end(hosted, resize, StepDone(step=1))
    (update,) = missing_steps(hosted, [unknown], world, 2)
    assert isinstance(update, UpdateModel)
    assert (update.latency_ms, update.max_batch) == ((), 8)
    record_end(hosted, update, StepDone(step=2, latency_ms=((1, 0.5),)))
    assert hosted[0].models["a"].latency_ms == ((1, 0.5),)
    assert not [*missing_steps(hosted, [unknown], world, 3)]


def test_a_refused_resize_is_not_tried_again_before_another_plan() -> None:
    hosted: dict[int, HostedGpulet] = {}
    settle(hosted, [gpulet(0, "a")])
    larger = [gpulet(0, "a", share_pct=80)]
    assert isinstance(perform(hosted, larger, error="no such share"), ResizeGpulet)
    assert settle(hosted, larger) == []
    assert (hosted[0].placed.share_pct, hosted[0].error) == (50, "no such share")
    assert hosted[0].models["a"].state == "ready"
    forget_failures(hosted)
    assert settle(hosted, larger) == [ResizeGpulet]
    assert hosted[0].error == ""


def test_what_is_wanted_again_before_it_ended_serves_on() -> None:
    hosted: dict[int, HostedGpulet] = {}
    settle(hosted, [gpulet(0, "a", "b")])
    retire(hosted, [gpulet(0, "a")], 3)
    assert states(hosted) == {"a": "ready", "b": "draining"}
    ending = UnloadModel(step=1, gpulet=0, model=NUMBERS["b"], drain_ms=1.0)
    assert not revive(hosted, [gpulet(0, "a", "b")], [ending])
    assert states(hosted) == {"a": "ready", "b": "draining"}
    assert revive(hosted, [gpulet(0, "a", "b")], [])
    assert states(hosted) == {"a": "ready", "b": "ready"}
    assert settle(hosted, [gpulet(0, "a", "b")]) == []


def states(hosted: dict[int, HostedGpulet]) -> dict[str, str]:
    return {name: model.state for name, model in hosted[0].models.items()}


def kinds(steps: Sequence[Step]) -> list[type]:
    return [type(step) for step in steps]


def test_what_a_move_needs_goes_in_one_message_that_ends_with_the_load() -> None:
    hosted: dict[int, HostedGpulet] = {}
    settle(hosted, [gpulet(0, "a"), gpulet(1, "b")])
    wanted = [gpulet(0, "a", batch=2), gpulet(1, "b", "a", batch=2), gpulet(2, "a", "b")]
    steps = list(missing_steps(hosted, wanted, room(), 5))
    assert kinds(steps) == [UpdateModel, UpdateModel, LoadModel, AddGpulet]
    assert [step.step for step in steps] == [5, 6, 7, 8]
    update, other, load, add = steps
    assert together(steps) == (update, other, add, load)
    another = msgspec.structs.replace(load, step=9)
    assert together((load, another, update)) == (update, load)
    assert together((load, another)) == (load,)


def test_what_is_measured_goes_alone() -> None:
    hosted: dict[int, HostedGpulet] = {}
    settle(hosted, [gpulet(0, "a"), gpulet(1, "b")])
    wanted = [gpulet(0, "a", batch=2), gpulet(1, "b", "a"), gpulet(2)]
    update, load, add = missing_steps(hosted, wanted, room(), 1)
    assert isinstance(update, UpdateModel)
    assert isinstance(load, LoadModel)
    slow_update, slow_load = (msgspec.structs.replace(s, latency_ms=()) for s in (update, load))
    assert together((add, update, slow_load)) == (add, update)
    assert together((slow_load, load)) == (slow_load,)
    assert together((slow_update, slow_load)) == (slow_update,)
    assert together((slow_update, load, add)) == (add,)
    assert together(()) == ()


def test_gpulets_shrink_together() -> None:
    hosted: dict[int, HostedGpulet] = {}
    settle(hosted, [gpulet(0, "a"), gpulet(1, "b")])
    smaller = [gpulet(0, "a", share_pct=20), gpulet(1, "b", share_pct=20)]
    assert not [*missing_steps(hosted, smaller, room(), 1)]
    steps = together(shrink_steps(hosted, smaller, room(), 3))
    assert kinds(steps) == [ResizeGpulet, ResizeGpulet]
    assert [(step.step, step.gpulet) for step in steps] == [(3, 0), (4, 1)]
