"""What a new plan does not want ends only when it may."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from glet.plan.layout import PlacedGpulet
from glet.serve import reorganise
from glet.serve.hand_over import still_needed
from glet.serve.hosted import HostedGpulet, HostedModel, Room, Wanted
from glet.serve.reorganise import Part, is_whole, why_not_whole
from glet.types.device import DeviceInfo
from glet.types.model import Signature, TensorSpec
from glet.types.plan import GpuletPlan, ModelShare, Plan
from glet.wire.messages import (
    BackendState,
    GpuletState,
    Limits,
    LoadedModel,
    LoadedPhase,
    ModelSource,
)

NOBODY: frozenset[str] = frozenset()


X = TensorSpec(name="x", dtype="float32", shape=(4,))
LIMITS = Limits(batch=4, time_share=1.0, capacity=8, margin_ms=1.0)
TABLE = ((1, 1.0), (8, 4.0))


def source(model: str) -> ModelSource:
    signature = Signature(inputs=(X,), outputs=(X,))
    return ModelSource(name=model, runner="profiled", signature=signature, slo_ms=10.0, max_batch=8)


def wanted_models(placed: PlacedGpulet) -> list[Wanted]:
    return [Wanted(0, source(s.model), s, LIMITS, TABLE) for s in placed.models]


def room() -> Room:
    return Room(
        kind="profiled", drain_ms=10.0, wanted_models=wanted_models, released=lambda seq: True
    )


def retire_surplus(
    parts: Sequence[Part],
    world: Room,
    seq: int,
    keep: frozenset[str],
    whole: Mapping[int, set[str]],
) -> bool:
    is_made = is_whole(parts, world)
    return reorganise.retire_surplus(parts, world, seq, keep, whole, is_made=is_made)


def gpulet(number: int, *models: str) -> PlacedGpulet:
    shares = tuple(ModelShare(model=model, batch=4) for model in models)
    return PlacedGpulet(number=number, share_pct=50, models=shares)


def served(*placed: PlacedGpulet) -> dict[int, HostedGpulet]:
    """All of it there and ready."""
    return {
        gpulet.number: HostedGpulet(
            placed=gpulet,
            state="ready",
            models={
                s.model: HostedModel(0, source(s.model), s, LIMITS, "ready", TABLE)
                for s in gpulet.models
            },
        )
        for gpulet in placed
    }


def states(hosted: dict[int, HostedGpulet]) -> dict[tuple[int, str], str]:
    return {(n, name): m.state for n, g in hosted.items() for name, m in g.models.items()}


def test_a_model_leaves_when_it_is_ready_where_it_goes() -> None:
    hosted = served(gpulet(0, "a", "b"))
    wanted = (gpulet(0, "a"), gpulet(1, "b"))
    part = [Part(hosted, wanted, True)]
    assert not is_whole(part, room())
    assert not retire_surplus(part, room(), 1, NOBODY, {})
    hosted.update(served(gpulet(1, "b")))
    assert is_whole(part, room())
    assert retire_surplus(part, room(), 1, NOBODY, {})
    assert hosted[0].models["b"].state == "draining"


def test_a_failed_step_leaves_the_last_whole_plan_serving() -> None:
    hosted = served(gpulet(0, "a"))
    wanted = (gpulet(1, "b"),)
    hosted.update(served(gpulet(1, "b")))
    hosted[1].models["b"].state, hosted[1].models["b"].error = "failed", "model 'b': broken"
    part = [Part(hosted, wanted, True)]
    assert why_not_whole(part) == "model 'b': broken"
    assert not retire_surplus(part, room(), 1, NOBODY, {0: {"a"}})
    assert states(hosted) == {(0, "a"): "ready", (1, "b"): "failed"}
    # What no whole plan had is not held back by the failure.
    assert retire_surplus(part, room(), 1, NOBODY, {})
    assert hosted[0].state == "draining"


def test_models_that_others_wait_for_are_kept() -> None:
    hosted = served(gpulet(0, "a"), gpulet(1, "b"))
    part = [Part(hosted, (gpulet(1, "b"),), True)]
    assert is_whole(part, room())
    assert not retire_surplus(part, room(), 1, frozenset({"a"}), {0: {"a"}})
    assert retire_surplus(part, room(), 1, NOBODY, {0: {"a"}})
    assert hosted[0].state == "draining"


def test_without_memory_what_is_in_the_way_goes_first() -> None:
    hosted = served(gpulet(0, "a"))
    hosted.update(served(gpulet(1)))
    world = replace(room(), fits=lambda number, model: False)
    part = [Part(hosted, (gpulet(1, "b"),), True)]
    assert not is_whole(part, world)
    assert retire_surplus(part, world, 1, frozenset({"a"}), {0: {"a"}})
    assert hosted[0].state == "draining"


def test_a_model_that_is_compiled_is_waited_for() -> None:
    hosted = served(gpulet(0, "a"))
    part = [Part(hosted, (gpulet(0, "a"),), True)]
    assert not is_whole(part, replace(room(), awaits=lambda: True))


def backend(device: int, phase: LoadedPhase, *models: str) -> BackendState:
    return BackendState(
        seq=1,
        name=f"d{device}",
        incarnation="life",
        number=device,
        device=DeviceInfo(name=f"d{device}", kind="profiled", type="p"),
        gpulets=(
            GpuletState(
                gpulet=0,
                executor=0,
                share_pct=100,
                given_pct=100.0,
                state="ready",
                models=tuple(LoadedModel(name=m, model=0, batch=1, state=phase) for m in models),
            ),
        ),
    )


def plan(**models_of: str) -> Plan:
    return Plan(
        gpulets=tuple(
            GpuletPlan(
                device=int(device[1:]),
                share_pct=100,
                models=tuple(ModelShare(model=m, batch=1) for m in models),
            )
            for device, models in models_of.items()
        )
    )


def test_a_device_keeps_what_another_one_does_not_serve_yet() -> None:
    wanted = plan(d0="b", d1="a")
    there = {0: backend(0, "ready", "a", "b")}
    assert still_needed(wanted, 0, there) == ("a",)
    assert still_needed(wanted, 0, {**there, 1: backend(1, "loading", "a")}) == ("a",)
    assert still_needed(wanted, 0, {**there, 1: backend(1, "ready", "a")}) == ()
    assert still_needed(wanted, 1, there) == ()


def test_what_the_plan_drops_is_not_kept() -> None:
    assert still_needed(plan(d0="b"), 0, {0: backend(0, "ready", "a", "b")}) == ()
