"""A controller in this process, its clock by hand, that hears nearly right reports."""

from pathlib import Path
from typing import Any

import msgspec
import zmq
from fuzz_dice import Dice
from fuzz_mutate import nearly
from waiting import WAIT_S

from glet.clock import ManualClock
from glet.config.cluster import BackendConfig, ClusterConfig, ControlConfig
from glet.config.resource import profile_folder
from glet.serve.controller import Controller, make_controller
from glet.serve.controller_child import ControllerOptions
from glet.types.app import AppSpec, AppStage, Source, StageInput
from glet.types.device import DeviceInfo
from glet.types.model import ModelSpec, Signature, TensorSpec
from glet.types.observation import StageObservation
from glet.types.plan import GpuletPlan, ModelShare
from glet.wire.channel import DealerChannel
from glet.wire.counters import AppCounters, FrontendCounters, ModelCounters
from glet.wire.messages import (
    VERSION,
    AppState,
    BackendState,
    ControllerToFrontend,
    ExecutorState,
    FrontendReport,
    GpuletState,
    Hello,
    LoadedModel,
    ModelState,
)

MODELS = ("googlenet", "resnet50")
STEP_S = 0.25
MESSAGES = 12
X = TensorSpec(name="x", dtype="float32", shape=(4,))
SIGNATURE = Signature(inputs=(X,), outputs=(X,))
APP = AppSpec(
    name="app",
    signature=SIGNATURE,
    slo_ms=200.0,
    stages=(
        AppStage(
            name="s",
            model=MODELS[0],
            inputs=(StageInput(name="x", source=Source(tensor="x")),),
            outputs=(X,),
        ),
    ),
    outputs=(Source(stage="s", tensor="x"),),
)


def report(step: int) -> FrontendReport:
    """What a frontend says at that step, of two models at 100 and 40 requests/s and an app."""
    counted = {
        name: FrontendCounters(
            model=name, slo_ms=100.0, max_batch=32, received=step * rate, ok=step * rate,
            good=step * rate, latency=((2**20, step * rate),), outstanding=3,
        )
        for name, rate in zip((*MODELS, "app"), (25, 10, 5), strict=True)
    }  # fmt: skip
    stage = StageObservation(stage="s", model=MODELS[0], requests=1, budget_ms=200.0)
    return FrontendReport(
        name="f",
        incarnation="1",
        sent_s=10.0 + step * STEP_S,
        models=tuple(counted[name] for name in MODELS),
        apps=(AppCounters(counted=counted["app"], stages=(stage,)),),
        states=(_state(0, step), _state(1, step)),
    )


def _state(number: int, step: int) -> BackendState:
    name = f"device{number}"
    shares = tuple(ModelShare(model=m, batch=4, rate_rps=50.0) for m in MODELS)
    loaded = tuple(
        LoadedModel(
            name=m, model=i, batch=4, state="ready", weight=50.0, latency_ms=((1, 2.0), (32, 9.0))
        )
        for i, m in enumerate(MODELS)
    )
    return BackendState(
        seq=step,
        name=name,
        incarnation="1",
        number=number,
        device=DeviceInfo(name=name, kind="profiled", type="gpu", emulated=True, memory_mb=10_000),
        plan=(GpuletPlan(device=number, share_pct=50, models=shares),),
        executors=(ExecutorState(executor=0, generation=1, state="ready", endpoint="ipc:///x"),),
        gpulets=(
            GpuletState(
                gpulet=0, executor=0, share_pct=50, given_pct=50.0, state="ready", models=loaded
            ),
        ),
        models=tuple(
            ModelState(name=m, state="known", spec=ModelSpec(
                name=m, signature=SIGNATURE, slo_ms=100.0, max_batch=32))
            for m in MODELS
        ),
        apps=(AppState(name="app", spec=APP),),
        counters=tuple(
            ModelCounters(gpulet=0, model=i, ok=10 * step, batches=3 * step, items=10 * step,
                          busy_ms=50.0 * step, at_s=step * STEP_S)
            for i in range(len(MODELS))
        ),
    )  # fmt: skip


def rounds(folder: Path, dice: Dice) -> int:
    """One controller's life; the plans it made. Raises what it raises."""
    profile = str(profile_folder("synthetic-gpu"))
    mode = dice.pick(("follow", "follow", "published"))
    cluster = ClusterConfig(
        partition="profiled",
        backend=tuple(BackendConfig(device=number, profile=profile) for number in range(2)),
        control=ControlConfig(mode=mode, shrink_after_s=0.5),
    )
    options = ControllerOptions(leader="f", run_dir=str(folder), cluster=cluster, parent_pid=1)
    clock = ManualClock()
    controller = make_controller(options, clock)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    channel: DealerChannel[Any] = DealerChannel(
        context,
        controller.endpoint,
        ControllerToFrontend,
        Hello(version=VERSION, role="frontend", name="f"),
    )
    try:
        return _talk(controller, channel, clock, dice)
    finally:
        channel.close()
        context.term()
        controller.close()


def _talk(
    controller: Controller, channel: DealerChannel[Any], clock: ManualClock, dice: Dice
) -> int:
    """Good reports and nearly right ones; after all of them a good one still moves it."""
    for step in range(MESSAGES):
        clock.sleep_s(STEP_S)
        data = msgspec.msgpack.encode(report(step + 1))
        if dice.once_in(2):
            data = nearly(dice, msgspec.msgpack.decode(data))
        channel.socket.send(data)
        _hear(controller)
        if dice.once_in(4):
            controller.tell()
    plans = 0
    while channel.socket.poll(0):
        plans += sum(type(message).__name__ == "NewPlan" for message in channel.receive())
    return plans


def _hear(controller: Controller) -> None:
    assert controller._channel.socket.poll(WAIT_S * 1000)
    controller.receive()
