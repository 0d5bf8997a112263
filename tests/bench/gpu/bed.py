"""A plan on gpulets of this process, set up by the code that executors run, and load for it.

`GPULETS` is the one switch between kinds of gpulets. Steps go through serve/step_worker.py, models
through serve/model_loader.py, requests through the core's router and engine.
"""

import select
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
from bed_models import Models
from lines import ROOT, say
from study import Study

from glet.clock import SystemClock
from glet.config.cluster import BackendConfig
from glet.config.load import nearest
from glet.errors import ConfigError, DeviceError, GletError
from glet.native import core
from glet.observe.report import LoadedModel, report
from glet.plan.assess import slowdowns, tenants_of
from glet.plan.layout import PlacedGpulet, arrange
from glet.plan.problem import Task
from glet.plan.units import place_units
from glet.serve.gpus import gpu_device
from glet.serve.step_worker import StepWorker
from glet.types.device import DeviceInfo
from glet.types.plan import GpuletPlan, ModelShare, Plan
from glet.types.units import Units
from glet.wire.messages import (
    AddGpulet,
    LatencyPoints,
    Limits,
    LoadModel,
    ModelFit,
    ModelSource,
    RemoveGpulet,
    ResizeGpulet,
    Step,
    StepDone,
)
from glet.workload.arrivals import PoissonArrivals
from glet.workload.sample import random_inputs

CAPACITY = 8192
STEP_LIMIT_S = 600.0
RUN_LIMIT_S = 120.0
DRAIN_MS = 2000.0

Routes = list[tuple[Any, int, int, float]]


class Gpulets(NamedTuple):
    """A kind: what a step that adds a gpulet says, and how its models are launched.

    `why_not` says why this process cannot have them at all.
    """

    kind: str
    launch: str
    emulated: bool = False
    why_not: str = ""


GPULETS = {
    "profiled": Gpulets("profiled", "emulated", emulated=True),
    "cpu": Gpulets("cpu", "compiled"),
    "green": Gpulets("green", "graph"),
    "mps": Gpulets(
        "mps",
        "graph",
        why_not="each gpulet is a process of its own; load in process reaches one process only",
    ),
}


def gpulets_of(kind: str, study: Study | None) -> Gpulets:
    """Raises ConfigError for a kind that does not exist, or that this profile is not for."""
    if kind not in GPULETS:
        raise ConfigError(f"no kind of gpulet is called {kind!r}; {nearest(kind, GPULETS)}")
    found = GPULETS[kind]
    if found.why_not:
        raise ConfigError(f"gpulets of kind {kind!r}: {found.why_not}")
    if study is not None and study.emulated and not found.emulated:
        raise ConfigError(
            f"profile {study.profile.type!r} is of no real device; --kind profiled emulates it"
        )
    return found


def device_of(gpulets: Gpulets, type_name: str) -> DeviceInfo:
    """The device of this machine that gpulets of the kind are parts of.

    Raises ConfigError where there is no such GPU.
    """
    if gpulets.kind == "green":
        return gpu_device("green", BackendConfig(name="bench", type=type_name))
    cores = tuple(core.usable_cores()) if gpulets.kind == "cpu" else ()
    return DeviceInfo(
        name="bench",
        kind=gpulets.kind,  # type: ignore[arg-type]
        type=type_name,
        cores=cores,
        emulated=gpulets.emulated,
    )


def on_units(placed: Sequence[PlacedGpulet], device: DeviceInfo) -> list[PlacedGpulet]:
    """The same beside each other on a GPU; as they are elsewhere. Raises ConfigError."""
    if device.kind != "green":
        return list(placed)
    places = place_units([g.share_pct for g in placed], [None] * len(placed), device)
    return [
        msgspec.structs.replace(gpulet, units=units)
        for gpulet, units in zip(placed, places, strict=True)
    ]


def above_each_other(placed: Sequence[PlacedGpulet], device: DeviceInfo) -> list[PlacedGpulet]:
    """The same, each on all of a GPU."""
    units = Units(0, device.units, device.remainder_sms > 0)
    return [msgspec.structs.replace(gpulet, units=units) for gpulet in placed]


class Bed:
    """An engine with gpulets; every step is the one that a backend sends."""

    def __init__(
        self, gpulets: Gpulets, models: Models, study: Study | None, margin_ms: float
    ) -> None:
        """`study` gives latencies, where they need not be measured, and slowdowns."""
        self.engine: Any = core.Engine()
        self._gpulets = gpulets
        self._models = models
        self._study = study
        self._margin_ms = margin_ms
        self._steps = StepWorker(self.engine, SystemClock(), runners=64)
        self._number = 0
        self.numbers: dict[str, int] = {}
        self.priorities: dict[str, int] = {}  # of streams, by model
        self.placed: tuple[PlacedGpulet, ...] = ()  # of the last plan
        self.latency_ms: dict[tuple[int, str], LatencyPoints] = {}
        self._measured_ms: dict[tuple[str, int], LatencyPoints] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops all gpulets."""
        self._steps.close(patience_s=5.0)
        self.engine.close()

    def perform(self, step: Step) -> StepDone:
        """Waits for it. Raises DeviceError with what the executor would have told its backend."""
        self._steps.submit(step)
        select.select([self._steps.done_fd], [], [], STEP_LIMIT_S)
        done = self._steps.take_done()
        if not done or done[0].error:
            why = done[0].error if done else f"took longer than {STEP_LIMIT_S:g} s"
            raise DeviceError(f"{type(step).__name__}: {why}")
        return done[0]

    def apply(self, plan: Plan, device: DeviceInfo) -> dict[str, Routes]:
        """Adds the plan's gpulets; routes by model. Those of 100 % lie above each other."""
        routes: dict[str, Routes] = {}
        placed = self.placed = _place(plan.gpulets, device)
        for gpulet in placed:
            self.add(gpulet)
            for share in gpulet.models:
                self.load(gpulet, share, self._slowdown(gpulet, share, placed))
                weight = share.rate_rps or 1.0
                route = (self.engine, gpulet.number, self.numbers[share.model], weight)
                routes.setdefault(share.model, []).append(route)
        return routes

    def add(self, gpulet: PlacedGpulet) -> None:
        """One gpulet, without models."""
        self.perform(
            AddGpulet(
                step=0,
                gpulet=gpulet.number,
                kind=self._gpulets.kind,
                share_pct=gpulet.share_pct,
                cores=gpulet.cores,
                units=gpulet.units,
                priority=min((self.priorities.get(s.model, 0) for s in gpulet.models), default=0),
            )
        )

    def load(self, gpulet: PlacedGpulet, share: ModelShare, slowdown: float = 1.0) -> None:
        """One model on it."""
        source = self._models.source(share.model, gpulet.share_pct)
        number = self.numbers.setdefault(share.model, len(self.numbers))
        limits = self._limits(share, source, slowdown)
        done = self.perform(
            LoadModel(
                step=0,
                gpulet=gpulet.number,
                model=number,
                source=source,
                limits=limits,
                latency_ms=self._expected_ms(share.model, gpulet.share_pct),
            )
        )
        self.latency_ms[(gpulet.number, share.model)] = done.latency_ms
        self._measured_ms[(share.model, gpulet.share_pct)] = done.latency_ms

    def resize(self, gpulet: PlacedGpulet, share: ModelShare) -> None:
        """Another share for a gpulet with this model: between two of its batches."""
        source = self._models.source(share.model, gpulet.share_pct)
        known = self._expected_ms(share.model, gpulet.share_pct)
        fit = ModelFit(
            model=self.numbers[share.model],
            limits=self._limits(share, source, 1.0),
            latency_ms=known or self.latency_ms[(gpulet.number, share.model)],
            known=bool(known),
        )
        self.perform(
            ResizeGpulet(
                step=0,
                gpulet=gpulet.number,
                kind=self._gpulets.kind,
                share_pct=gpulet.share_pct,
                cores=gpulet.cores,
                units=gpulet.units,
                models=(fit,),
            )
        )

    def remove(self, number: int) -> None:
        """What is queued finishes first."""
        self.perform(RemoveGpulet(step=0, gpulet=number, drain_ms=DRAIN_MS))

    def _limits(self, share: ModelShare, source: ModelSource, slowdown: float) -> Limits:
        return Limits(
            batch=min(share.batch, source.max_batch),
            time_share=share.time_share,
            capacity=CAPACITY,
            margin_ms=self._margin_ms,
            linger_ms=share.linger_ms,
            slowdown=slowdown,
        )

    def _expected_ms(self, model: str, share_pct: int) -> LatencyPoints:
        if self._study is None:
            # What was measured at an earlier load is not measured again; a backend has it so.
            return self._measured_ms.get((model, share_pct), ())
        # Alone: an emulated model takes its slowdown times as long, and the queue learns of it.
        table = self._study.profile.model(model).tables((share_pct,))[0]
        return tuple(enumerate(table.tolist(), start=1))

    def _slowdown(
        self, gpulet: PlacedGpulet, share: ModelShare, placed: Sequence[PlacedGpulet]
    ) -> float:
        if self._study is None:
            return 1.0
        others = [
            tenants_of(other.models, other.share_pct)
            for other in placed
            if other.number != gpulet.number
        ]
        victim = tenants_of((share,), gpulet.share_pct)
        return slowdowns(self._study.interference, victim, others)


def _place(gpulets: Sequence[GpuletPlan], device: DeviceInfo) -> tuple[PlacedGpulet, ...]:
    if sum(gpulet.share_pct for gpulet in gpulets) <= 100:
        placed = arrange((), gpulets, device, 0)
    else:
        # All of the device for each: one above the other.
        units = Units(0, device.units, device.remainder_sms > 0) if device.units else None
        placed = tuple(
            PlacedGpulet(
                number=number,
                share_pct=gpulet.share_pct,
                cores=device.cores,
                units=units,
                given_pct=float(gpulet.share_pct),
                models=gpulet.models,
            )
            for number, gpulet in enumerate(gpulets)
        )
    wrong = [gpulet.error for gpulet in placed if gpulet.error]
    if wrong:
        raise ConfigError(wrong[0])
    return placed


class Load(NamedTuple):
    """Poisson arrivals, open loop. What is sent in the first `warm_s` is not looked at."""

    factor: float
    seconds: float
    warm_s: float
    seed: int


def run_load(
    models: Models, routes: dict[str, Routes], tasks: Sequence[Task], load: Load
) -> dict[str, Any]:
    """The report of `glet load` over the requests after the warm-up.

    Raises DeviceError when the run does not end.
    """
    made: Any = core.EngineLoad(drain_s=10.0)
    rngs = np.random.default_rng(load.seed).spawn(len(tasks))
    for task, rng in zip(tasks, rngs, strict=True):
        add_task(made, models, routes[task.model], task, (load, rng))
    records = finished(made, load.warm_s + load.seconds)
    records = records[records["intended_ns"] >= load.warm_s * 1e9]
    known = [LoadedModel(name=task.model, slo_ms=task.slo_ms) for task in tasks]
    return report(records, known, load.seconds, device="bench", emulated=False)


def add_task(
    made: Any,
    models: Models,
    routes: Routes,
    task: Task,
    drawn: tuple[Load, np.random.Generator],
) -> int:
    """One model's arrivals; its number in the records."""
    load, rng = drawn
    span_s = load.warm_s + load.seconds
    times_s = PoissonArrivals().times_s(task.rate_rps * load.factor, span_s, rng)
    number: int = made.add_model(
        [staged(models, task.model, rng)],
        (times_s * 1e9).astype(np.int64),
        routes,
        deadline_ms=task.slo_ms,
        slo_ms=task.slo_ms,
    )
    return number


def staged(models: Models, model: str, rng: np.random.Generator) -> list[Any]:
    """One request's inputs, made up."""
    specs = [(s.name, s.dtype, s.shape) for s in models.source(model, 100).signature.inputs]
    return [array for _, array in random_inputs(specs, rng)]


def finished(made: Any, seconds: float) -> Any:
    """Starts the load, waits for its end; the records."""
    try:
        made.start()
        if not made.wait(seconds + RUN_LIMIT_S):
            raise DeviceError("the load did not end")
        return made.records()
    finally:
        made.close()


def one_gpulet(
    number: int, share_pct: int, cores: Sequence[int], model: ModelShare
) -> PlacedGpulet:
    """A gpulet with one model, where the caller wants it."""
    return PlacedGpulet(number=number, share_pct=share_pct, cores=tuple(cores), models=(model,))


def run_main(main: Callable[[], None]) -> None:
    """Errors of the user's in one line, as the commands have them."""
    try:
        main()
    except GletError as error:
        say(f"error: {error}")
        raise SystemExit(error.exit_code) from None


MODELS_DIR = ROOT / "build" / "bench" / "gpu" / "models"
