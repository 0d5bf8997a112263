"""Numeric gates: what comes out of a gpulet is what the model computes elsewhere."""

import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from glet.clock import SystemClock
from glet.errors import DeviceError
from glet.native import core
from glet.serve.compile import compile_entries
from glet.serve.compile_cache import Cache, Compiled, default_cache
from glet.serve.doctor_finding import Finding, Wish, found
from glet.serve.doctor_network import ENTRY, REFERENCE
from glet.serve.doctor_program import ask_program
from glet.serve.model_loader import model_plan, native_signature, open_torch
from glet.serve.repository import Entry, Repository
from glet.serve.torch_path import find_torch
from glet.wire.messages import Limits

MODEL = 1
ITEMS = 19
MAX_BATCH = 8
FEATURES = (64, 32)
ANSWER_LIMIT_S = 15.0
EXPORT_LIMIT_S = 180.0
# float32 sums of some hundred terms; a wrong kernel or a wrong row is off by far more.
TOLERANCE = 1e-4

Array = NDArray[Any]


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """`error` is the largest difference over the largest right value; `batches` are their sizes.

    `problem` says why there are no numbers.
    """

    what: str
    error: float = 0.0
    tolerance: float = TOLERANCE
    items: int = 0
    batches: tuple[int, ...] = ()
    compile_s: float = 0.0
    problem: str = ""


def callable_numbers(wish: Wish) -> Finding:
    """A product of matrices, served as a Python callable, beside NumPy's in double precision."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(FEATURES).astype(np.float32)
    x = rng.standard_normal((ITEMS, FEATURES[0])).astype(np.float32)
    signature = core.Signature(
        [core.TensorSpec("x", "float32", [FEATURES[0]])],
        [core.TensorSpec("y", "float32", [FEATURES[1]])],
    )
    with core.Engine() as engine:
        engine.add_gpulet(0, "cpu", 100, core.usable_cores()[:1])
        engine.load_python(0, MODEL, lambda x: x @ weights, signature, MAX_BATCH, _plan())
        served, batches = serve(engine, x)
    right = x.astype(np.float64) @ weights.astype(np.float64)
    return judge_numbers(
        Numbers(
            what="a matrix product in Python",
            error=relative_error(served, right),
            items=len(x),
            batches=batches,
        )
    )


def compiled_numbers(wish: Wish) -> Finding:
    """A small network, compiled as models are, beside eager torch in double precision.

    The network is exported and compiled once per torch version, into glet's cache.
    """
    try:
        find_torch()
    except DeviceError:
        return found("skipped", "there is no torch to compile a network with")
    clock = SystemClock()
    cache = Cache(default_cache(), clock)
    entry = gate_entry(cache)
    (result,) = compile_entries([entry], cache, clock, lambda progress: None)
    return judge_numbers(look_at_compiled(entry, result))


def look_at_compiled(entry: Entry, result: Compiled) -> Numbers:
    """Serves the compiled network's samples from a gpulet of one core."""
    what = "a compiled network"
    if result.runner != "compiled":
        return Numbers(what=what, problem=result.reason)
    open_torch()
    with np.load(entry.folder / REFERENCE) as stored:
        x, right = stored["x"], stored["y"]
    model = core.AotiModel(result.library, native_signature(entry.spec.signature), 1)
    with core.Engine() as engine:
        engine.add_gpulet(0, "cpu", 100, core.usable_cores()[:1])
        engine.load_aoti(0, MODEL, model, MAX_BATCH, _plan())
        served, batches = serve(engine, x)
    return Numbers(
        what=what,
        error=relative_error(served, right),
        items=len(x),
        batches=batches,
        compile_s=result.compile_s,
    )


def judge_numbers(facts: Numbers) -> Finding:
    """A device that computes wrongly is worse than none."""
    if facts.problem:
        says = f"{facts.what} could not be compiled, so models run in Python: {facts.problem}"
        return found("warning", says, facts, "see compiler above")
    says = (
        f"{facts.what}, served in batches of {_range(facts.batches)}, is off by "
        f"{facts.error:.1e} of its largest value (at most {facts.tolerance:g} is right)"
    )
    # Written so that not-a-number fails.
    if facts.error <= facts.tolerance:
        return found("ok", says, facts)
    return found("failed", says, facts, "do not serve here: reinstall glet and torch, test the RAM")


def gate_entry(cache: Cache) -> Entry:
    """The network as an entry of a repository, kept in the cache. Raises DeviceError."""
    name = f"doctor-{find_torch().version}"
    folder = cache.folder / name
    with cache.lock(name):
        if not (folder / ENTRY / REFERENCE).is_file():
            _export(folder)
    return Repository(folder).entry(ENTRY)


def _export(folder: Path) -> None:
    command = [sys.executable, "-m", "glet.serve.doctor_network", str(folder)]
    reply = ask_program(command, EXPORT_LIMIT_S)
    if reply.code is None:
        raise DeviceError(f"torch did not export a small network in {EXPORT_LIMIT_S:g} s")
    if reply.code != 0:
        raise DeviceError(f"torch could not export a small network: {reply.last_line}")


def serve(engine: Any, x: Array) -> tuple[Array, tuple[int, ...]]:
    """All rows of x through gpulet 0, handed in at once; the answers and the batches they had."""
    until_ns = core.now_ns() + round(ANSWER_LIMIT_S * 1e9)
    engine.submit(
        [(row, 0, MODEL, until_ns, [np.ascontiguousarray(x[row])]) for row in range(len(x))]
    )
    done: dict[int, Any] = {}
    while len(done) < len(x):
        if not engine.wait(max(0, until_ns - core.now_ns())) and core.now_ns() > until_ns:
            raise DeviceError(f"a gpulet did not answer {len(x)} requests in {ANSWER_LIMIT_S:g} s")
        done |= {completion.tag: completion for completion in engine.drain()}
    for completion in done.values():
        if completion.outcome != "ok":
            raise DeviceError(f"a request ended {completion.outcome}: {completion.error or ''}")
    batches = sorted({completion.batch for completion in done.values()})
    return np.stack([done[row].output(0) for row in range(len(x))]), tuple(batches)


def relative_error(got: Array, right: Array) -> float:
    """The largest difference over the largest right value; not a number where one is none."""
    difference = np.max(np.abs(got.astype(np.float64) - right))
    return float(difference / np.max(np.abs(right)))


def _plan() -> Any:
    limits = Limits(batch=MAX_BATCH, time_share=1.0, capacity=ITEMS, margin_ms=0.0)
    return model_plan(((1, 1.0), (MAX_BATCH, 1.0)), limits)


def _range(batches: tuple[int, ...]) -> str:
    if len(batches) == 1:
        return str(batches[0])
    return f"{batches[0]} to {batches[-1]}" if batches else "none"
