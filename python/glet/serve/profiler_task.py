"""The process that measures one model on one gpulet, or two models on two.

`python -m glet.serve.profiler_task TASK` with a Task as JSON prints a JSON object a line, see Line.
It has its own engine, so that memory is told apart and a model that crashes costs only its points.
"""

import os
import select
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any

import msgspec

from glet.clock import Clock, SystemClock
from glet.errors import ConfigError, DeviceError, GletError, ModelError
from glet.native import core
from glet.plan.layout import PlacedGpulet
from glet.serve.child import Child, describe_exit, end_with_parent, python
from glet.serve.dram_demand import DramCounter, estimated, peak_bytes_per_s
from glet.serve.engine_partition import add_gpulet
from glet.serve.gpus import VISIBLE
from glet.serve.memory_used import used_memory_mb
from glet.serve.model_loader import ModelLoader, model_plan, open_torch, untagged
from glet.serve.profiler_beside import Compared, measure_beside
from glet.serve.profiler_rule import Measured, Run, StopRule, measure_point
from glet.serve.status import LineReader
from glet.types.device import PartitionKind
from glet.wire.messages import AddGpulet, Limits, ModelSource

MODEL = 0


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """A gpulet and the model that runs on it."""

    gpulet: PlacedGpulet
    source: ModelSource


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure: on one seat each batch size, on two seats each pair of batch sizes.

    `variables` are added to the environment of the process that measures.
    """

    kind: PartitionKind
    seats: tuple[Seat, ...]
    batches: tuple[tuple[int, ...], ...]
    rule: StopRule
    variables: dict[str, str] = msgspec.field(default_factory=dict)
    parent_pid: int = 0


class PointDone(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="point"):
    """A batch size was measured. Memory: what the model added to the process up to now.

    `dram` is the part of the device's memory bandwidth that it drew, None where nobody can tell;
    `counted` by the device itself, else estimated.
    """

    batch: int
    measured: Measured
    memory_mb: float
    weights_mb: float
    process_mb: float
    dram: float | None = None
    counted: bool = False


class PairDone(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="pair"):
    """Two batch sizes were measured beside each other; sides in the order of the seats."""

    batches: tuple[int, ...]
    sides: tuple[Compared, ...]

    @property
    def steady(self) -> bool:
        return all(side.alone.steady and side.beside.steady for side in self.sides)


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="failed"):
    """The task cannot go on; what was said before holds. `is_input`: by the user's fault."""

    message: str
    is_input: bool


Done = PointDone | PairDone
Line = PointDone | PairDone | Failed


def run_task(task: Task) -> Generator[Done, None, None]:
    """Measures in a process of its own; one result per batch size or pair, in the task's order.

    Closing the iterator ends the process. Raises ModelError when the model fails or ends it,
    ConfigError when what the user gave is wrong.
    """
    task = msgspec.structs.replace(task, parent_pid=os.getpid())
    what = " beside ".join(dict.fromkeys(repr(seat.source.name) for seat in task.seats))
    command = python("glet.serve.profiler_task", msgspec.json.encode(task).decode())
    child = Child(command, capture=True, environment={**os.environ, **task.variables})
    with closing(_Ended(child)):
        reader = LineReader(child.stdout_fd)
        while not reader.ended:
            select.select([child.stdout_fd], [], [])
            for line in reader.lines():
                done = msgspec.json.decode(line, type=Line)
                if isinstance(done, Failed):
                    kind = ConfigError if done.is_input else ModelError
                    raise kind(f"model {what}: {done.message.removeprefix(f'model {what}: ')}")
                yield done
        code = child.close(patience_s=5.0)
    if code != 0:
        raise ModelError(f"model {what}: measuring stopped: {describe_exit(code)}")


class _Ended:
    """Closes a child whatever happened, at once."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def close(self) -> None:
        self._child.kill()
        self._child.close()


class Bench:
    """Engine with the seats of a task: what the process measures with."""

    def __init__(self, task: Task, clock: Clock) -> None:
        self._task = task
        self._clock = clock
        self._engine: Any = core.Engine()
        self._models = ModelLoader(self._engine, runners=len(task.seats))

    def run(self, tell: Callable[[Done], None]) -> None:
        """Loads, measures, tells. Raises what the core and the models raise."""
        for number, seat in enumerate(self._task.seats):
            add_gpulet(self._engine, _added(number, seat.gpulet, self._task.kind))
        if any(seat.source.runner == "compiled" for seat in self._task.seats):
            open_torch()
        before_mb = used_memory_mb(self._task.kind)
        for number, seat in enumerate(self._task.seats):
            self._load(number, seat.source)
        for batches in self._task.batches:
            runs = [self._runner(number, batch) for number, batch in enumerate(batches)]
            if len(runs) > 1:
                tell(self._pair(batches, runs))
            else:
                tell(self._point(batches[0], runs[0], before_mb))

    def close(self) -> None:
        """Stops the gpulets."""
        self._engine.close()

    def _load(self, number: int, source: ModelSource) -> None:
        # Nothing is admitted here: any latency will do.
        known = source.compute_ms or ((1, 1.0), (max(2, source.max_batch), 1.0))
        limits = Limits(batch=source.max_batch, time_share=1.0, capacity=1, margin_ms=0.0)
        self._models.load(number, MODEL, source, model_plan(known, limits))

    def _runner(self, number: int, batch: int) -> Run:
        def run(count: int) -> Sequence[int]:
            took_ns: list[int] = self._engine.measure(number, MODEL, batch, count)
            return took_ns

        return run

    def _point(self, batch: int, run: Run, before_mb: float) -> PointDone:
        measured = measure_point(run, self._task.rule, self._clock)
        weights_mb = self._models.weights_bytes(self._task.seats[0].source) / 1e6
        added_mb = used_memory_mb(self._task.kind) - before_mb
        dram, counted = self._drawn(run, measured.p50_ms)
        return PointDone(
            batch=batch,
            measured=measured,
            memory_mb=max(added_mb, weights_mb, 0.0),
            weights_mb=weights_mb,
            process_mb=before_mb,
            dram=dram,
            counted=counted,
        )

    def _drawn(self, run: Run, latency_ms: float) -> tuple[float | None, bool]:
        """By the device's counters where it has them, else by what a batch has to move."""
        if self._task.kind != "green":
            return None, False
        try:
            with DramCounter(self._task.variables.get(VISIBLE, "0")) as counter:
                return counter.drawn(lambda: run(1), self._clock), True
        except DeviceError:
            memory = self._models.memory(0, MODEL, self._task.seats[0].source)
            moved_bytes = (memory.weights_mb + memory.graphs_mb) * 1e6
            return estimated(moved_bytes, latency_ms, peak_bytes_per_s()), False

    def _pair(self, batches: tuple[int, ...], runs: Sequence[Run]) -> PairDone:
        sides = measure_beside(runs, self._task.rule, self._clock)
        return PairDone(batches=batches, sides=tuple(sides))


def _added(number: int, gpulet: PlacedGpulet, kind: PartitionKind) -> AddGpulet:
    return AddGpulet(
        step=0,
        gpulet=number,
        kind=kind,
        share_pct=gpulet.share_pct,
        cores=gpulet.cores,
        units=gpulet.units,
    )


def main(argv: Sequence[str]) -> int:
    """The process; its exit code."""
    task = msgspec.json.decode(argv[0], type=Task)
    # Models may print; the lines have the pipe for themselves.
    pipe = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def tell(line: Line) -> None:
        os.write(pipe, msgspec.json.encode(line) + b"\n")

    try:
        end_with_parent(task.parent_pid, signal.SIGKILL)
        bench = Bench(task, SystemClock())
        try:
            bench.run(tell)
        finally:
            bench.close()
    except (GletError, OSError, MemoryError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        message = untagged(line)
        tell(Failed(message=message, is_input=getattr(error, "exit_code", 1) == 2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
