"""Repositories and clusters of emulated devices for the published models, made on the spot."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from result import ROOT

from glet.config.cluster import BackendConfig, ClusterConfig

PROFILE = ROOT / "profiles" / "synthetic-gpu"
MAX_BATCH = 32
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


def make_repository(folder: Path, slos_ms: Mapping[str, float]) -> Path:
    """A model each, by name, with its SLO; a callable that nobody calls."""
    for name, slo_ms in slos_ms.items():
        entry = folder / name
        entry.mkdir(parents=True, exist_ok=True)
        toml = MODEL_TOML.format(slo_ms=slo_ms, max_batch=MAX_BATCH)
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
