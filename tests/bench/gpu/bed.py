"""A plan on gpulets of this process, set up by the code that executors run.

`GPULETS` is the one switch between kinds of gpulets. Steps go through serve/step_worker.py, models
through serve/model_loader.py, requests through the core's router and engine (bed_load.py). What
needs processes of its own is in bed_processes.py.
"""

import select
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
from bed_load import BedLoad, InProcess, Route
from bed_models import Models
from lines import ROOT, say
from study import Study

from glet.clock import SystemClock
from glet.config.cluster import BackendConfig
from glet.config.load import nearest
from glet.errors import ConfigError, DeviceError, GletError
from glet.native import core
from glet.plan.assess import slowdowns, tenants_of
from glet.plan.layout import PlacedGpulet, arrange
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

CAPACITY = 8192
STEP_LIMIT_S = 600.0
DRAIN_MS = 2000.0


class Gpulets(NamedTuple):
    """A kind: what a step that adds a gpulet says, and how its models are launched.

    `load`: `in process`, or over the `wire` into executors, one of them or one per gpulet.
    """

    kind: str
    launch: str
    emulated: bool = False
    load: str = "in process"
    per_gpulet: bool = False


GPULETS = {
    "profiled": Gpulets("profiled", "emulated", emulated=True),
    "cpu": Gpulets("cpu", "compiled"),
    "green": Gpulets("green", "graph"),
    "mps": Gpulets("mps", "graph", load="wire", per_gpulet=True),
    # What the wire costs, for comparing mps with.
    "green-wire": Gpulets("green", "graph", load="wire"),
    "profiled-wire": Gpulets("profiled", "emulated", emulated=True, load="wire"),
}


def gpulets_of(kind: str, study: Study | None) -> Gpulets:
    """Raises ConfigError for a kind that does not exist, or that this profile is not for."""
    if kind not in GPULETS:
        raise ConfigError(f"no kind of gpulet is called {kind!r}; {nearest(kind, GPULETS)}")
    found = GPULETS[kind]
    if study is not None and study.emulated and not found.emulated:
        raise ConfigError(
            f"profile {study.profile.type!r} is of no real device; --kind profiled emulates it"
        )
    return found


def device_of(gpulets: Gpulets, type_name: str) -> DeviceInfo:
    """The device of this machine that gpulets of the kind are parts of.

    Raises ConfigError where there is no such GPU.
    """
    if gpulets.kind == "green" or gpulets.kind == "mps":
        return gpu_device(gpulets.kind, BackendConfig(name="bench", type=type_name))
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
        self._gpulets = gpulets
        self._models = models
        self._study = study
        self._margin_ms = margin_ms
        self.numbers: dict[str, int] = {}
        self.priorities: dict[str, int] = {}  # of streams, by model
        self.placed: tuple[PlacedGpulet, ...] = ()  # of the last plan
        self.latency_ms: dict[tuple[int, str], LatencyPoints] = {}
        # What computes, and why it is not what was meant.
        self.runners: dict[tuple[int, str], tuple[str, str]] = {}
        self._measured_ms: dict[tuple[str, int], LatencyPoints] = {}
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> None:
        self._engine: Any = core.Engine()
        self._steps = StepWorker(self._engine, SystemClock(), runners=64)

    def close(self) -> None:
        """Stops all gpulets."""
        self._steps.close(patience_s=5.0)
        self._engine.close()

    def new_load(self) -> BedLoad:
        """Load for models of the bed, not started."""
        return InProcess()

    def route(self, gpulet: int, model: str, weight: float = 1.0) -> Route:
        """To a gpulet that has the model."""
        return Route(self._engine, gpulet, self.numbers[model], weight)

    def measure_ns(self, gpulet: int, model: str, batch: int, repeats: int) -> list[int]:
        """How long batches took."""
        return list(self._engine.measure(gpulet, self.numbers[model], batch, repeats))

    def borrowed(self) -> float:
        """The part of all batches that ran on borrowed shares."""
        stats = self._engine.stats()
        return float(sum(one.borrowed for one in stats) / max(1, sum(one.batches for one in stats)))

    def perform(self, step: Step) -> StepDone:
        """Waits for it. Raises DeviceError with what the executor would have told its backend."""
        self._steps.submit(step)
        select.select([self._steps.done_fd], [], [], STEP_LIMIT_S)
        ended = self._steps.take_done()
        if not ended:
            raise DeviceError(f"{type(step).__name__}: took longer than {STEP_LIMIT_S:g} s")
        ((done,),) = ended
        if done.error:
            raise DeviceError(f"{type(step).__name__}: {done.error}")
        return done

    def apply(self, plan: Plan, device: DeviceInfo) -> dict[str, list[Route]]:
        """Adds the plan's gpulets; routes by model. Those of 100 % lie above each other."""
        routes: dict[str, list[Route]] = {}
        placed = self.placed = _place(plan.gpulets, device)
        for gpulet in placed:
            self.add(gpulet)
            for share in gpulet.models:
                self.load(gpulet, share, self._slowdown(gpulet, share, placed))
                weight = share.rate_rps or 1.0
                route = self.route(gpulet.number, share.model, weight)
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
        self.runners[(gpulet.number, share.model)] = done.runner, done.note
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
