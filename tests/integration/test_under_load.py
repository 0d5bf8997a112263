"""Open-loop load on real daemons over emulated devices: overload, stopping, a killed executor."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glet.client import Client
from glet.clock import SystemClock
from glet.config.cluster import BackendConfig, ClusterConfig, GpuletConfig, ModelShareConfig
from glet.native import core
from glet.observe.report import LoadedModel, report
from glet.serve.up import LocalCluster
from glet.wire.zmq_path import libzmq_path

MODEL_TOML = """
slo_ms = 100.0
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
BATCH_MS = 20.0
CAPACITY_RPS = 8 / (BATCH_MS / 1e3)
SLO_MS = 100.0
NAMES = ("a", "b")
X = np.arange(4, dtype=np.float32)


@pytest.fixture
def config(tmp_path: Path) -> ClusterConfig:
    """Models `a` and `b`, each on half an emulated device, an executor process per gpulet."""
    for name in NAMES:
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "model.toml").write_text(MODEL_TOML)
        (tmp_path / "models" / name / "model.py").write_text("def infer(x):\n    return x\n")
    profile = tmp_path / "latency.csv"
    profile.write_text("".join(f"{n},50,1,{BATCH_MS / 2}\n{n},50,8,{BATCH_MS}\n" for n in NAMES))
    return ClusterConfig(
        listen="tcp://127.0.0.1:*",
        models=str(tmp_path / "models"),
        partition="profiled",
        isolation="gpulet",
        backend=(BackendConfig(profile=str(profile)),),
        gpulet=tuple(
            GpuletConfig(share_pct=50, models=(ModelShareConfig(model=name, batch=8),))
            for name in NAMES
        ),
    )


@pytest.fixture
def cluster(config: ClusterConfig) -> Iterator[LocalCluster]:
    with LocalCluster(config, SystemClock()) as started:
        yield started


class OpenLoad:
    """Poisson arrivals for both models; every request is in the report."""

    def __init__(self, address: str, rate_rps: float, seconds: float) -> None:
        self._loop = core.LoadLoop(libzmq_path(), address, drain_s=10.0)
        self._seconds = seconds
        rng = np.random.default_rng(1)
        for name in NAMES:
            gaps_s = rng.exponential(1 / rate_rps, int(rate_rps * seconds))
            self._loop.add_model(
                name, [[("x", X)]], arrivals_ns=(np.cumsum(gaps_s) * 1e9).astype(np.int64),
                slo_ms=SLO_MS,
            )  # fmt: skip
        self._loop.start_open()

    def wait(self, timeout_s: float) -> bool:
        return bool(self._loop.wait(timeout_s))

    def sent(self) -> int:
        return sum(row["sent"] for row in self._loop.progress())

    def models(self) -> dict[str, dict[str, Any]]:
        assert self.wait(60.0)
        models = [LoadedModel(name=name, slo_ms=SLO_MS) for name in NAMES]
        found = report(
            self._loop.records(), models, self._seconds, device="emulated", emulated=True
        )
        self._loop.close()
        return found["models"]


def outcomes(model: dict[str, Any]) -> int:
    return sum(model[name] for name in ("ok", "late", "full", "failed", "unanswered"))


def test_steady_load_is_answered_in_full(cluster: LocalCluster) -> None:
    for model in OpenLoad(cluster.endpoint, 0.4 * CAPACITY_RPS, 3.0).models().values():
        assert model["sent"] == outcomes(model)
        assert model["unanswered"] == model["failed"] == 0
        assert model["ok"] >= 0.98 * model["sent"]


def test_overload_costs_the_surplus_and_no_more(cluster: LocalCluster) -> None:
    limit = OpenLoad(cluster.endpoint, CAPACITY_RPS, 3.0).models()
    overload = OpenLoad(cluster.endpoint, 3 * CAPACITY_RPS, 3.0).models()
    for name, model in overload.items():
        assert model["sent"] == outcomes(model)
        assert model["unanswered"] == model["failed"] == 0
        assert model["late"] + model["full"] > model["sent"] / 2
        assert model["goodput_rps"] >= 0.8 * limit[name]["goodput_rps"]


def test_sigterm_in_the_middle_of_load_answers_everything(config: ClusterConfig) -> None:
    cluster = LocalCluster(config, SystemClock())
    cluster.start()
    try:
        load = OpenLoad(cluster.endpoint, 0.6 * CAPACITY_RPS, 3.0)
        assert not load.wait(1.0)
        frontend = cluster.pids()["frontend"]
        os.kill(frontend, signal.SIGTERM)
        models = load.models()
    finally:
        cluster.stop()
    for model in models.values():
        assert model["unanswered"] == 0
        assert model["ok"] > 0
        assert model["sent"] == outcomes(model)


def test_a_killed_executor_costs_its_own_model_seconds_and_others_nothing(
    cluster: LocalCluster,
) -> None:
    with Client(cluster.endpoint) as client:
        pids = executor_pids(client)
        load = OpenLoad(cluster.endpoint, 0.3 * CAPACITY_RPS, 6.0)
        watcher = Watcher(cluster)
        assert not load.wait(1.0)
        os.kill(pids["a"], signal.SIGKILL)
        models = load.models()
        watcher.stop()
        assert executor_pids(client)["b"] == pids["b"]
        assert executor_pids(client)["a"] != pids["a"]
    for model in models.values():
        assert model["sent"] == outcomes(model)
        assert model["unanswered"] == 0
    assert models["a"]["ok"] >= models["a"]["sent"] / 6  # back within 5 of the 6 seconds
    assert models["b"]["failed"] == models["b"]["full"] == 0
    assert models["b"]["ok"] >= 0.98 * models["b"]["sent"]


class Watcher:
    """Supervises the cluster as `glet up` does, beside a load."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(cluster,))
        self._thread.start()

    def _run(self, cluster: LocalCluster) -> None:
        while not self._stop.is_set():
            cluster.poll(0.1)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def executor_pids(client: Client) -> dict[str, int]:
    """Process id of the executor that serves each model."""
    stats = client.stats()
    pids = {row["executor"]: row["pid"] for row in stats["executors"]}
    return {
        model["name"]: pids[gpulet["executor"]]
        for gpulet in stats["gpulets"]
        for model in gpulet["models"]
    }
