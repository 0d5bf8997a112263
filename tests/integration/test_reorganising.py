"""A device is reorganised while it serves: nothing is lost, nobody waits for long."""

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq
from two_models import on_two_halves
from vector_entries import write_doubles
from waiting import wait_for

from glet.client import Client
from glet.clock import SystemClock
from glet.config.cluster import BackendConfig, ClusterConfig
from glet.errors import RequestError
from glet.serve.backend import REPORT_S, TICK_S
from glet.serve.up import LocalCluster
from glet.types.plan import GpuletPlan, ModelShare
from glet.wire.channel import DealerChannel
from glet.wire.messages import (
    VERSION,
    ApplyPlan,
    BackendState,
    BackendToFrontend,
    Hello,
    StateSeen,
)

X = np.arange(4, dtype=np.float32)


def config(tmp_path: Path, **settings: Any) -> ClusterConfig:
    """Emulated models `a` and `b`, quicker on a larger share; `c` loads nowhere below 50 %."""
    write_doubles(tmp_path / "models", "a", "b", "c", slo_ms=2000.0)
    lines = [
        f"{name},{share},{batch},{200.0 / share + 0.1 * batch}\n"
        for name in "ab"
        for share in (20, 40, 50, 60, 80, 100)
        for batch in (1, 8)
    ]
    profile = "".join(lines) + "c,100,1,2.0\nc,100,8,4.0\n"
    return on_two_halves(tmp_path, profile, **settings)


def gpulet(share_pct: int, *models: str, dedup: int = 0) -> GpuletPlan:
    shares = tuple(ModelShare(model=m, batch=4, time_share=1 / len(models)) for m in models)
    return GpuletPlan(device=0, share_pct=share_pct, dedup=dedup, models=shares)


class Line:
    """A frontend that does nothing but tell a backend its plans."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", control: str) -> None:
        hello = Hello(version=VERSION, role="frontend", name="test")
        self.channel: DealerChannel[BackendToFrontend] = DealerChannel(
            context, control, BackendToFrontend, hello
        )
        self.states: list[BackendState] = []

    def apply(self, *gpulets: GpuletPlan, keep: tuple[str, ...] = ()) -> None:
        self.channel.send(ApplyPlan(gpulets=gpulets, keep=keep))

    def state(self) -> BackendState | None:
        """The last one."""
        for message in self.channel.receive():
            if isinstance(message, BackendState):
                self.states.append(message)
                self.channel.send(StateSeen(seq=message.seq))
        return self.states[-1] if self.states else None

    def places(self) -> dict[int, tuple[int, str, str]]:
        """Share, state and ready models by gpulet."""
        state = self.state()
        return {
            g.gpulet: (
                g.share_pct,
                g.state,
                "".join(sorted(m.name for m in g.models if m.state == "ready")),
            )
            for g in (state.gpulets if state is not None else ())
        }

    def shows(self, plan: tuple[GpuletPlan, ...]) -> bool:
        """Whether that is there, and nothing else."""
        wanted = [(g.share_pct, "".join(sorted(m.model for m in g.models))) for g in plan]
        return sorted(wanted) == sorted((s, models) for s, _, models in self.places().values())

    def error(self) -> str:
        state = self.state()
        return state.error if state is not None else ""


@contextmanager
def line_to(tmp_path: Path, device: str = "device0") -> Iterator[Line]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    line = Line(context, f"ipc://{tmp_path}/r/{device}/control")
    try:
        yield line
    finally:
        line.channel.close()
        context.term()


@contextmanager
def load(endpoint: str, models: str) -> Iterator[Counter[str]]:
    """Asks models from a thread each for as long as the block lasts; outcomes, `asked` among them.

    Every question has its answer when the block has ended.
    """
    outcomes: Counter[str] = Counter()
    lock, stop = threading.Lock(), threading.Event()

    def ask(model: str) -> None:
        with Client(endpoint) as client:
            while not stop.is_set():
                try:
                    client.infer(model, {"x": X}, deadline_ms=20_000)
                    outcome = f"ok {model}"
                except RequestError as error:
                    outcome = error.code
                with lock:
                    outcomes[outcome] += 1

    threads = [threading.Thread(target=ask, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("isolation", ["device", "gpulet"])
def test_resizing_and_moving_under_load_loses_nothing(tmp_path: Path, isolation: str) -> None:
    plans = [
        (gpulet(60, "a"), gpulet(40, "b")),
        (gpulet(60, "a", "b"), gpulet(40, "b")),
        (gpulet(20, "a"), gpulet(80, "b")),
        (gpulet(20, "b"), gpulet(80, "a")),
        (gpulet(100, "b", "a"),),
        (gpulet(50, "a"), gpulet(50, "b", dedup=1)),
    ]
    with (
        LocalCluster(config(tmp_path, isolation=isolation), SystemClock()) as cluster,
        load(cluster.endpoint, "aabb") as outcomes,
        line_to(tmp_path) as line,
    ):
        wait_for(lambda: min(outcomes["ok a"], outcomes["ok b"]) > 5, cluster.poll)
        wait_for(lambda: len(line.places()) == 2, cluster.poll)
        first = set(line.places())
        for plan in plans:
            line.apply(*plan)
            wait_for(lambda: line.shows(plan), cluster.poll)  # noqa: B023
            seen = outcomes.copy()
            wait_for(lambda: all_ask_on(outcomes, seen), cluster.poll)  # noqa: B023
        # Who is resized stays who it is; a number never comes twice.
        assert len(first & set(line.places())) == 1
    assert set(outcomes) == {"ok a", "ok b"}
    served = [frozenset(m for p in places_of(s) for m in p) for s in line.states]
    assert set(served) == {frozenset("ab")}


def all_ask_on(outcomes: Counter[str], seen: Counter[str]) -> bool:
    return all(outcomes[f"ok {model}"] > seen[f"ok {model}"] + 3 for model in "ab")


def places_of(state: BackendState) -> list[str]:
    return [
        "".join(m.name for m in g.models if m.state == "ready")
        for g in state.gpulets
        if g.state == "ready"
    ]


def test_a_resized_gpulet_takes_the_time_of_its_share(tmp_path: Path) -> None:
    with (
        LocalCluster(config(tmp_path), SystemClock()) as cluster,
        line_to(tmp_path) as line,
        Client(cluster.endpoint) as client,
    ):
        wait_for(lambda: bool(line.places()), cluster.poll)
        line.apply(gpulet(20, "a"))
        wait_for(lambda: list(line.places().values()) == [(20, "ready", "a")], cluster.poll)
        (row,) = client.models()["a"]["gpulets"]
        assert dict(row["latency_ms"])[1] == pytest.approx(10.1)
        for _ in range(5):
            client.infer("a", {"x": X})
        state = line.state()
        assert state is not None
        number = state.gpulets[0].models[0].model
        wait_for(lambda: batches_of(line, number)[0] >= 5, cluster.poll)
        batches, busy_ms = batches_of(line, number)
        # An emulated batch never ends early.
        assert busy_ms / batches >= 10.1


def batches_of(line: Line, number: int) -> tuple[int, float]:
    state = line.state()
    counters = [c for c in (state.counters if state is not None else ()) if c.model == number]
    return sum(c.batches for c in counters), sum(c.busy_ms for c in counters)


def test_a_move_is_told_in_few_states(tmp_path: Path) -> None:
    plans = [
        (gpulet(40, "a", "b"), gpulet(60, "b")),
        (gpulet(40, "b"), gpulet(60, "b", "a")),
    ]
    changes = 10
    with LocalCluster(config(tmp_path), SystemClock()) as cluster, line_to(tmp_path) as line:

        def change(number: int) -> None:
            plan = plans[number % 2]
            line.apply(*plan)
            wait_for(lambda: line.shows(plan), lambda _: cluster.poll(0.005))

        change(0)
        first, clock = line.states[-1].seq, SystemClock()
        start_s = clock.now_s()
        for number in range(changes):
            change(number + 1)
        took_s = clock.now_s() - start_s
    # That it is ready there and drains here, and that it is gone; and what time alone tells.
    by_time = 2 + took_s / TICK_S + took_s / REPORT_S
    assert line.states[-1].seq - first <= 3 * changes + by_time


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_gpulet_of_cores_gets_more_of_them_while_it_serves(tmp_path: Path) -> None:
    settings = on_cores(config(tmp_path))
    (tmp_path / "ModelList.txt").write_text("0,50,0,a,4,0\n")
    with (
        LocalCluster(settings, SystemClock()) as cluster,
        load(cluster.endpoint, "a") as outcomes,
        line_to(tmp_path) as line,
    ):
        for share_pct in (100, 50, 100):
            line.apply(gpulet(share_pct, "a"))
            wait_for(lambda: line.shows((gpulet(share_pct, "a"),)), cluster.poll)  # noqa: B023
            seen = outcomes["ok a"]
            wait_for(lambda: outcomes["ok a"] > seen + 5, cluster.poll)  # noqa: B023
            state = line.state()
            assert state is not None
            (placed,) = state.gpulets
            total = len(os.sched_getaffinity(0))
            assert (placed.gpulet, len(placed.cores)) == (0, share_pct * total // 100)
            assert placed.given_pct == pytest.approx(100.0 * len(placed.cores) / total)
    assert set(outcomes) == {"ok a"}


def on_cores(settings: ClusterConfig) -> ClusterConfig:
    """The same models, computed on the cores of this machine."""
    return msgspec.structs.replace(settings, partition="cpu", backend=(BackendConfig(),))


def test_a_plan_that_fails_leaves_the_last_one_and_a_later_one_is_tried(tmp_path: Path) -> None:
    settings = on_cores(config(tmp_path))
    (tmp_path / "models" / "c" / "model.py").write_text(
        "def load():\n    raise OSError('no such weights')\n"
    )
    (tmp_path / "ModelList.txt").write_text("0,100,0,a,4,0\n")
    with (
        LocalCluster(settings, SystemClock()) as cluster,
        load(cluster.endpoint, "a") as outcomes,
        line_to(tmp_path) as line,
    ):
        wait_for(lambda: outcomes["ok a"] > 5, cluster.poll)
        line.apply(gpulet(100, "c"))
        wait_for(lambda: "no such weights" in line.error(), cluster.poll)
        seen = outcomes["ok a"]
        wait_for(lambda: outcomes["ok a"] > seen + 5, cluster.poll)
        state = line.state()
        assert state is not None
        assert [m.model for g in state.served for m in g.models] == ["a"]
        assert [m.model for g in state.plan for m in g.models] == ["c"]
        (tmp_path / "models" / "c" / "model.py").write_text("def infer(x):\n    return x\n")
        line.apply(gpulet(100, "c", "a"))
        wait_for(lambda: list(line.places().values()) == [(100, "ready", "ac")], cluster.poll)
        wait_for(lambda: line.error() == "", cluster.poll)
    assert set(outcomes) == {"ok a"}


def test_a_model_that_goes_elsewhere_is_kept_until_it_is_there(tmp_path: Path) -> None:
    with (
        LocalCluster(config(tmp_path), SystemClock()) as cluster,
        load(cluster.endpoint, "a") as outcomes,
        line_to(tmp_path) as line,
    ):
        wait_for(lambda: outcomes["ok a"] > 5, cluster.poll)
        line.apply(gpulet(50, "b"), keep=("a",))
        wait_for(lambda: bool((s := line.state()) and s.keep == ("a",)), cluster.poll)
        seen = outcomes["ok a"]
        wait_for(lambda: outcomes["ok a"] > seen + 5, cluster.poll)
        assert sorted(models for _, _, models in line.places().values()) == ["a", "b"]
        line.apply(gpulet(50, "b"))
        wait_for(lambda: list(line.places().values()) == [(50, "ready", "b")], cluster.poll)
        wait_for(lambda: outcomes["unavailable"] > 0, cluster.poll)
    assert set(outcomes) == {"ok a", "unavailable"}


def test_a_device_without_gpulets_has_no_executor_until_it_gets_one(tmp_path: Path) -> None:
    settings = config(tmp_path, release_after_s=0.0)
    both = (settings.backend[0], msgspec.structs.replace(settings.backend[0], device=1))
    settings = msgspec.structs.replace(settings, backend=both)
    with (
        LocalCluster(settings, SystemClock()) as cluster,
        load(cluster.endpoint, "a") as outcomes,
        line_to(tmp_path, "device1") as line,
        Client(cluster.endpoint) as client,
    ):
        for generation in (1, 2):
            wait_for(lambda: bool((s := line.state()) and not s.executors), cluster.poll)
            line.apply(msgspec.structs.replace(gpulet(100, "a"), device=1))
            wait_for(lambda: list(line.places().values()) == [(100, "ready", "a")], cluster.poll)
            wait_for(lambda: routes_of(client, "a") == 2, cluster.poll)
            state = line.state()
            assert state is not None
            (executor,) = state.executors
            # A life of its own, which is not counted as the end of one that failed.
            assert (executor.generation, executor.restarts) == (generation, 0)
            line.apply()
        assert line.states[-1].in_use_s > 0
        wait_for(lambda: routes_of(client, "a") == 1, cluster.poll)
        seen = outcomes["ok a"]
        wait_for(lambda: outcomes["ok a"] > seen + 5, cluster.poll)
    assert set(outcomes) == {"ok a"}


def routes_of(client: Client, model: str) -> int:
    return sum(row["state"] == "ready" for row in client.models()[model]["gpulets"])
