"""Green gpulets and captured graphs from Python, on a libcuda.so.1 that computes on the host."""

import os
import subprocess
import sys
from pathlib import Path

# What stands for torch: a model y = 2 x of one float32 per item, captured on the fake driver.
FAKE_TORCH = """
import ctypes, gc, sys
import numpy as np
from glet.errors import ArgumentError, DeviceError
from glet.native import core

FAR_NS = 60_000_000_000
fake = ctypes.CDLL("libcuda.so.1")
fake.fake_cuda_alloc.argtypes = [ctypes.c_uint64]
fake.fake_cuda_alloc.restype = ctypes.c_uint64
fake.fake_cuda_free.argtypes = [ctypes.c_uint64]
LAUNCH = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
fake.fake_cuda_graph.argtypes = [ctypes.c_void_p, LAUNCH, ctypes.c_void_p]
fake.fake_cuda_graph.restype = ctypes.c_void_p
fake.fake_cuda_graph_free.argtypes = [ctypes.c_void_p]
fake.fake_cuda_enqueue.argtypes = [ctypes.c_void_p, LAUNCH, ctypes.c_void_p]

def count(what):
    return fake.fake_cuda_count(what.encode())

class Work:
    def __init__(self, batch, stream, graph):
        self.x, self.y = fake.fake_cuda_alloc(4 * batch), fake.fake_cuda_alloc(4 * batch)
        x, y = [np.ctypeslib.as_array((ctypes.c_float * batch).from_address(a))
                for a in (self.x, self.y)]
        def launch(_):
            np.multiply(x, 2, out=y)
            return 0
        self.launch = LAUNCH(launch)
        self.graph = fake.fake_cuda_graph(stream, self.launch, None) if graph else 0

    def __del__(self):
        if self.graph:
            fake.fake_cuda_graph_free(self.graph)
        fake.fake_cuda_free(self.x)
        fake.fake_cuda_free(self.y)

captures = []

def capture(batch, stream, context_id):
    captures.append((batch, stream, context_id))
    work = Work(batch, stream, graph=True)
    return core.Captured(inputs=[work.x], outputs=[work.y], graph=work.graph, bytes=8 * batch,
                         owner=work)

def call_instead(batch, stream, context_id):
    work = Work(batch, stream, graph=False)
    def call(n):
        fake.fake_cuda_enqueue(stream, work.launch, None)
        return [work.y]
    return core.Captured(inputs=[work.x], call=call, owner=work, reason="it prints")

x = core.TensorSpec("x", "float32", [1])
y = core.TensorSpec("y", "float32", [1])
signature = core.Signature([x], [y])
plan = core.ModelPlan(core.LatencyTable([(1, 1000), (8, 2000)]), core.QueueLimits(max_batch=8))

def serve(engine, gpulet, model, values):
    due = core.now_ns() + FAR_NS
    engine.submit([(i, gpulet, model, due, [np.array([v], np.float32)])
                   for i, v in enumerate(values)])
    done = []
    while len(done) < len(values) and engine.wait(FAR_NS):
        done += engine.drain()
    done.sort(key=lambda each: each.tag)
    return [float(each.output(0)[0]) if each.error is None else each.error for each in done]
"""


def run(folder: Path, script: str) -> None:
    env = {**os.environ, "LD_LIBRARY_PATH": str(folder), "FAKE_CUDA": ""}
    left = 'gc.collect()\nfor what in ("contexts", "graphs", "memory", "pinned", "primary", '
    left += '"events", "leaked", "misuse"):\n    assert count(what) == 0, (what, count(what))\n'
    done = subprocess.run(
        [sys.executable, "-c", FAKE_TORCH + script + left],
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_a_model_is_captured_served_and_resized(fake_cuda: Path) -> None:
    run(
        fake_cuda,
        """
with core.Engine() as engine:
    half = engine.add_gpulet(1, "green", 50, placement=core.Placement(0, 7))
    assert (half.units, half.sms, half.placement) == (7, 56, core.Placement(0, 7))
    assert round(half.given_pct, 1) == 42.4
    engine.load_graph(1, 5, capture, signature, 8, plan)
    assert len(engine.measure(1, 5, 3, 2)) == 2
    assert captures == [(4, half.stream, half.context_id)]
    values = list(range(20))
    assert serve(engine, 1, 5, values) == [2.0 * v for v in values]
    small = engine.resize_gpulet(1, "green", 20, placement=core.Placement(0, 3))
    assert small.context_id != half.context_id and small.stream != half.stream
    assert serve(engine, 1, 5, values) == [2.0 * v for v in values]
    assert captures[-1][1:] == (small.stream, small.context_id)
    (stats,) = engine.stats()
    assert (stats.kind, stats.reason, stats.ok) == ("graph", "", 40)
    assert stats.graphs == len(captures) == count("graphs")
    assert stats.graph_bytes > 0 and stats.pinned_bytes > 0 and stats.device_busy_ns > 0
    assert engine.green_counts(0) == {
        "created": 2, "reused": 0, "destroyed": 0, "in_use": 1, "idle": 1}
""",
    )


def test_what_cannot_be_captured_is_called_and_errors_are_named(fake_cuda: Path) -> None:
    run(
        fake_cuda,
        """
class OutOfMemoryError(RuntimeError):
    pass

def fails(error):
    def capture(batch, stream, context_id):
        raise error
    return capture

with core.Engine() as engine:
    engine.add_gpulet(1, "green", placement=core.Placement(0, 15, remainder=True))
    engine.load_graph(1, 5, call_instead, signature, 8, plan)
    assert serve(engine, 1, 5, [3, 4]) == [6.0, 8.0]
    (stats,) = engine.stats()
    assert (stats.kind, stats.reason) == ("eager", "it prints")
    engine.load_graph(1, 6, fails(OutOfMemoryError("no room\\nfor it")), signature, 8, plan)
    try:
        engine.measure(1, 6, 1, 1)
    except DeviceError as error:
        assert str(error) == "[GraphRunner] capture of batch 1: OutOfMemoryError: no room", error
    else:
        sys.exit("no DeviceError")
    engine.load_graph(1, 7, fails(ValueError("odd")), signature, 8, plan, batches=[8])
    assert serve(engine, 1, 7, [1]) == ["[GraphRunner] capture of batch 8: ValueError: odd"]
    engine.load_graph(1, 8, lambda *request: 3, signature, 8, plan)
    assert serve(engine, 1, 8, [1]) == [
        "[GraphRunner] capture of batch 1: it did not return a Captured"]
    assert serve(engine, 1, 5, [5]) == [10.0]
""",
    )


def test_wrong_calls_say_what_is_valid(fake_cuda: Path) -> None:
    run(
        fake_cuda,
        """
def why(action):
    try:
        action()
    except (ArgumentError, DeviceError) as error:
        return str(error)

with core.Engine() as engine:
    assert why(lambda: engine.add_gpulet(1, "green")) == (
        "[Engine] kind 'green' needs a placement; got none")
    assert "device 1 is not there" in why(
        lambda: engine.add_gpulet(1, "green", device=1, placement=core.Placement(0, 1)))
    assert why(lambda: engine.add_gpulet(1, "green", placement=core.Placement(14, 2))) is not None
    engine.add_gpulet(1, "profiled")
    assert why(lambda: engine.load_graph(1, 5, capture, signature, 8, plan)) == (
        "[Engine.green_device] gpulet 1 is of kind profiled; a green one is needed")
    assert "cannot be called" in why(lambda: engine.load_graph(1, 5, 3, signature, 8, plan))
""",
    )
