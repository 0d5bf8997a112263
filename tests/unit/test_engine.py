"""The engine as Python sees it; what it promises in general is tested in tests/cpp."""

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from glet.errors import ArgumentError, ModelError
from glet.native import core

FAR_NS = 60_000_000_000
DTYPES = {
    "float32": np.float32,
    "float64": np.float64,
    "float16": np.float16,
    "bfloat16": np.uint16,
    "int64": np.int64,
    "int32": np.int32,
    "int16": np.int16,
    "int8": np.int8,
    "uint8": np.uint8,
    "bool": np.bool_,
}


def signature(dtype: str = "float32", shape: tuple[int, ...] = (2,)) -> Any:
    return core.Signature(
        [core.TensorSpec("x", dtype, list(shape))], [core.TensorSpec("y", dtype, list(shape))]
    )


def plan(max_batch: int = 1, capacity: int = 64, latency_ns: int = 1000) -> Any:
    table = core.LatencyTable([(1, latency_ns), (max_batch + 1, latency_ns)])
    return core.ModelPlan(table, core.QueueLimits(max_batch=max_batch, capacity=capacity))


@pytest.fixture
def engine() -> Iterator[Any]:
    with core.Engine() as made:
        made.add_gpulet(1, "profiled")
        yield made


def collect(engine: Any, count: int) -> list[Any]:
    done: list[Any] = []
    while len(done) < count and engine.wait(FAR_NS):
        done += engine.drain()
    return done


def infer(engine: Any, *buffers: Any) -> Any:
    engine.submit([(7, 1, 5, core.now_ns() + FAR_NS, list(buffers))])
    (done,) = collect(engine, 1)
    return done


def load(engine: Any, function: Callable[..., Any], sig: Any | None = None) -> None:
    engine.load_python(1, 5, function, sig or signature(), 4, plan(4))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_dtypes_and_shapes_pass_through(engine: Any, dtype: str, shape: tuple[int, ...]) -> None:
    seen = []

    def function(x: np.ndarray) -> np.ndarray:
        seen.append((x.dtype, x.shape))
        return x[::-1]

    load(engine, function, signature(dtype, shape))
    x = np.ones(shape, DTYPES[dtype])
    output = infer(engine, x).output(0)
    assert seen == [(np.dtype(DTYPES[dtype]), (1, *shape))]
    assert output.dtype == DTYPES[dtype]
    np.testing.assert_array_equal(output, x, strict=True)


def test_outputs_are_converted_to_the_signature(engine: Any) -> None:
    load(engine, lambda x: [[[1, 2]]])
    np.testing.assert_array_equal(
        infer(engine, np.zeros(2, np.float32)).output(0), np.array([1, 2], np.float32), strict=True
    )


def test_outputs_are_read_only_views_of_one_batch(engine: Any) -> None:
    kept = []

    def function(x: np.ndarray) -> np.ndarray:
        kept.append(x + 1)
        return kept[-1]

    load(engine, function)
    done = infer(engine, np.zeros(2, np.float32))
    output = done.output(0)
    assert np.shares_memory(output, kept[0])
    assert not output.flags.writeable
    del done
    np.testing.assert_array_equal(output, [1, 1])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x[:, :1], r"output 'y' has shape \(1, 1\); expected \(1, 2\)"),
        (lambda x: (x, x), "returned 2 outputs; the signature has 1"),
        (lambda x: 1 / 0, "ZeroDivisionError"),
        (lambda x: [[["a", "b"]]], "could not convert string to float"),
    ],
)
def test_a_function_that_misbehaves_fails_its_batch(
    engine: Any, function: Callable[..., Any], message: str
) -> None:
    load(engine, function)
    done = infer(engine, np.zeros(2, np.float32))
    assert done.outcome == "failed"
    with pytest.raises(ModelError, match=message):
        engine.measure(1, 5, 1, 1)
    with pytest.raises(ArgumentError, match="output 0 of 0; outcome failed"):
        done.output(0)


def test_full_and_late_are_refused_while_a_batch_runs(engine: Any) -> None:
    entered, let_go = threading.Event(), threading.Event()

    def function(x: np.ndarray) -> np.ndarray:
        entered.set()
        assert let_go.wait(60)
        return x

    engine.load_python(1, 5, function, signature(), 1, plan(1, 2, 5_000_000_000))
    x = np.zeros(2, np.float32)
    due_ns = core.now_ns() + FAR_NS
    engine.submit([(0, 1, 5, due_ns, [x])])
    assert entered.wait(60)
    engine.submit([(1, 1, 5, core.now_ns() + 6_000_000_000, [x])])
    engine.submit([(tag, 1, 5, due_ns, [x]) for tag in (2, 3, 4)])
    refused = {each.tag: each.outcome for each in collect(engine, 2)}
    assert refused == {1: "late", 4: "full"}
    let_go.set()
    assert {each.outcome for each in collect(engine, 3)} == {"ok"}
    (stats,) = engine.stats()
    assert (stats.ok, stats.late, stats.full, stats.batches) == (3, 1, 1, 3)


def test_buffers_are_held_until_drained_and_then_released(engine: Any) -> None:
    load(engine, lambda x: x)
    held = bytearray(8)
    engine.submit([(1, 1, 5, core.now_ns() + FAR_NS, [held])])
    assert engine.wait(FAR_NS)
    with pytest.raises(BufferError):
        held.extend(b"x")
    assert len(engine.drain()) == 1
    held.extend(b"x")


def test_what_is_no_contiguous_buffer_is_refused_before_anything_is_sent(engine: Any) -> None:
    load(engine, lambda x: x)
    good = bytearray(8)
    due_ns = core.now_ns() + FAR_NS
    for bad in (np.zeros(4, np.float32)[::2], 3):
        with pytest.raises(ArgumentError, match="input 1 of request 9 is no contiguous buffer"):
            engine.submit([(8, 1, 5, due_ns, [good]), (9, 1, 5, due_ns, [good, bad])])
    good.extend(b"x")
    assert engine.drain() == []


def test_drain_takes_at_most_what_is_asked(engine: Any) -> None:
    load(engine, lambda x: x)
    engine.submit([(tag, 1, 5, core.now_ns() + FAR_NS, [bytes(8)]) for tag in range(5)])
    assert engine.drain_all(core.now_ns() + FAR_NS)
    assert len(engine.drain(2)) == 2
    assert engine.wait(0)
    assert len(engine.drain()) == 3
    assert not engine.wait(0)


def test_a_function_is_let_go_with_its_model(engine: Any) -> None:
    class Model:
        def __call__(self, x: np.ndarray) -> np.ndarray:
            return x

    model = Model()
    alive = weakref.ref(model)
    load(engine, model)
    infer(engine, bytes(8))
    engine.unload(1, 5)
    del model
    gc.collect()
    assert alive() is None


def test_closing_ends_it_for_good(engine: Any) -> None:
    load(engine, lambda x: x)
    engine.submit([(1, 1, 5, core.now_ns() + FAR_NS, [bytes(8)])])
    engine.close()
    engine.close()
    with pytest.raises(ArgumentError, match="closed"):
        engine.stats()


def test_wrong_calls_say_what_is_valid(engine: Any) -> None:
    with pytest.raises(ArgumentError, match="kind 'gpu'; valid: cpu, profiled, green"):
        engine.add_gpulet(2, "gpu")
    with pytest.raises(ArgumentError, match="cannot be called"):
        engine.load_python(1, 5, 3, signature(), 1, plan())
    with pytest.raises(ArgumentError, match="3 fields"):
        engine.submit([(1, 2, 3)])
    with pytest.raises(ArgumentError, match="unknown dtype"):
        core.TensorSpec("x", "float12", [1])
    with pytest.raises(ArgumentError, match="timeout_ns -1"):
        engine.wait(-1)


@pytest.mark.parametrize("ending", ["", "engine.close()", "del engine", "raise SystemExit(0)"])
def test_the_interpreter_ends_cleanly_with_work_in_flight(ending: str) -> None:
    program = f"""
import numpy as np
from glet.native import core
x = core.TensorSpec("x", "float32", [2])
engine = core.Engine()
engine.add_gpulet(1, "profiled")
table = core.LatencyTable([(1, 1000)])
plan = core.ModelPlan(table, core.QueueLimits(max_batch=1))
engine.load_python(1, 5, lambda x: x + 1, core.Signature([x], [x]), 1, plan)
due_ns = core.now_ns() + 10**11
engine.submit([(i, 1, 5, due_ns, [bytes(8)]) for i in range(500)])
engine.wait(10**11)
kept = engine.drain(1)[0].output(0)
{ending}
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, b"")
