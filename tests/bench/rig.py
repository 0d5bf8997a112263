"""A cluster of real daemons that serves the models of the benchmarks, and loads for it."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from result import ROOT

from glet.clock import SystemClock
from glet.config.cluster import ClusterConfig, GpuletConfig, ModelShareConfig
from glet.native import core
from glet.serve.up import LocalCluster
from glet.wire.keys import PLAIN, ClientKeys
from glet.wire.zmq_path import libzmq_path

MODELS = ROOT / "build" / "bench" / "models"
CACHE = ROOT / "build" / "bench" / "cache"
SAMPLES = {
    "echo": np.arange(16, dtype=np.float32),
    "image": np.random.default_rng(0).standard_normal((224, 224, 3)).astype(np.float32),
    "mlp": np.arange(16, dtype=np.float32),
    "lenet": np.zeros((1, 28, 28), dtype=np.float32),
}
INPUT_NAMES = {"lenet": "image"}
MAX_BATCH = {"echo": 32, "image": 8, "mlp": 8, "lenet": 32}
SHARE_PCT = 50  # one of two cores, and one worker thread
SETTLE_S = 1.0
LIMIT_S = 60.0
DEADLINE_MS = 5000.0
TOLERATED = 0.98


class Served:
    """What a benchmark needs to know of a running cluster."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.endpoint = cluster.endpoint
        self.doors = cluster.doors
        pids = cluster.pids()
        frontend, backend = pids["frontend"], pids["device0"]
        self.pids = {"frontend": frontend, "backend": backend}
        self.pids["executor"] = next(
            child.pid
            for child in psutil.Process(backend).children()
            if "glet.serve.executor" in child.cmdline()
        )


@contextmanager
def serve(*models: str, transport: str = "tcp", **changes: Any) -> Iterator[Served]:
    """One gpulet of SHARE_PCT with `models`, behind a frontend and a backend of their own.

    `changes` are fields of the ClusterConfig.
    """
    make_models()
    shares = tuple(ModelShareConfig(model=name, batch=MAX_BATCH[name]) for name in models)
    plan = GpuletConfig(share_pct=SHARE_PCT, models=shares)
    with tempfile.TemporaryDirectory() as run:
        listen = f"ipc://{run}/clients" if transport == "ipc" else f"tcp://127.0.0.1:{free_port()}"
        config = ClusterConfig(
            listen=listen,
            models=str(MODELS),
            cache=str(CACHE),
            partition="cpu",
            gpulet=(plan,),
            **changes,
        )
        with LocalCluster(config, SystemClock()) as cluster:
            yield Served(cluster)


def make_models() -> None:
    """Exports what is not there yet, in a process of its own: this one stays free of torch."""
    if all((MODELS / name / "model.toml").exists() for name in MAX_BATCH):
        return
    make = Path(__file__).with_name("bench_models.py")
    subprocess.run([sys.executable, make, MODELS], check=True, stdout=subprocess.DEVNULL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Poisson(NamedTuple):
    """Open-loop arrivals; a second more goes ahead of them and is not looked at."""

    rate_rps: float
    seconds: float
    seed: int = 0


def open_loop(
    endpoint: str, model: str, load: Poisson, deadline_ms: float | None = None
) -> np.ndarray:
    """The record of every request of the load."""
    rate_rps, seconds, seed = load
    rng = np.random.default_rng(seed)
    gaps_s = rng.exponential(1.0 / rate_rps, int((seconds + SETTLE_S) * rate_rps))
    arrivals_ns = (np.cumsum(gaps_s) * 1e9).astype(np.int64)
    loop = core.LoadLoop(libzmq_path(), endpoint)
    loop.add_model(model, [sample(model)], arrivals_ns=arrivals_ns, deadline_ms=deadline_ms)
    loop.start_open()
    records = finished(loop, seconds + SETTLE_S)
    return records[records["intended_ns"] >= SETTLE_S * 1e9]


def closed_loop(
    endpoint: str, model: str, in_flight: int, seconds: float, keys: ClientKeys = PLAIN
) -> tuple[float, list[float]]:
    """The core's closed loop with a deadline that is never near; requests/s and latencies in s."""
    loop = core.LoadLoop(libzmq_path(), endpoint, keys=keys)
    loop.add_model(model, [sample(model)], deadline_ms=DEADLINE_MS)
    loop.start_closed(in_flight, duration_s=seconds)
    records = finished(loop, seconds)
    ok = answered_ok(records)
    within = ok[ok["answered_ns"] <= seconds * 1e9]
    return len(within) / seconds, list(latencies_ms(within) / 1e3)


def finished(loop: Any, seconds: float) -> np.ndarray:
    try:
        if not loop.wait(seconds + LIMIT_S):
            sys.exit("the load did not end")
        return loop.records()
    finally:
        loop.close()


def latencies_ms(records: np.ndarray) -> np.ndarray:
    """From the intended time to the answer."""
    return (records["answered_ns"] - records["intended_ns"]) / 1e6


def sample(model: str) -> list[tuple[str, np.ndarray]]:
    return [(INPUT_NAMES.get(model, "x"), SAMPLES[model])]


def answered_ok(records: np.ndarray) -> np.ndarray:
    """Those answered. A benchmark of requests that failed is worth nothing: it ends there.

    Where others take both cores for some tens of milliseconds, a short queue is full meanwhile.
    """
    ok = records[records["outcome"] == 0]
    if len(ok) < TOLERATED * len(records):
        sys.exit(f"only {len(ok)} of {len(records)} requests were answered ok")
    return ok


def load_average() -> float:
    """Of the last minute: above the number of cores, others are at work."""
    return os.getloadavg()[0]
