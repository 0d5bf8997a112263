"""Performs a backend's steps on the engine, one after the other, beside the executor's loop."""

import logging
import os
import queue
import threading
from typing import Any

from glet.clock import Clock
from glet.errors import GletError
from glet.native import core
from glet.serve.engine_partition import add_gpulet, resize_gpulet
from glet.serve.measure import batches_up_to, measure_latency
from glet.serve.memory_used import used_memory_mb
from glet.serve.model_loader import (
    NS_PER_MS,
    ModelLoader,
    latency_table,
    model_plan,
    untagged,
)
from glet.wire.loan_messages import SetLoans
from glet.wire.messages import (
    AddGpulet,
    LatencyPoints,
    Limits,
    LoadModel,
    RemoveGpulet,
    ResizeGpulet,
    Step,
    StepDone,
    UpdateModel,
)

logger = logging.getLogger(__name__)

BYTES_PER_MB = 1e6


class StepWorker:
    """A thread: loading takes seconds, and the executor's loop has to beat meanwhile.

    `done_fd` is readable while take_done() has something.
    """

    def __init__(self, engine: Any, clock: Clock, runners: int) -> None:
        """`runners`: how many gpulets may run one compiled model at once."""
        self._engine = engine
        self._clock = clock
        self._models = ModelLoader(engine, runners)
        self._steps: queue.SimpleQueue[tuple[Step, ...] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[StepDone, ...]] = queue.SimpleQueue()
        self.done_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # A model that never returns from its load must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="steps", daemon=True)
        self._thread.start()

    def submit(self, *steps: Step) -> None:
        """One or more; steps are performed in this order, and each gives one StepDone."""
        self._steps.put(steps)

    def take_done(self) -> list[tuple[StepDone, ...]]:
        """What ended since the last call: those of a submit() together, when all have ended."""
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
        while (steps := self._steps.get()) is not None:
            self._done.put(tuple(self._perform(step) for step in steps))
            os.eventfd_write(self.done_fd, 1)

    def _perform(self, step: Step) -> StepDone:
        try:
            return self._act(step)
        except Exception as error:  # noqa: BLE001 - without this thread no later step is performed
            # The backend is told, and says it to whoever has to know.
            logger.info("step failed kind=%s: %s", type(step).__name__, error)
            line = (str(error).splitlines() or [type(error).__name__])[0]
            line = untagged(line)
            what = f"model {step.source.name!r}: " if isinstance(step, LoadModel) else ""
            return StepDone(step=step.step, error=what + line.removeprefix(what))

    def _act(self, step: Step) -> StepDone:
        if isinstance(step, AddGpulet):
            add_gpulet(self._engine, step)
        elif isinstance(step, ResizeGpulet):
            self._resize(step)
        elif isinstance(step, RemoveGpulet):
            self._engine.remove_gpulet(step.gpulet, self._until_ns(step.drain_ms))
            self._models.forget(step.gpulet)
        elif isinstance(step, SetLoans):
            self._set_loans(step)
        elif isinstance(step, LoadModel):
            return self._load(step)
        elif isinstance(step, UpdateModel):
            latency_ms = step.latency_ms or self._measure(step.gpulet, step.model, step.max_batch)
            self._fit(step.gpulet, step.model, latency_ms, step.limits)
            return StepDone(step=step.step, latency_ms=latency_ms)
        else:
            self._models.unload(step.gpulet, step.model, self._until_ns(step.drain_ms))
        return StepDone(step=step.step)

    def _resize(self, step: ResizeGpulet) -> None:
        resize_gpulet(self._engine, step)
        for model in step.models:
            self._fit(step.gpulet, model.model, model.latency_ms, model.limits)

    def _set_loans(self, step: SetLoans) -> None:
        loans = [
            (loan.lender, [(model, latency_table(ms)) for model, ms in loan.latency_ms.items()])
            for loan in step.loans
        ]
        self._engine.set_loans(step.gpulet, loans)

    def _fit(self, gpulet: int, model: int, latency_ms: LatencyPoints, limits: Limits) -> None:
        """The queue predicts with these from now on, and an emulated model takes as long."""
        self._engine.update(gpulet, model, model_plan(latency_ms, limits))
        self._models.emulate(gpulet, model, latency_ms)
        self._models.slow(gpulet, model, limits.slowdown)

    def _measure(self, gpulet: int, model: int, max_batch: int) -> LatencyPoints:
        return measure_latency(
            lambda batch, repeats: list(self._engine.measure(gpulet, model, batch, repeats)),
            max_batch,
            self._clock,
        )

    def _load(self, step: LoadModel) -> StepDone:
        source = step.source
        # Looking at what a process uses takes milliseconds of a core that others compute on.
        is_new = source.runner in ("compiled", "python") and not self._models.has(source)
        before_mb = used_memory_mb("cpu") if is_new else 0.0
        # Nobody sends requests before the step is done: until then any latency will do.
        known = step.latency_ms or source.compute_ms or ((1, 1.0), (max(2, source.max_batch), 1.0))
        self._models.load(step.gpulet, step.model, source, model_plan(known, step.limits))
        self._models.slow(step.gpulet, step.model, step.limits.slowdown)
        latency_ms = known
        if not (step.latency_ms or source.compute_ms):
            latency_ms = self._measure_loaded(step)
        elif source.runner == "graph":
            self._capture(step)
        memory = self._models.memory(step.gpulet, step.model, source)
        used_mb = memory.weights_mb + memory.graphs_mb + memory.staging_mb
        runner, note = self._models.runner(step.gpulet, step.model, source)
        if is_new:
            # On a CPU libraries and working memory count, and are the process's.
            used_mb = max(used_mb, used_memory_mb("cpu") - before_mb)
        return StepDone(
            step=step.step,
            latency_ms=latency_ms,
            runner=runner,
            note=note,
            memory_mb=memory.weights_mb,
            used_mb=used_mb,
            memory=memory,
        )

    def _measure_loaded(self, step: LoadModel) -> LatencyPoints:
        try:
            measured = self._measure(step.gpulet, step.model, step.source.max_batch)
            plan = model_plan(measured, step.limits)
            self._engine.update(step.gpulet, step.model, plan)
        except GletError:
            self._models.unload(step.gpulet, step.model, 0)
            raise
        return measured

    def _capture(self, step: LoadModel) -> None:
        """Has every graph made now: a capture takes long, and requests would wait for it."""
        try:
            for batch in batches_up_to(step.source.max_batch):
                self._engine.measure(step.gpulet, step.model, batch, 1)
        except GletError:
            self._models.unload(step.gpulet, step.model, 0)
            raise

    def _until_ns(self, drain_ms: float) -> int:
        return int(core.now_ns() + drain_ms * NS_PER_MS)
