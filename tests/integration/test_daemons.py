"""Real frontends, backends and executors on emulated devices and Python models."""

import os
import re
import select
import signal
import subprocess
import sys
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
from vector_entries import model_toml
from waiting import WAIT_S, wait_for

from glet.client import Client
from glet.clock import SystemClock
from glet.config.cluster import BackendConfig, ClusterConfig
from glet.errors import ConfigError, LateError, RequestError, UnavailableError
from glet.profiles.files import DeviceFacts, MeasuredLatency, ProfileData, write_profile
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

HANGING_PY = """
import time


def infer(x):
    time.sleep(600.0 * (x.max() > 100))
    return x * 2
"""
X = np.arange(4, dtype=np.float32)


def make_repository(folder: Path, slo_ms: float = 2000.0) -> Path:
    """Models `a` and `b`, callables that double their input."""
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        (folder / name / "model.toml").write_text(model_toml(slo_ms))
        (folder / name / "model.py").write_text("def infer(x):\n    return x * 2\n")
    return folder


def make_profile(file: Path, latency_ms: float = 5.0) -> Path:
    """Both models at shares 50 and 100."""
    lines = [
        f"{name},{share},{batch},{latency_ms + 0.1 * batch}\n"
        for name in ("a", "b")
        for share in (50, 100)
        for batch in (1, 8)
    ]
    file.write_text("".join(lines))
    return file


def profiled(tmp_path: Path, **changes: Any) -> ClusterConfig:
    """A cluster of one emulated device, reached over ipc in a short folder."""
    models = make_repository(tmp_path / "models")
    profile = make_profile(tmp_path / "latency.csv")
    given: dict[str, Any] = {
        "listen": "tcp://127.0.0.1:0",
        "models": str(models),
        "partition": "profiled",
        "backend": (BackendConfig(profile=str(profile)),),
        **changes,
    }
    return ClusterConfig(**given)


class Load:
    """Threads that ask one after the other until stopped; every answer is counted."""

    def __init__(self, endpoint: str) -> None:
        self.outcomes: Counter[str] = Counter()
        self.asked = 0
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def stop(self) -> None:
        self._stop.set()

    def answered(self) -> int:
        with self._lock:
            return sum(self.outcomes.values())

    def ask(self, model: str) -> None:
        with Client(self._endpoint) as client:
            while not self._stop.is_set():
                with self._lock:
                    self.asked += 1
                try:
                    np.asarray(client.infer(model, {"x": X}, deadline_ms=3000))
                    outcome = "ok"
                except RequestError as error:
                    outcome = error.code
                with self._lock:
                    self.outcomes[outcome] += 1


@contextmanager
def load(endpoint: str, threads: int = 4) -> Iterator[Load]:
    """Asks both models from several threads for as long as the block lasts."""
    made = Load(endpoint)
    running = [
        threading.Thread(target=made.ask, args=("ab"[index % 2],)) for index in range(threads)
    ]
    for thread in running:
        thread.start()
    try:
        yield made
    finally:
        made.stop()
        for thread in running:
            thread.join()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    with LocalCluster(profiled(tmp_path), SystemClock()) as started:
        yield started


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
@pytest.mark.parametrize("isolation", ["device", "gpulet"])
def test_serves_python_models(tmp_path: Path, transport: str, isolation: Any) -> None:
    config = ClusterConfig(
        listen="tcp://127.0.0.1:0" if transport == "tcp" else f"ipc://{tmp_path}/f",
        models=str(make_repository(tmp_path / "models")),
        isolation=isolation,
    )
    with LocalCluster(config, SystemClock()) as cluster, Client(cluster.endpoint) as client:
        for name in ("a", "b"):
            assert np.array_equal(client.infer(name, {"x": X}), X * 2)
        models = client.models()
        assert {name: m["state"] for name, m in models.items()} == {"a": "serving", "b": "serving"}
        assert models["a"]["inputs"] == [["x", "float32", [4]]]
        assert models["a"]["emulated"] is False
        stats = client.stats()
        assert stats["models"]["a"]["ok"] == 1
        devices = len({gpulet["executor"] for gpulet in stats["gpulets"]})
        assert len(stats["executors"]) == devices


def test_emulated_devices_say_so(cluster: LocalCluster) -> None:
    with Client(cluster.endpoint) as client:
        assert all(model["emulated"] for model in client.models().values())
        assert all(backend["emulated"] for backend in client.stats()["backends"])


def test_killed_executor_is_back_and_every_request_is_answered(cluster: LocalCluster) -> None:
    with Client(cluster.endpoint) as client, load(cluster.endpoint) as asked:
        wait_for(lambda: asked.outcomes["ok"] > 20, cluster.poll)
        os.kill(client.stats()["executors"][0]["pid"], signal.SIGKILL)
        wait_for(lambda: executor_is_back(client), cluster.poll)
        served = asked.outcomes["ok"]
        wait_for(lambda: asked.outcomes["ok"] > served + 20, cluster.poll)
    assert asked.answered() == asked.asked
    assert set(asked.outcomes) <= {"ok", "unavailable"}


def executor_is_back(client: Client) -> bool:
    (executor,) = client.stats()["executors"]
    return bool(executor["generation"] == 2 and executor["state"] == "ready")


def test_frozen_executor_is_replaced(cluster: LocalCluster) -> None:
    with Client(cluster.endpoint) as client, load(cluster.endpoint) as asked:
        wait_for(lambda: asked.outcomes["ok"] > 20, cluster.poll)
        os.kill(client.stats()["executors"][0]["pid"], signal.SIGSTOP)
        wait_for(lambda: executor_is_back(client), cluster.poll)
        served = asked.outcomes["ok"]
        wait_for(lambda: asked.outcomes["ok"] > served + 20, cluster.poll)
    assert asked.answered() == asked.asked


def test_a_hanging_model_costs_a_restart_and_the_third_time_its_place(tmp_path: Path) -> None:
    models = make_repository(tmp_path / "models")
    (models / "a" / "model.py").write_text(HANGING_PY)
    config = ClusterConfig(listen="tcp://127.0.0.1:0", models=str(models), hang_s=2.0)
    with LocalCluster(config, SystemClock()) as cluster, Client(cluster.endpoint) as client:

        def is_serving(model: str) -> bool:
            try:
                return np.array_equal(client.infer(model, {"x": X}), X * 2)
            except UnavailableError:
                return False

        for time in range(3):
            wait_for(lambda: is_serving("a"), cluster.poll)
            with pytest.raises((LateError, UnavailableError)):
                client.infer("a", {"x": X + 1000})
            wait_for(
                lambda n=time: client.stats()["executors"][0]["restarts"] == n + 1, cluster.poll
            )
            wait_for(lambda: is_serving("b"), cluster.poll)
        wait_for(lambda: "3 times" in client.models()["a"]["error"], cluster.poll)
        assert "hung" in client.models()["a"]["error"]
        assert not is_serving("a")


def test_restarted_frontend_picks_up_what_runs(tmp_path: Path) -> None:
    config = profiled(tmp_path, listen=f"ipc://{tmp_path}/f")
    with LocalCluster(config, SystemClock()) as cluster, Client(cluster.endpoint) as client:
        before = client.stats()["executors"]
        old = cluster.pids()["frontend"]
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: cluster.pids().get("frontend", old) != old, cluster.poll)

        def is_serving() -> bool:
            try:
                return np.array_equal(client.infer("a", {"x": X}), X)
            except UnavailableError:
                return False

        wait_for(is_serving, cluster.poll)
        after = client.stats()["executors"]
        assert [e["pid"] for e in after] == [e["pid"] for e in before]


@pytest.mark.parametrize("role", ["frontend", "device0"])
def test_frozen_daemon_is_replaced(cluster: LocalCluster, role: str) -> None:
    with Client(cluster.endpoint) as client, load(cluster.endpoint) as asked:
        wait_for(lambda: asked.outcomes["ok"] > 20, cluster.poll)
        old = cluster.pids()[role]
        os.kill(old, signal.SIGSTOP)
        wait_for(lambda: cluster.pids().get(role, old) != old, cluster.poll)
        served = asked.outcomes["ok"]
        wait_for(lambda: asked.outcomes["ok"] > served + 20, cluster.poll)
        assert client.stats()["executors"]
    assert asked.answered() == asked.asked
    assert set(asked.outcomes) <= {"ok", "unavailable", "late"}


def test_restarted_backend_gets_its_plan_again(cluster: LocalCluster) -> None:
    with Client(cluster.endpoint) as client:
        old = cluster.pids()["device0"]
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: cluster.pids().get("device0", old) != old, cluster.poll)

        def is_serving() -> bool:
            try:
                return np.array_equal(client.infer("b", {"x": X}), X)
            except UnavailableError:
                return False

        wait_for(is_serving, cluster.poll)


def test_stopping_answers_everything(tmp_path: Path) -> None:
    file = tmp_path / "cluster.json"
    file.write_bytes(msgspec.json.encode(profiled(tmp_path, listen=f"ipc://{tmp_path}/f")))
    command = [sys.executable, "-m", "glet.cli.main", "up", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        assert any(line.startswith("serving 2 emulated models at") for line in up.stdout)
        with load(f"ipc://{tmp_path}/f") as asked:
            wait_for(lambda: asked.outcomes["ok"] > 20, SystemClock().sleep_s)
            up.send_signal(signal.SIGTERM)
            wait_for(lambda: asked.outcomes["unavailable"] > 0, SystemClock().sleep_s)
        assert up.wait(20) == 0
    assert asked.answered() == asked.asked
    assert set(asked.outcomes) == {"ok", "unavailable"}


def test_a_model_list_over_two_devices(tmp_path: Path) -> None:
    config = profiled(tmp_path)
    plan = tmp_path / "ModelList.txt"
    plan.write_text("0,50,0,a,4,20.0\n0,50,1,reserved,32,0.0\n1,100,0,a,8,20.0\n1,100,0,b,8,0.0\n")
    both = (config.backend[0], msgspec.structs.replace(config.backend[0], device=1))
    config = msgspec.structs.replace(config, plan=str(plan), backend=both)
    with LocalCluster(config, SystemClock()) as cluster, Client(cluster.endpoint) as client:
        gpulets = {
            (g["device"], g["share_pct"]): {m["name"]: m["weight"] for m in g["models"]}
            for g in client.stats()["gpulets"]
            if g["models"]
        }
        assert gpulets.keys() == {(0, 50), (1, 100)}
        assert (gpulets[0, 50]["a"], gpulets[1, 100]["a"]) == (200.0, 400.0)
        assert gpulets[1, 100]["b"] > 0
        for name in "aab":
            assert np.array_equal(client.infer(name, {"x": X}), X)


def test_nothing_outlives_a_killed_parent(tmp_path: Path) -> None:
    file = tmp_path / "cluster.json"
    file.write_bytes(msgspec.json.encode(profiled(tmp_path, listen=f"ipc://{tmp_path}/f")))
    command = [sys.executable, "-m", "glet.cli.main", "up", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        assert any(line.startswith("serving 2 emulated models at") for line in up.stdout)
        with Client(f"ipc://{tmp_path}/f") as client:
            pid = client.stats()["executors"][0]["pid"]
        executor = os.pidfd_open(pid)
        up.kill()
        ended, _, _ = select.select([executor], [], [], WAIT_S)
        os.close(executor)
        assert ended


def test_port_in_use_is_one_line_and_nothing_stays(tmp_path: Path, cluster: LocalCluster) -> None:
    config = msgspec.structs.replace(
        profiled(tmp_path / "second"), listen=cluster.endpoint, run_dir=str(tmp_path / "run")
    )
    with pytest.raises(ConfigError, match=re.escape(cluster.endpoint)):
        LocalCluster(config, SystemClock()).start()
    assert not (tmp_path / "run" / "device0").exists()


def test_broken_model_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    models = make_repository(tmp_path / "models")
    (models / "a" / "model.toml").write_text("slo_ms = 'soon'\n")
    command = [sys.executable, "-m", "glet.cli.main", "up", "--models", str(models)]
    command += ["--listen", f"ipc://{tmp_path}/f"]
    up = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert up.returncode == 2
    assert "model.toml" in up.stderr.splitlines()[-1]
    assert "Traceback" not in up.stderr


def test_open_addresses_need_insecure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--insecure"):
        LocalCluster(profiled(tmp_path, listen="tcp://0.0.0.0:0"), SystemClock()).start()


def test_reorganising_under_load_loses_nothing(tmp_path: Path) -> None:
    config = profiled(tmp_path, run_dir=str(tmp_path / "r"))
    whole = (
        GpuletPlan(
            device=0,
            share_pct=100,
            models=tuple(ModelShare(model=n, batch=4, time_share=0.5) for n in ("a", "b", "c")),
        ),
    )
    with LocalCluster(config, SystemClock()) as cluster, load(cluster.endpoint) as asked:
        wait_for(lambda: asked.outcomes["ok"] > 20, cluster.poll)
        state = apply_plan(f"ipc://{tmp_path}/r/device0/control", whole, cluster)
        served = asked.outcomes["ok"]
        wait_for(lambda: asked.outcomes["ok"] > served + 20, cluster.poll)
    (gpulet,) = state.gpulets
    assert {model.name: model.state for model in gpulet.models} == {
        "a": "ready",
        "b": "ready",
        "c": "failed",
    }
    assert ["'c'" in model.error for model in gpulet.models if model.name == "c"] == [True]
    assert asked.answered() == asked.asked
    assert set(asked.outcomes) == {"ok"}


def apply_plan(
    control: str, gpulets: tuple[GpuletPlan, ...], cluster: LocalCluster
) -> BackendState:
    """Sends a plan like a second frontend would, and waits until only its gpulets are there."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    hello = Hello(version=VERSION, role="frontend", name="test")
    channel: DealerChannel[BackendToFrontend] = DealerChannel(
        context, control, BackendToFrontend, hello
    )
    states: list[BackendState] = []

    def is_done() -> bool:
        for message in channel.receive():
            if isinstance(message, BackendState):
                states.append(message)
                channel.send(StateSeen(seq=message.seq))
        return (
            bool(states)
            and states[-1].plan == gpulets
            and len(states[-1].gpulets) == len(gpulets)
            and all(m.state != "loading" for g in states[-1].gpulets for m in g.models)
        )

    try:
        channel.send(ApplyPlan(gpulets=gpulets))
        wait_for(is_done, cluster.poll)
    finally:
        channel.close()
        context.term()
    return states[-1]


def test_emulated_neighbours_slow_each_other_down(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    latencies = tuple(
        MeasuredLatency(model=m, share_pct=50, batch=b, p50_ms=20.0, p99_ms=20.0, samples=0)
        for m in ("a", "b")
        for b in (1, 8)
    )
    data = ProfileData(
        device=DeviceFacts(type="tiny", kind="profiled"),
        latencies=latencies,
        memory_mb={"a": 0.0, "b": 0.0},
    )
    write_profile(folder, data)
    (folder / "interference.toml").write_text('kind = "constant"\nfactor = 2.0\n')
    plan = tmp_path / "ModelList.txt"
    plan.write_text("0,50,0,a,8,0\n0,50,1,b,8,0\n")
    backend = BackendConfig(profile=str(folder))
    config = profiled(tmp_path, backend=(backend,), plan=str(plan))
    with LocalCluster(config, SystemClock()) as cluster, Client(cluster.endpoint) as client:
        for _ in range(5):
            client.infer("a", {"x": X})
        wait_for(lambda: row_of(client, "a").get("batches") == 5, cluster.poll)
        row = row_of(client, "a")
        # 20 ms alone; an emulated batch never ends early.
        assert row["busy_ms"] / row["batches"] >= 40.0


def row_of(client: Client, model: str) -> dict[str, Any]:
    """What its gpulet counted for a model."""
    rows = [row for gpulet in client.stats()["gpulets"] for row in gpulet["models"]]
    return next(row for row in rows if row["name"] == model)
