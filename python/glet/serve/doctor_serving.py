"""Checks of serving: sockets, gpulets side by side, threads per gpulet, a model repository."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import psutil
import zmq

from glet.clock import SystemClock
from glet.errors import DeviceError
from glet.native import core
from glet.serve.compile import find_compiled
from glet.serve.compile_cache import Cache, default_cache
from glet.serve.doctor_finding import Finding, Wish, found
from glet.serve.doctor_machine import BUSY_SHARE, siblings
from glet.serve.model_loader import model_plan, open_torch
from glet.serve.repository import Repository
from glet.serve.run_dir import RunDir
from glet.serve.torch_path import find_torch
from glet.wire.channel import DealerChannel, RouterChannel
from glet.wire.messages import VERSION, Hello, Limits, Refused
from glet.wire.zmq_path import libzmq_path

PINGS = 50
ANSWER_LIMIT_MS = 2000
SLOW_PING_MS = 5.0
MODEL = 1
BLOCK = bytes(4 << 20)
RUNS = 10
ROUNDS = 5
LOOK_S = 0.3
SIDE_BY_SIDE = 1.25
IN_TURNS = 1.6
PHASE_LIMIT_S = 15.0


class Sockets(msgspec.Struct, frozen=True, kw_only=True):
    """libzmq, and the round trip of a message through it over loopback and over ipc."""

    libzmq: str
    version: str
    has_curve: bool
    tcp_ms: float
    ipc_ms: float


def sockets(wish: Wish) -> Finding:
    """The core binds; a frontend's and a backend's channel greet each other. Raises DeviceError."""
    library = libzmq_path()
    folder = RunDir(None)
    try:
        endpoints = ("tcp://127.0.0.1:*", folder.endpoint("ping"))
        _core_binds(library, ("tcp://127.0.0.1:*", folder.endpoint("core")))
        tcp_ms, ipc_ms = (round_trip_ms(endpoint) for endpoint in endpoints)
    finally:
        folder.close()
    return judge_sockets(
        Sockets(
            libzmq=library,
            version=zmq.zmq_version(),
            has_curve=bool(zmq.has("curve")),
            tcp_ms=tcp_ms,
            ipc_ms=ipc_ms,
        )
    )


def judge_sockets(facts: Sockets) -> Finding:
    """The way of a request has two such hops, and two back."""
    curve = "with CURVE" if facts.has_curve else "without CURVE"
    says = (
        f"libzmq {facts.version} {curve}; a message there and back takes "
        f"{facts.tcp_ms:.2f} ms over loopback, {facts.ipc_ms:.2f} ms over ipc"
    )
    if max(facts.tcp_ms, facts.ipc_ms) > SLOW_PING_MS:
        return found(
            "warning", f"{says}: that is slow", facts, "look for other load, or a sandbox's network"
        )
    if not facts.has_curve:
        return found(
            "warning",
            f"{says}; ZeroMQ cannot be encrypted here",
            facts,
            "pip install --force-reinstall --only-binary :all: pyzmq, where keys are wanted",
        )
    return found("ok", says, facts)


def round_trip_ms(endpoint: str) -> float:
    """Median of a hello and its answer. Raises DeviceError when none comes, ConfigError."""
    with zmq.Context() as context:
        router: RouterChannel[Hello] = RouterChannel(
            context, endpoint, Hello, Hello(version=VERSION, role="backend")
        )
        try:
            dealer: DealerChannel[Hello | Refused] = DealerChannel(
                context, router.endpoint, Hello | Refused, Hello(version=VERSION, role="frontend")
            )
            try:
                return _ping(router, dealer, endpoint)
            finally:
                dealer.close()
        finally:
            router.close()


def _ping(router: RouterChannel[Hello], dealer: DealerChannel[Any], endpoint: str) -> float:
    took_ns = []
    for _ in range(PINGS + 1):
        start_ns = core.now_ns()
        for channel in (router, dealer):
            if not channel.socket.poll(ANSWER_LIMIT_MS):
                raise DeviceError(
                    f"no message came through {endpoint} in {ANSWER_LIMIT_MS / 1000:g} s"
                )
            channel.receive()
        took_ns.append(core.now_ns() - start_ns)
        dealer.greet()
    # The first one waited for the connection.
    return round(median(took_ns[1:]) / 1e6, 3)


def _core_binds(library: str, endpoints: Sequence[str]) -> None:
    for endpoint in endpoints:
        with core.Engine() as engine:
            loop = core.ExecutorLoop(library, engine)
            try:
                loop.bind(endpoint)
            finally:
                loop.close()


class SideBySide(msgspec.Struct, frozen=True, kw_only=True):
    """Two gpulets of one core each: `ratio` is the time both need together over the slower alone.

    1 is side by side, 2 is in turns. `threads_of_one_core`: the machine has no second physical one.
    `busy` is how many tasks of others ran, or lately have.
    """

    cores: tuple[int, ...]
    threads_of_one_core: bool = False
    alone_ms: float = 0.0
    together_ms: float = 0.0
    ratio: float = 0.0
    busy: float = 0.0


def side_by_side(wish: Wish) -> Finding:
    """Whether gpulets get in each other's way where they share nothing but the machine."""
    return judge_side_by_side(look_side_by_side(core.usable_cores()))


def look_side_by_side(usable: Sequence[int]) -> SideBySide:
    """Hashes without the GIL on one gpulet, the other, and both."""
    if len(usable) < 2:
        return SideBySide(cores=tuple(usable))
    first = usable[0]
    others = [number for number in usable[1:] if siblings(number) != siblings(first)]
    cores = (first, others[0] if others else usable[1])
    busy = max(os.getloadavg()[0], psutil.cpu_percent(LOOK_S) / 100.0 * (os.cpu_count() or 1))
    x = core.TensorSpec("x", "uint8", [1])
    with core.Engine() as engine:
        for gpulet, number in enumerate(cores):
            engine.add_gpulet(gpulet, "cpu", 50, [number])
            signature = core.Signature([x], [x])
            engine.load_python(gpulet, MODEL, _hash, signature, 1, _plan(RUNS))
            engine.measure(gpulet, MODEL, 1, 2)
        rounds = [
            (_phase_ms(engine, [0]), _phase_ms(engine, [1]), _phase_ms(engine, [0, 1]))
            for _ in range(ROUNDS)
        ]
    # The best of each: what others did to some of the rounds does not count.
    first_ms, second_ms, together_ms = (min(times) for times in zip(*rounds, strict=True))
    alone_ms = max(first_ms, second_ms)
    return SideBySide(
        cores=cores,
        threads_of_one_core=not others,
        alone_ms=round(alone_ms, 2),
        together_ms=round(together_ms, 2),
        ratio=round(together_ms / alone_ms, 2),
        busy=round(busy, 2),
    )


def judge_side_by_side(facts: SideBySide, host_cores: int | None = None) -> Finding:
    """Failed only where nothing but a limit on this process can explain it."""
    if len(facts.cores) < 2:
        return found("skipped", "one core: there is no room for two gpulets", facts)
    says = (
        f"two gpulets of one core each take {facts.ratio:.2f} times as long together as alone "
        f"(1 is side by side, 2 is in turns)"
    )
    if facts.ratio < SIDE_BY_SIDE:
        return found("ok", says, facts)
    if facts.threads_of_one_core:
        says = f"{says}; they are threads of one physical core"
        return found("warning", says, facts, "give glet cores that are not threads of one")
    if facts.busy >= BUSY_SHARE * (host_cores or os.cpu_count() or 1):
        says = f"{says}, beside other load of {facts.busy:.2f}"
        return found("warning", says, facts, "run glet doctor again when nothing else works here")
    do = "see cores and load above: a quota, or other work, takes the time of one of the cores"
    return found("failed" if facts.ratio >= IN_TURNS else "warning", says, facts, do)


def _hash(x: Any) -> Any:
    hashlib.sha256(BLOCK).digest()
    return x


def _plan(capacity: int) -> Any:
    limits = Limits(batch=1, time_share=1.0, capacity=capacity, margin_ms=0.0)
    return model_plan(((1, 1.0),), limits)


def _phase_ms(engine: Any, gpulets: Sequence[int]) -> float:
    """Milliseconds until RUNS hashes on each of these gpulets are done, all handed in at once."""
    start_ns = core.now_ns()
    until_ns = start_ns + round(PHASE_LIMIT_S * 1e9)
    engine.submit(
        [(run, gpulet, MODEL, until_ns, [b"\0"]) for run in range(RUNS) for gpulet in gpulets]
    )
    done: list[Any] = []
    while len(done) < RUNS * len(gpulets):
        engine.wait(max(0, until_ns - core.now_ns()))
        done += engine.drain()
        if core.now_ns() > until_ns:
            raise DeviceError(f"gpulets did not finish {RUNS} small batches in {PHASE_LIMIT_S:g} s")
    outcomes = Counter(completion.outcome for completion in done if completion.outcome != "ok")
    if outcomes:
        raise DeviceError(f"batches of a gpulet did not run: {dict(outcomes)}")
    return float(core.now_ns() - start_ns) / 1e6


class Threads(msgspec.Struct, frozen=True, kw_only=True):
    """Per gpulet that was started: the cores it should have, and the cores and threads it got."""

    asked: tuple[tuple[int, ...], ...]
    got: tuple[tuple[int, ...], ...]
    threads: tuple[int, ...]


def threads(wish: Wish) -> Finding:
    """A model inside a gpulet uses as many threads as the gpulet has cores."""
    try:
        find_torch()
    except DeviceError:
        return found("skipped", "there is no torch, whose threads these would be")
    open_torch()
    usable = core.usable_cores()
    asked = (tuple(usable[:1]), tuple(usable[:2]))[: len(usable)]
    got, counts = [], []
    for cores in asked:
        with core.Engine() as engine:
            report = engine.add_gpulet(0, "cpu", 100, cores)
            got.append(tuple(report.cores))
            counts.append(report.intra_op_threads)
    return judge_threads(Threads(asked=asked, got=tuple(got), threads=tuple(counts)))


def judge_threads(facts: Threads) -> Finding:
    """Too few threads waste cores; too many take those of others."""
    for asked, got, count in zip(facts.asked, facts.got, facts.threads, strict=True):
        if asked != got:
            says = f"a gpulet of the cores {list(asked)} got {list(got)}"
            return found("failed", says, facts, "look for a cpuset of the container that changes")
        if count != len(asked):
            says = f"a model in a gpulet of {len(asked)} cores uses {count} threads"
            return found(
                "failed", says, facts, "unset OMP_THREAD_LIMIT and other OMP_, MKL_ variables"
            )
    sizes = " and ".join(str(len(cores)) for cores in facts.asked)
    return found("ok", f"gpulets of {sizes} cores get these cores and as many threads", facts)


class Models(msgspec.Struct, frozen=True, kw_only=True):
    """Entry -> what is wrong with it; sound entry -> its runner, or why it has none."""

    folder: str
    problems: dict[str, str]
    runners: dict[str, str]
    apps: tuple[str, ...] = ()


def models(wish: Wish) -> Finding:
    """The entries of a repository, and what became of them on this machine. Raises ConfigError."""
    return judge_models(look_at_models(Path(wish.models), default_cache()))


def look_at_models(folder: Path, cache: Path) -> Models:
    """Reads every model file whole; compiles nothing."""
    repository = Repository(folder)
    checked = {name: repository.check(name) for name in repository.names()}
    of_apps = {name: repository.check_app(name) for name in repository.app_names()}
    kept = Cache(cache, SystemClock())
    runners = {}
    for name in (name for name, problem in checked.items() if not problem):
        try:
            compiled = find_compiled(repository.entry(name), kept)
        except DeviceError:
            runners[name] = "no torch"
            continue
        runners[name] = "not compiled" if compiled is None else compiled.runner
    problems = {name: problem for name, problem in (checked | of_apps).items() if problem}
    return Models(folder=str(folder), problems=problems, runners=runners, apps=tuple(of_apps))


def judge_models(facts: Models) -> Finding:
    """A broken entry keeps all others from being served."""
    if not facts.problems and not facts.runners:
        do = f"glet models export lenet --to {facts.folder} makes a first one"
        return found("warning", f"{facts.folder} holds no models", facts, do)
    if facts.problems:
        name, problem = next(iter(facts.problems.items()))
        rest = len(facts.problems) - 1
        more = f"; and {rest} more" if rest else ""
        what = "app" if name in facts.apps else "model"
        says = f"{facts.folder}: {what} {name!r}: {problem}{more}"
        return found("failed", says, facts, f"glet models check {facts.folder} tells all")
    counts = Counter(facts.runners.values())
    how = ", ".join(f"{count} {runner}" for runner, count in sorted(counts.items()))
    says = f"{facts.folder}: {len(facts.runners)} models, all sound: {how}"
    if "refused" in counts or "no torch" in counts:
        return found("failed", says, facts, f"glet models compile {facts.folder} says why")
    do = (
        f"glet models compile {facts.folder}, or glet up does it"
        if "not compiled" in counts
        else ""
    )
    return found("ok", says, facts, do)
