"""Who borrows from whom, and what executors are told of it."""

from pathlib import Path

import msgspec
import pytest
from waiting import wait_for

from glet.clock import SystemClock
from glet.config.cluster import ClusterConfig, load_cluster
from glet.errors import ConfigError
from glet.native import core
from glet.plan.layout import PlacedGpulet
from glet.plan.neighbours import joined, neighbours
from glet.serve.hosted import HostedGpulet, HostedModel, Room, record_end
from glet.serve.lending import loan_steps, wanted_loans
from glet.serve.model_loader import model_plan
from glet.serve.step_worker import StepWorker
from glet.types.model import Signature, TensorSpec
from glet.types.plan import ModelShare
from glet.types.units import Units
from glet.wire.loan_messages import Loan, SetLoans
from glet.wire.messages import (
    AddGpulet,
    LatencyPoints,
    Limits,
    ModelSource,
    RemoveGpulet,
    ResizeGpulet,
    Step,
    StepDone,
)

X = TensorSpec(name="x", dtype="float32", shape=(4,))
LIMITS = Limits(batch=1, time_share=1.0, capacity=8, margin_ms=1.0)


def placed(number: int, share_pct: int = 20, units: Units | None = None) -> PlacedGpulet:
    return PlacedGpulet(number=number, share_pct=share_pct, units=units)


def test_on_a_gpu_those_lend_whose_units_touch() -> None:
    gpulets = [
        placed(7, units=Units(9, 3)),
        placed(4, units=Units(0, 4)),
        placed(5, units=Units(4, 3)),
        placed(9, units=Units(12, 1)),
    ]
    assert neighbours(gpulets) == {4: (5,), 5: (4,), 7: (9,), 9: (7,)}
    assert neighbours(gpulets, bad_units=(7,)) == {4: (), 5: (), 7: (9,), 9: (7,)}


def test_elsewhere_the_one_before_and_the_one_after_lend() -> None:
    assert neighbours([placed(3), placed(1), placed(2)]) == {3: (1,), 1: (3, 2), 2: (1,)}
    assert neighbours([placed(3)]) == {3: ()}
    assert neighbours([]) == {}


def test_what_cannot_be_does_not_lend() -> None:
    broken = msgspec.structs.replace(placed(2), error="no room")
    assert neighbours([placed(1), broken, placed(3)]) == {1: (3,), 3: (1,)}


def test_both_shares_are_one_run_of_units_or_all_cores() -> None:
    both = joined(placed(1, 20, Units(4, 3)), placed(2, 30, Units(0, 4)))
    assert (both.number, both.share_pct, both.units) == (1, 50, Units(0, 7))
    cores = joined(
        PlacedGpulet(number=1, share_pct=50, cores=(2,)),
        PlacedGpulet(number=2, share_pct=50, cores=(0, 1)),
    )
    assert (cores.cores, cores.units) == ((2, 0, 1), None)


def hosted(number: int, *models: str, state: str = "ready") -> HostedGpulet:
    gpulet = HostedGpulet(placed=placed(number), state="ready")
    for place, name in enumerate(models):
        source = ModelSource(
            name=name,
            runner="profiled",
            signature=Signature(inputs=(X,), outputs=(X,)),
            slo_ms=10.0,
            max_batch=1,
        )
        share = ModelShare(model=name, batch=1)
        model = HostedModel(number=place, source=source, share=share, limits=LIMITS)
        model.state = state  # type: ignore[assignment]
        gpulet.models[name] = model
    return gpulet


def known(model: str, own: PlacedGpulet, lender: PlacedGpulet) -> LatencyPoints:
    return ((1, 1.0),) if model == "a" else ()


def room_with(loans: bool = True) -> Room:
    return Room(
        kind="profiled",
        drain_ms=1.0,
        wanted_models=lambda placed: [],
        released=lambda seq: True,
        loans=(lambda there: wanted_loans(there, known)) if loans else lambda there: {},
    )


def test_loans_have_the_latencies_that_are_known_of_models_that_serve() -> None:
    there = {1: hosted(1, "a", "b"), 2: hosted(2, "a", state="loading")}
    assert wanted_loans(there, known) == {
        1: (Loan(lender=2, latency_ms={0: ((1, 1.0),)}),),
        2: (Loan(lender=1),),
    }
    there[2].state = "draining"
    assert wanted_loans(there, known) == {1: ()}
    there[2].state, there[2].target = "ready", placed(2, 30)
    assert wanted_loans(there, known) == {1: ()}


def settle(there: dict[int, HostedGpulet], room: Room) -> list[tuple[int, tuple[Loan, ...]]]:
    told = []
    while steps := loan_steps(there, room, 1):
        told.append((steps[0].gpulet, steps[0].loans))
        record_end(there, steps[0], StepDone(step=1))
    return told


def test_an_executor_is_told_once_and_again_after_a_change() -> None:
    there = {1: hosted(1, "a"), 2: hosted(2)}
    with_latency = (Loan(lender=2, latency_ms={0: ((1, 1.0),)}),)
    both = [(1, with_latency), (2, (Loan(lender=1),))]
    assert settle(there, room_with()) == both
    assert settle(there, room_with()) == []
    resize = ResizeGpulet(step=1, gpulet=2, kind="profiled", share_pct=20, cores=())
    there[2].target = placed(2)
    record_end(there, resize, StepDone(step=1))
    assert settle(there, room_with()) == both
    record_end(there, RemoveGpulet(step=1, gpulet=2, drain_ms=0.0), StepDone(step=1))
    assert settle(there, room_with()) == [(1, ())]


def test_without_loans_there_is_nothing_to_tell() -> None:
    assert settle({1: hosted(1, "a"), 2: hosted(2)}, room_with(loans=False)) == []


def test_a_step_that_failed_is_not_repeated() -> None:
    there = {1: hosted(1, "a"), 2: hosted(2)}
    (step,) = loan_steps(there, room_with(), 1)
    record_end(there, step, StepDone(step=1, error="no such gpulet"))
    assert loan_steps({1: there[1]}, room_with(), 2) == (SetLoans(step=2, gpulet=1),)
    (following,) = loan_steps(there, room_with(), 2)
    assert following.gpulet == 2


def test_a_step_reaches_the_engine() -> None:
    def perform(worker: StepWorker, step: Step) -> StepDone:
        worker.submit(step)
        ((done,),) = wait_for(worker.take_done)
        return done

    with core.Engine() as engine:
        worker = StepWorker(engine, SystemClock(), runners=1)
        for gpulet in (1, 2):
            add = AddGpulet(step=1, gpulet=gpulet, kind="profiled", share_pct=50, cores=())
            assert perform(worker, add).error == ""
        signature = core.Signature(
            [core.TensorSpec("x", "float32", [1])], [core.TensorSpec("y", "float32", [1])]
        )
        slow = model_plan(((1, 5.0),), LIMITS)
        engine.load_null(1, 0, signature, 1, slow)
        loans = (Loan(lender=2, latency_ms={0: ((1, 1.0),)}),)
        assert perform(worker, SetLoans(step=2, gpulet=1, loans=loans)).error == ""

        def borrowed() -> int:
            engine.submit([(1, 1, 0, core.now_ns() + 60_000_000_000, [b"\0" * 4])])
            assert wait_for(engine.drain)[0].outcome == "ok"
            return int(engine.stats()[0].borrowed)

        assert wait_for(borrowed) > 0
        gone = perform(worker, SetLoans(step=3, gpulet=1, loans=(Loan(lender=7),)))
        assert "no gpulet 7" in gone.error
        worker.close(patience_s=60.0)


def test_the_objective_of_a_model_is_part_of_its_plan() -> None:
    assert model_plan(((1, 1.0),), LIMITS).limits.slo_ns == core.NEVER_NS
    limits = msgspec.structs.replace(LIMITS, slo_ms=12.5)
    assert model_plan(((1, 1.0),), limits).limits.slo_ns == 12_500_000


@pytest.mark.parametrize("line", ['partition = "mps"', 'isolation = "gpulet"'])
def test_gpulets_of_two_processes_cannot_steal(tmp_path: Path, line: str) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(f"steal = true\n{line}\n")
    with pytest.raises(ConfigError, match=r"steal is between gpulets of one process; valid are"):
        load_cluster(file)


def test_stealing_is_off_unless_asked_for(tmp_path: Path) -> None:
    assert not ClusterConfig().steal
    file = tmp_path / "cluster.toml"
    file.write_text("steal = true\n")
    assert load_cluster(file).steal
    file.write_text("steal = 1\n")
    with pytest.raises(ConfigError, match="steal"):
        load_cluster(file)
