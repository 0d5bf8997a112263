"""Load for a bed: Poisson arrivals, straight into engines or over the wire into executors.

Both are the core's own generators, with the same router, and give the same records.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from bed_models import Models
from numpy.typing import NDArray

from glet.errors import DeviceError
from glet.native import core
from glet.observe.report import LoadedModel, report
from glet.plan.problem import Task
from glet.serve.model_loader import native_signature
from glet.types.model import Signature
from glet.wire.zmq_path import libzmq_path
from glet.workload.arrivals import PoissonArrivals
from glet.workload.sample import random_inputs

RUN_LIMIT_S = 120.0
DRAIN_S = 10.0

Inputs = Sequence[NDArray[Any]]


class Route(NamedTuple):
    """`where`: an engine of this process, or the number of an executor."""

    where: Any
    gpulet: int
    model: int
    weight: float


class BedLoad(Protocol):
    """Open-loop load; add() before start()."""

    def add(
        self,
        task: Task,
        signature: Signature,
        inputs: Inputs,
        arrivals_ns: NDArray[np.int64],
        routes: Sequence[Route],
    ) -> None: ...

    def start(self) -> None: ...
    def set_routes(self, model: str, routes: Sequence[Route]) -> None: ...

    def first_batch_ns(self, model: str, route: Route) -> int | None:
        """When the first batch began there; None: not yet, or nobody can tell."""
        ...

    def stop(self) -> None: ...
    def wait(self, limit_s: float) -> bool: ...
    def records(self) -> Any: ...
    def close(self) -> None: ...


class InProcess:
    """Straight into engines of this process."""

    def __init__(self) -> None:
        self._load: Any = core.EngineLoad(drain_s=DRAIN_S)
        self._numbers: dict[str, int] = {}
        self.start, self.stop, self.wait = self._load.start, self._load.stop, self._load.wait
        self.records, self.close = self._load.records, self._load.close

    def add(
        self,
        task: Task,
        signature: Signature,
        inputs: Inputs,
        arrivals_ns: NDArray[np.int64],
        routes: Sequence[Route],
    ) -> None:
        self._numbers[task.model] = self._load.add_model(
            [list(inputs)], arrivals_ns, list(routes), deadline_ms=task.slo_ms, slo_ms=task.slo_ms
        )

    def set_routes(self, model: str, routes: Sequence[Route]) -> None:
        self._load.set_routes(self._numbers[model], list(routes))

    def first_batch_ns(self, model: str, route: Route) -> int | None:
        found: int | None = self._load.first_batch_ns(
            self._numbers[model], route.where, route.gpulet
        )
        return found


class OverWire:
    """Through a frontend's loop, which is in this process, to executors that are not."""

    def __init__(self, frontend: Any, endpoint: str) -> None:
        self._frontend = frontend
        self._load: Any = core.LoadLoop(libzmq_path(), endpoint, drain_s=DRAIN_S)
        self.start, self.stop, self.wait = self._load.start_open, self._load.stop, self._load.wait
        self.records, self.close = self._load.records, self._load.close

    def add(
        self,
        task: Task,
        signature: Signature,
        inputs: Inputs,
        arrivals_ns: NDArray[np.int64],
        routes: Sequence[Route],
    ) -> None:
        self._frontend.set_model(task.model, native_signature(signature), task.slo_ms)
        self.set_routes(task.model, routes)
        named = [(spec.name, array) for spec, array in zip(signature.inputs, inputs, strict=True)]
        self._load.add_model(
            task.model,
            [named],
            arrivals_ns=arrivals_ns,
            deadline_ms=task.slo_ms,
            slo_ms=task.slo_ms,
        )

    def set_routes(self, model: str, routes: Sequence[Route]) -> None:
        self._frontend.set_routes(model, list(routes))

    def first_batch_ns(self, model: str, route: Route) -> int | None:
        return None


class Load(NamedTuple):
    """Poisson arrivals, open loop. What is sent in the first `warm_s` is not looked at."""

    factor: float
    seconds: float
    warm_s: float
    seed: int


def run_load(
    made: BedLoad,
    models: Models,
    routes: Mapping[str, Sequence[Route]],
    tasks: Sequence[Task],
    load: Load,
) -> dict[str, Any]:
    """The report of `glet load` over the requests after the warm-up.

    Raises DeviceError when the run does not end.
    """
    rngs = np.random.default_rng(load.seed).spawn(len(tasks))
    for task, rng in zip(tasks, rngs, strict=True):
        add_task(made, models, routes[task.model], task, (load, rng))
    records = finished(made, load.warm_s + load.seconds)
    records = records[records["intended_ns"] >= load.warm_s * 1e9]
    known = [LoadedModel(name=task.model, slo_ms=task.slo_ms) for task in tasks]
    return report(records, known, load.seconds, device="bench", emulated=False)


def add_task(
    made: BedLoad,
    models: Models,
    routes: Sequence[Route],
    task: Task,
    drawn: tuple[Load, np.random.Generator],
) -> None:
    """One model's arrivals; models have the numbers in records in which they were added."""
    load, rng = drawn
    span_s = load.warm_s + load.seconds
    times_s = PoissonArrivals().times_s(task.rate_rps * load.factor, span_s, rng)
    signature = models.source(task.model, 100).signature
    arrivals_ns = (times_s * 1e9).astype(np.int64)
    made.add(task, signature, staged(models, task.model, rng), arrivals_ns, routes)


def staged(models: Models, model: str, rng: np.random.Generator) -> list[Any]:
    """One request's inputs, made up."""
    specs = [(s.name, s.dtype, s.shape) for s in models.source(model, 100).signature.inputs]
    return [array for _, array in random_inputs(specs, rng)]


def finished(made: BedLoad, seconds: float) -> Any:
    """Starts the load, waits for its end; the records."""
    try:
        made.start()
        if not made.wait(seconds + RUN_LIMIT_S):
            raise DeviceError("the load did not end")
        return made.records()
    finally:
        made.close()
