"""`glet up --partition green`: real daemons on a libcuda.so.1 that plays a GPU.

What stands for torch is tests/fake_gpu; graphs, streams and green contexts are the core's.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zmq
from green_cluster import glet_up, write_cluster
from waiting import wait_for

from glet.client import Client
from glet.clock import SystemClock
from glet.errors import RequestError
from glet.types.plan import GpuletPlan, ModelShare
from glet.wire.channel import DealerChannel
from glet.wire.messages import VERSION, ApplyPlan, BackendToFrontend, Hello

CLOCK = SystemClock()
X = np.arange(4, dtype=np.float32)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Models `a` and `eager` on 3 and 12 units."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write_cluster(tmp_path)


@contextmanager
def load(address: str, *models: str) -> Iterator[Counter[str]]:
    """Asks each model from a thread for as long as the block lasts; outcomes by name."""
    outcomes: Counter[str] = Counter()
    lock, stop = threading.Lock(), threading.Event()

    def ask(model: str) -> None:
        with Client(address) as client:
            while not stop.is_set():
                try:
                    is_right = bool((client.infer(model, X, deadline_ms=30_000) == X * 2).all())
                    outcome = f"{'right' if is_right else 'wrong'} {model}"
                except RequestError as error:
                    outcome = str(error)
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


def gpulet(share_pct: int, *models: str) -> GpuletPlan:
    shares = tuple(ModelShare(model=m, batch=1, time_share=1 / len(models)) for m in models)
    return GpuletPlan(device=0, share_pct=share_pct, models=shares)


def apply(folder: Path, *gpulets: GpuletPlan) -> None:
    """Tells the backend a plan, as a frontend does."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    line: DealerChannel[BackendToFrontend] = DealerChannel(
        context,
        f"ipc://{folder}/r/device0/control",
        BackendToFrontend,
        Hello(version=VERSION, role="frontend", name="test"),
    )
    try:
        line.send(ApplyPlan(gpulets=gpulets))
        wait_for(line.receive)
    finally:
        line.close()
        context.term()


def places(client: Client) -> dict[int, tuple[int, int, str, tuple[str, ...]]]:
    """First unit, SMs, state and ready models by gpulet."""
    return {
        g["gpulet"]: (
            g["units"]["first"],
            g["sms"],
            g["state"],
            tuple(sorted(m["name"] for m in g["models"] if m["state"] == "ready")),
        )
        for g in client.stats()["gpulets"]
    }


def test_gpulets_of_sms_serve_and_are_resized_under_load(fake_cuda: Path, cluster: Path) -> None:
    with (
        glet_up(cluster, fake_cuda) as (address, said),
        Client(address) as client,
        load(address, "a", "a", "eager") as outcomes,
    ):
        assert said[0] == (
            "partition green: Fake GPU 0, 143771 MiB, 132 SMs in 15 units of 8 and 12 left over"
        )
        (left_out,) = [line for line in said if "left out, " in line]
        assert "shares of 9 of 15 units are left out" in left_out
        wait_for(lambda: min(outcomes["right a"], outcomes["right eager"]) > 5)
        before = places(client)
        assert sorted((sms, *rest) for _, sms, *rest in before.values()) == [
            (24, "ready", ("a",)),
            (96, "ready", ("eager",)),
        ]
        models = client.models()
        (graph,), (eager,) = models["a"]["gpulets"], models["eager"]["gpulets"]
        assert (graph["runner"], graph["note"]) == ("graph", "")
        assert (eager["runner"], "it prints" in eager["note"]) == ("eager", True)
        assert graph["weights_mb"] == 1.0
        assert graph["graphs_mb"] > 0
        pids = [row["pid"] for row in client.stats()["executors"]]
        for share_pct in (60, 20):
            apply(cluster.parent, gpulet(share_pct, "a"), gpulet(100 - share_pct, "eager"))
            sms = [sms_of(share_pct), sms_of(100 - share_pct)]
            wait_until_there(client, sms, outcomes)
        # In place, and in the same process.
        assert set(places(client)) == set(before)
        assert [row["pid"] for row in client.stats()["executors"]] == pids
    assert set(outcomes) == {"right a", "right eager"}


def sms_of(share_pct: int) -> int:
    """In units of 8, rounded down, and never 9 units."""
    units = share_pct * 15 // 100
    return 8 * (units - (units == 9))


def wait_until_there(client: Client, sms: list[int], outcomes: Counter[str]) -> None:
    """Until gpulets have so many SMs, and every model answers there."""
    wait_for(lambda: sorted(s for _, s, *_ in places(client).values()) == sorted(sms))
    seen = outcomes.copy()
    wait_for(lambda: all(outcomes[name] > seen[name] + 3 for name in ("right a", "right eager")))
