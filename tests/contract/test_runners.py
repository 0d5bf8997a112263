"""What every runner promises, whatever computes behind it."""

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from glet.errors import ArgumentError
from glet.native import core

MAX_BATCH = 8
FAR_NS = 60_000_000_000
NAMES = ("null", "profiled", "python", "aoti")


class Case(NamedTuple):
    load: Callable[[Any, int, int, int], None]
    """(engine, gpulet, model, planned batch): a runner for up to MAX_BATCH."""
    x: np.ndarray
    """Inputs, request by request."""
    outputs: list[np.ndarray]
    """What each output must be, request by request."""


def signature(*outputs: tuple[str, list[int]]) -> Any:
    x = core.TensorSpec("x", "float32", [16])
    return core.Signature([x], [core.TensorSpec(name, "float32", shape) for name, shape in outputs])


def plan(batch: int) -> Any:
    table = core.LatencyTable([(1, 10_000), (2 * MAX_BATCH, 100_000)])
    return core.ModelPlan(table, core.QueueLimits(max_batch=batch, capacity=4096))


def echo_case(load: Callable[..., None]) -> Case:
    x = np.arange(64 * 16, dtype=np.float32).reshape(64, 16)
    return Case(load, x, [x])


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    echo = signature(("y", [16]))

    def load_null(engine: Any, gpulet: int, model: int, batch: int) -> None:
        engine.load_null(gpulet, model, echo, MAX_BATCH, plan(batch))

    def load_profiled(engine: Any, gpulet: int, model: int, batch: int) -> None:
        engine.load_profiled(gpulet, model, echo, MAX_BATCH, plan(batch), core.Emulation(1.5))

    def load_python(engine: Any, gpulet: int, model: int, batch: int) -> None:
        engine.load_python(gpulet, model, lambda x: x, echo, MAX_BATCH, plan(batch))

    if request.param != "aoti":
        loads = {"null": load_null, "profiled": load_profiled, "python": load_python}
        return echo_case(loads[request.param])
    core.load_torch(request.getfixturevalue("libtorch"))
    mlp = request.getfixturevalue("compiled_mlp")
    outputs = signature(("y", [10]), ("s", [4, 4]), ("same", [16]))
    shared = core.AotiModel(str(mlp.library), outputs, 2)

    def load_aoti(engine: Any, gpulet: int, model: int, batch: int) -> None:
        engine.load_aoti(gpulet, model, shared, MAX_BATCH, plan(batch))

    return Case(load_aoti, mlp.x, mlp.outputs)


@pytest.fixture
def engine() -> Iterator[Any]:
    with core.Engine() as made:
        for gpulet in (1, 2):
            made.add_gpulet(gpulet, "profiled")
        yield made


def send(engine: Any, case: Case, tags: range, gpulet: int = 1, model: int = 5) -> None:
    due_ns = core.now_ns() + FAR_NS
    engine.submit([(tag, gpulet, model, due_ns, [case.x[tag]]) for tag in tags])


def collect(engine: Any, count: int) -> list[Any]:
    done: list[Any] = []
    while len(done) < count and engine.wait(FAR_NS):
        done += engine.drain()
    return done


def check(case: Case, done: list[Any]) -> None:
    assert [each.error for each in done] == [None] * len(done)
    for each in done:
        assert each.outputs == len(case.outputs)
        for index, expected in enumerate(case.outputs):
            np.testing.assert_allclose(
                each.output(index), expected[each.tag], rtol=1e-5, atol=1e-5, strict=True
            )


@pytest.mark.parametrize("batch", range(1, MAX_BATCH + 1))
def test_each_request_gets_its_own_outputs(engine: Any, case: Case, batch: int) -> None:
    case.load(engine, 1, 5, batch)
    send(engine, case, range(3 * batch))
    done = collect(engine, 3 * batch)
    assert len(done) == 3 * batch
    check(case, done)
    assert max(each.batch for each in done) <= batch


def test_outputs_stay_when_other_batches_run_and_the_engine_is_gone(case: Case) -> None:
    with core.Engine() as engine:
        engine.add_gpulet(1, "profiled")
        case.load(engine, 1, 5, 4)
        kept = []
        for first in range(0, 64, 4):
            send(engine, case, range(first, first + 4))
            kept += collect(engine, 4)
        engine.unload(1, 5)
    assert len(kept) == 64
    check(case, kept)


def test_two_gpulets_serve_at_once(engine: Any, case: Case) -> None:
    for gpulet in (1, 2):
        case.load(engine, gpulet, 5, MAX_BATCH)
    for _ in range(5):
        for gpulet in (1, 2):
            send(engine, case, range(64), gpulet)
    done = collect(engine, 640)
    check(case, done)
    assert sorted(each.gpulet for each in done) == [1] * 320 + [2] * 320


def test_inputs_that_do_not_fit_are_named_and_the_runner_goes_on(engine: Any, case: Case) -> None:
    case.load(engine, 1, 5, 1)
    due_ns = core.now_ns() + FAR_NS
    engine.submit([(1, 1, 5, due_ns, [b"abc"]), (2, 1, 5, due_ns, [case.x[0], case.x[0]])])
    done = collect(engine, 2)
    assert [each.outcome for each in done] == ["invalid", "invalid"]
    assert done[0].error == "input 'x' has 3 bytes; expected 64"
    assert done[1].error == "got 2 inputs; the model takes 1"
    send(engine, case, range(1))
    check(case, collect(engine, 1))


def test_measures_any_batch_up_to_its_own(engine: Any, case: Case) -> None:
    case.load(engine, 1, 5, 2)
    durations_ns = engine.measure(1, 5, MAX_BATCH, 3)
    assert len(durations_ns) == 3
    assert min(durations_ns) > 0
    with pytest.raises(ArgumentError, match=f"takes 1..{MAX_BATCH}"):
        engine.measure(1, 5, MAX_BATCH + 1, 1)


def test_a_plan_beyond_the_runner_is_refused(engine: Any, case: Case) -> None:
    with pytest.raises(ArgumentError, match=f"batch {MAX_BATCH + 1} of model 5"):
        case.load(engine, 1, 5, MAX_BATCH + 1)


def test_unloaded_is_unavailable_until_loaded_again(engine: Any, case: Case) -> None:
    case.load(engine, 1, 5, 2)
    engine.unload(1, 5)
    send(engine, case, range(1))
    assert [each.outcome for each in collect(engine, 1)] == ["unavailable"]
    case.load(engine, 1, 5, 2)
    send(engine, case, range(2))
    check(case, collect(engine, 2))


UNSIGNED = ("uint16", "uint32", "uint64")


@pytest.mark.parametrize("runner", ["null", "profiled", "python"])
@pytest.mark.parametrize("dtype", UNSIGNED)
def test_unsigned_integers_keep_every_bit(engine: Any, runner: str, dtype: str) -> None:
    x = core.TensorSpec("x", dtype, [4])
    load_echo(engine, runner, core.Signature([x], [core.TensorSpec("y", dtype, [4])]))
    most = np.iinfo(dtype).max
    rows = np.array([[i, most - i, most // 2 + i, 1] for i in range(20)], dtype)
    send(engine, Case(load_echo, rows, [rows]), range(20))
    check(Case(load_echo, rows, [rows]), collect(engine, 20))


def load_echo(engine: Any, runner: str, signature: Any) -> None:
    if runner == "python":
        engine.load_python(1, 5, lambda x: x, signature, MAX_BATCH, plan(4))
    elif runner == "null":
        engine.load_null(1, 5, signature, MAX_BATCH, plan(4))
    else:
        engine.load_profiled(1, 5, signature, MAX_BATCH, plan(4), core.Emulation())


def strings(max_bytes: int = 16, out_max_bytes: int = 16) -> Any:
    x = core.TensorSpec("x", "bytes", [2], max_bytes)
    return core.Signature([x], [core.TensorSpec("y", "bytes", [2], out_max_bytes)])


def ask(engine: Any, rows: list[list[bytes]]) -> list[Any]:
    due_ns = core.now_ns() + FAR_NS
    engine.submit([(i, 1, 5, due_ns, [core.encode_bytes(row)]) for i, row in enumerate(rows)])
    return sorted(collect(engine, len(rows)), key=lambda each: int(each.tag))


TEXTS = [[b"a" * (i % 17), bytes([i, 0, 255 - i])] for i in range(40)]


def upper(x: np.ndarray) -> np.ndarray:
    assert x.dtype == object
    assert x.shape[1:] == (2,)
    return np.array([[each.upper() for each in row] for row in x], dtype=object)


def test_python_takes_and_gives_strings_of_any_length(engine: Any) -> None:
    engine.load_python(1, 5, upper, strings(), MAX_BATCH, plan(MAX_BATCH))
    kept = ask(engine, TEXTS)
    again = ask(engine, TEXTS[::-1])
    assert [each.output(0).tolist() for each in kept] == [[a.upper(), b.upper()] for a, b in TEXTS]
    assert [each.output(0).tolist() for each in again][::-1] == [
        each.output(0).tolist() for each in kept
    ]
    assert max(each.batch for each in kept) > 1
    assert len(engine.measure(1, 5, MAX_BATCH, 2)) == 2


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: x[:, :1], r"output 'y' has shape \(1, 1\); expected \(1, 2\)"),
        (
            lambda x: np.ones(x.shape, int),
            "output 'y': element 0 is a int; valid are bytes and str",
        ),
        (lambda x: x * 3, "output 'y': element 0 has 18 bytes; at most 16 are valid"),
    ],
)
def test_strings_that_do_not_fit_fail_their_batch(engine: Any, function: Any, words: str) -> None:
    engine.load_python(1, 5, function, strings(), 1, plan(1))
    (done,) = ask(engine, [[b"abcdef", b""]])
    assert done.outcome == "failed"
    assert re.search(words, done.error)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (core.encode_bytes([b"", b"x" * 17]), "has an element 1 of 2 of 17 bytes; at most 16"),
        (core.encode_bytes([b""]), "ends before the length of element 1 of 2"),
        (core.encode_bytes([b"", b"", b""]), "has 4 bytes after the last of 2 elements"),
    ],
)
def test_strings_are_checked_before_they_are_copied(engine: Any, frame: bytes, words: str) -> None:
    engine.load_python(1, 5, upper, strings(), MAX_BATCH, plan(1))
    engine.submit([(1, 1, 5, core.now_ns() + FAR_NS, [frame])])
    (done,) = collect(engine, 1)
    assert done.outcome == "invalid"
    assert done.error.startswith(f"input 'x' {words}")


@pytest.mark.parametrize("runner", ["null", "profiled"])
def test_what_computes_nothing_gives_empty_strings(engine: Any, runner: str) -> None:
    load_echo(engine, runner, strings())
    assert [each.output(0).tolist() for each in ask(engine, TEXTS[:5])] == [[b"", b""]] * 5


def test_compiled_models_take_no_strings(libtorch: str) -> None:
    core.load_torch(libtorch)
    with pytest.raises(ArgumentError, match="tensor 'x' is bytes, which only models in Python"):
        core.AotiModel("none.so", strings(), 1)


def test_what_waits_is_taken_back_and_what_runs_is_not(engine: Any) -> None:
    entered, let_go = threading.Event(), threading.Event()

    def infer(x: np.ndarray) -> np.ndarray:
        entered.set()
        let_go.wait(60)
        return x

    engine.load_python(1, 5, infer, signature(("y", [16])), 1, plan(1))
    due_ns = core.now_ns() + FAR_NS
    x = np.zeros(16, np.float32)
    engine.submit([(1, 1, 5, due_ns, [x])])
    assert entered.wait(60)
    engine.submit([(tag, 1, 5, due_ns, [x]) for tag in (2, 3)])
    assert [engine.cancel(tag, 1, 5, due_ns) for tag in (1, 2, 2, 4)] == [False, True, False, False]
    let_go.set()
    outcomes = {each.tag: each.outcome for each in collect(engine, 3)}
    assert outcomes == {1: "ok", 2: "cancelled", 3: "ok"}
    (stats,) = engine.stats()
    assert (stats.ok, stats.cancelled) == (2, 1)
