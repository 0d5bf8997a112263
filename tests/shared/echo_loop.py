"""A frontend's loop before an engine in the same process: doors without daemons or models."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from glet.native import core
from glet.wire.zmq_path import libzmq_path

GPULET = 1
MAX_BATCH = 32
LATENCY_NS = 1000  # what the queue is told that a batch takes


def signature(inputs: list[tuple[str, str, list[int]]], outputs: Any = None) -> Any:
    """(name, dtype, shape) each; without outputs they repeat the inputs, named y0, y1, ..."""
    made = outputs or [(f"y{i}", dtype, shape) for i, (_, dtype, shape) in enumerate(inputs)]
    return core.Signature(
        [core.TensorSpec(*spec) for spec in inputs], [core.TensorSpec(*spec) for spec in made]
    )


class EchoLoop:
    """Serves models by name: `echo` answers with its inputs, `call` runs a Python function."""

    def __init__(self, engine: Any, loop: Any) -> None:
        self.engine, self.loop = engine, loop
        self._count = 0

    def echo(self, name: str, inputs: list[tuple[str, str, list[int]]], slo_ms: float) -> None:
        sig = signature(inputs)
        self.engine.load_null(GPULET, self._next(), sig, MAX_BATCH, self._plan())
        self._serve(name, sig, slo_ms)

    def call(self, name: str, function: Callable[..., Any], slo_ms: float) -> None:
        """`function` maps x, float32 (n, 4), to the same shape."""
        sig = signature([("x", "float32", [4])])
        self.engine.load_python(GPULET, self._next(), function, sig, MAX_BATCH, self._plan())
        self._serve(name, sig, slo_ms)

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _plan(self) -> Any:
        table = core.LatencyTable([(1, LATENCY_NS), (MAX_BATCH + 1, LATENCY_NS)])
        return core.ModelPlan(table, core.QueueLimits(max_batch=MAX_BATCH, capacity=4096))

    def _serve(self, name: str, sig: Any, slo_ms: float) -> None:
        self.loop.set_model(name, sig, slo_ms)
        self.loop.set_routes(name, [(0, GPULET, self._count, 1.0)])


@contextmanager
def echo_loop(add_doors: Callable[[Any], object]) -> Iterator[EchoLoop]:
    """Runs until it is left; `add_doors(loop)` is called before the loop starts."""
    libzmq = libzmq_path()
    with core.Engine() as engine:
        engine.add_gpulet(GPULET, "profiled")
        executor = core.ExecutorLoop(libzmq, engine)
        endpoint = executor.bind("tcp://127.0.0.1:*")
        executor.start()
        loop = core.FrontendLoop(libzmq)
        add_doors(loop)
        loop.add_executor(0, endpoint)
        loop.start()
        try:
            yield EchoLoop(engine, loop)
        finally:
            loop.close()
            executor.close()
