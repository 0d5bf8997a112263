"""`glet up --partition green`: real daemons on a libcuda.so.1 that plays a GPU.

What stands for torch is tests/fake_gpu; graphs, streams and green contexts are the core's.
"""

import os
import select
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zmq
from waiting import WAIT_S, wait_for

from glet.client import Client
from glet.clock import SystemClock
from glet.errors import RequestError
from glet.serve.share_gate import ShareGate, write_gate
from glet.types.plan import GpuletPlan, ModelShare
from glet.wire.channel import DealerChannel
from glet.wire.messages import VERSION, ApplyPlan, BackendToFrontend, Hello

CLOCK = SystemClock()
FAKE_GPU = Path(__file__).resolve().parents[1] / "fake_gpu"
X = np.arange(4, dtype=np.float32)
MODEL_TOML = """
slo_ms = 5000.0
max_batch = 8
[[input]]
name = "x"
dtype = "float32"
shape = [4]
[[output]]
name = "y"
dtype = "float32"
shape = [4]
"""
CLUSTER_TOML = """
listen = "tcp://127.0.0.1:*"
models = "models"
plan = "ModelList.txt"
partition = "green"
run_dir = "r"
"""
PLAN = """0,20,0,a,1,10
0,80,0,eager,1,10
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Models `a` and `eager`, which cannot be captured, on 3 and 12 units of the GPU.

    Numbers on 9 units were found to be wrong.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_gate(ShareGate(device="Fake GPU 0", driver="13.0", unit_sms=8, bad_units=(9,)))
    for name in ("a", "eager"):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "model.toml").write_text(MODEL_TOML)
        (folder / "model.py").write_text("def infer(x):\n    return x * 2\n")
    (tmp_path / "ModelList.txt").write_text(PLAN)
    (tmp_path / "cluster.toml").write_text(CLUSTER_TOML)
    return tmp_path / "cluster.toml"


@contextmanager
def glet_up(cluster: Path, fake_cuda: Path) -> Iterator[tuple[str, list[str]]]:
    """Where it serves, and what it said until then."""
    path = os.pathsep.join(filter(None, (str(FAKE_GPU), os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, "-m", "glet.cli.main", "up", str(cluster)],
        env={**os.environ, "LD_LIBRARY_PATH": str(fake_cuda), "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        said = []
        while not said or not said[-1].startswith("serving"):
            assert select.select([process.stdout], [], [], WAIT_S)[0], said
            line = process.stdout.readline()
            assert line, said
            said.append(line.strip())
        yield said[-1].split()[-1], said
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(WAIT_S)
        finally:
            process.kill()
            process.stdout.close()
    assert process.returncode == 0


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
