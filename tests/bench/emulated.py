"""Clusters of emulated devices for the published models, and the processes that they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from result import ROOT

from glet.config.cluster import BackendConfig, ClusterConfig
from glet.serve.up import LocalCluster

PROFILE = ROOT / "profiles" / "synthetic-gpu"
MAX_BATCH = 32
ROLES = ("executor", "backend", "frontend", "controller")
# What a request carries does not matter to an emulated device: as little as possible.
MODEL_TOML = """slo_ms = {slo_ms}
max_batch = {max_batch}
[[input]]
name = "x"
dtype = "float32"
shape = [4]
[[output]]
name = "y"
dtype = "float32"
shape = [4]
"""


def make_repository(folder: Path, slos_ms: Mapping[str, float], max_batch: int = MAX_BATCH) -> Path:
    """A model each, by name, with its SLO; a callable that nobody calls."""
    for name, slo_ms in slos_ms.items():
        entry = folder / name
        entry.mkdir(parents=True, exist_ok=True)
        toml = MODEL_TOML.format(slo_ms=slo_ms, max_batch=max_batch)
        (entry / "model.toml").write_text(toml, encoding="utf-8")
        (entry / "model.py").write_text("def infer(x):\n    return x\n", encoding="utf-8")
    return folder


def emulated_cluster(models: Path, devices: int, **settings: Any) -> ClusterConfig:
    """So many devices of the type synthetic-gpu, each with a backend of its own."""
    backends = tuple(
        BackendConfig(device=number, profile=str(PROFILE)) for number in range(devices)
    )
    given: dict[str, Any] = {
        "listen": "tcp://127.0.0.1:0",
        "models": str(models),
        "partition": "profiled",
        "backend": backends,
        **settings,
    }
    return ClusterConfig(**given)


def processes(local: LocalCluster, role: str) -> list[psutil.Process]:
    """Those of a role that live now."""
    pids = local.pids()
    if role == "frontend":
        return existing([pids.get("frontend", 0)])
    backends = existing([pid for name, pid in pids.items() if name != "frontend"])
    if role == "backend":
        return backends
    if role == "controller":
        return children(existing([pids.get("frontend", 0)]), "glet.serve.controller")
    return children(backends, "glet.serve.executor")


def existing(pids: list[int]) -> list[psutil.Process]:
    found = []
    for pid in pids:
        try:
            process = psutil.Process(pid) if pid > 0 else None
            if process is not None and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:  # it may end in between
            continue
    return found


def children(parents: list[psutil.Process], module: str) -> list[psutil.Process]:
    found = []
    for parent in parents:
        try:
            for child in parent.children():
                if child.status() != psutil.STATUS_ZOMBIE and module in child.cmdline():
                    found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found
