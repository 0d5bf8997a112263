"""Performs a backend's steps on the engine, one after the other, beside the executor's loop."""

import logging
import os
import queue
import threading
from pathlib import Path
from typing import Any

from glet.clock import Clock
from glet.errors import GletError
from glet.native import core
from glet.serve.callables import load_callable
from glet.serve.measure import measure_latency
from glet.serve.repository import Repository
from glet.serve.torch_path import find_torch
from glet.types.model import Signature, TensorSpec
from glet.wire.messages import (
    AddGpulet,
    LatencyPoints,
    Limits,
    LoadModel,
    ModelSource,
    RemoveGpulet,
    Step,
    StepDone,
    UpdateModel,
)

logger = logging.getLogger(__name__)

NS_PER_MS = 1e6


class StepWorker:
    """A thread: loading takes seconds, and the executor's loop has to beat meanwhile.

    `done_fd` is readable while take_done() has something.
    """

    def __init__(self, engine: Any, clock: Clock, runners: int) -> None:
        """`runners`: how many gpulets may run one compiled model at once."""
        self._engine = engine
        self._clock = clock
        self._runners = runners
        self._compiled: dict[str, Any] = {}
        self._users: dict[tuple[int, int], str] = {}
        self._steps: queue.SimpleQueue[Step | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[StepDone] = queue.SimpleQueue()
        self.done_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # A model that never returns from its load must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="steps", daemon=True)
        self._thread.start()

    def submit(self, step: Step) -> None:
        """Steps are performed in this order; each gives one StepDone."""
        self._steps.put(step)

    def take_done(self) -> list[StepDone]:
        """What ended since the last call."""
        try:
            os.eventfd_read(self.done_fd)
        except BlockingIOError:
            return []
        done = []
        while not self._done.empty():
            done.append(self._done.get())
        return done

    def close(self, patience_s: float) -> None:
        """Ends the thread after the step it is in, waiting at most this long."""
        self._steps.put(None)
        self._thread.join(patience_s)
        if not self._thread.is_alive():
            os.close(self.done_fd)

    def _run(self) -> None:
        while (step := self._steps.get()) is not None:
            self._done.put(self._perform(step))
            os.eventfd_write(self.done_fd, 1)

    def _perform(self, step: Step) -> StepDone:
        try:
            return StepDone(step=step.step, latency_ms=self._act(step))
        except (GletError, OSError, MemoryError) as error:
            # The backend is told, and says it to whoever has to know.
            logger.info("step failed kind=%s: %s", type(step).__name__, error)
            line = (str(error).splitlines() or [type(error).__name__])[0]
            line = line.removeprefix("[PythonRunner] ")
            what = f"model {step.source.name!r}: " if isinstance(step, LoadModel) else ""
            return StepDone(step=step.step, error=what + line.removeprefix(what))

    def _act(self, step: Step) -> LatencyPoints:
        if isinstance(step, AddGpulet):
            self._engine.add_gpulet(step.gpulet, step.kind, step.share_pct, list(step.cores))
        elif isinstance(step, RemoveGpulet):
            self._engine.remove_gpulet(step.gpulet, self._until_ns(step.drain_ms))
            self._forget_weights({user for user in self._users if user[0] == step.gpulet})
        elif isinstance(step, LoadModel):
            return self._load(step)
        elif isinstance(step, UpdateModel):
            plan = model_plan(step.latency_ms, step.limits)
            self._engine.update(step.gpulet, step.model, plan)
        else:
            self._unload(step.gpulet, step.model, self._until_ns(step.drain_ms))
        return ()

    def _load(self, step: LoadModel) -> LatencyPoints:
        source = step.source
        # Nobody sends requests before the step is done: until then any latency will do.
        known = step.latency_ms or source.compute_ms or ((1, 1.0), (max(2, source.max_batch), 1.0))
        self._place(step, source, model_plan(known, step.limits))
        if step.latency_ms or source.compute_ms:
            return known
        try:
            measured = measure_latency(
                lambda batch, repeats: list(
                    self._engine.measure(step.gpulet, step.model, batch, repeats)
                ),
                source.max_batch,
                self._clock,
            )
            plan = model_plan(measured, step.limits)
            self._engine.update(step.gpulet, step.model, plan)
        except GletError:
            self._unload(step.gpulet, step.model, 0)
            raise
        return measured

    def _place(self, step: LoadModel, source: ModelSource, plan: Any) -> None:
        where = (step.gpulet, step.model)
        signature = native_signature(source.signature)
        if source.runner == "profiled":
            self._engine.load_profiled(*where, signature, source.max_batch, plan)
        elif source.runner == "python":
            folder = Path(source.path)
            function = load_callable(Repository(folder.parent).entry(folder.name))
            self._engine.load_python(*where, function, signature, source.max_batch, plan)
        else:
            model = self._weights(source, signature)
            self._engine.load_aoti(*where, model, source.max_batch, plan)
            self._compiled[source.path] = model
            self._users[where] = source.path

    def _weights(self, source: ModelSource, signature: Any) -> Any:
        if source.path in self._compiled:
            return self._compiled[source.path]
        core.load_torch(str(find_torch().libtorch_cpu))
        return core.AotiModel(source.path, signature, self._runners)

    def _unload(self, gpulet: int, model: int, until_ns: int) -> None:
        self._engine.unload(gpulet, model, until_ns)
        self._forget_weights({(gpulet, model)})

    def _forget_weights(self, users: set[tuple[int, int]]) -> None:
        for user in users & self._users.keys():
            del self._users[user]
        for path in self._compiled.keys() - self._users.values():
            del self._compiled[path]

    def _until_ns(self, drain_ms: float) -> int:
        return int(core.now_ns() + drain_ms * NS_PER_MS)


def model_plan(latency_ms: LatencyPoints, limits: Limits) -> Any:
    """The core's ModelPlan."""
    return core.ModelPlan(
        core.LatencyTable([(batch, max(1, round(ms * NS_PER_MS))) for batch, ms in latency_ms]),
        core.QueueLimits(
            capacity=limits.capacity,
            max_batch=limits.batch,
            margin_ns=round(limits.margin_ms * NS_PER_MS),
            linger_ns=round(limits.linger_ms * NS_PER_MS),
        ),
        limits.time_share,
    )


def native_signature(signature: Signature) -> Any:
    """The core's Signature."""

    def native(spec: TensorSpec) -> Any:
        return core.TensorSpec(spec.name, spec.dtype, list(spec.shape))

    return core.Signature(
        [native(spec) for spec in signature.inputs], [native(spec) for spec in signature.outputs]
    )
