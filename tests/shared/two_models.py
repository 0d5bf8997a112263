"""Models `a` and `b` that emulated devices serve, and the profile of such a device."""

from pathlib import Path
from typing import Any

import numpy as np
from vector_entries import write_doubles

from glet.client import Client
from glet.config.cluster import BackendConfig, ClusterConfig
from glet.errors import LateError, UnavailableError

X = np.arange(4, dtype=np.float32)


def make_two_models(tmp_path: Path) -> dict[str, Any]:
    """`models` and `partition` of a ClusterConfig; the profile is written to latency.csv."""
    write_doubles(tmp_path / "models", "a", "b", slo_ms=20_000.0)
    rows = [(m, s, b) for m in ("a", "b") for s in (50, 100) for b in (1, 8)]
    lines = (f"{m},{s},{b},{5 + 0.1 * b}\n" for m, s, b in rows)
    (tmp_path / "latency.csv").write_text("".join(lines))
    return {"models": str(tmp_path / "models"), "partition": "profiled"}


def on_two_halves(tmp_path: Path, profile: str, **settings: Any) -> ClusterConfig:
    """Models of `models/` on an emulated device of that profile, `a` and `b` on half of it each."""
    (tmp_path / "latency.csv").write_text(profile)
    (tmp_path / "ModelList.txt").write_text("0,50,0,a,4,0\n0,50,1,b,4,0\n")
    given: dict[str, Any] = {
        "listen": "tcp://127.0.0.1:0",
        "models": str(tmp_path / "models"),
        "partition": "profiled",
        "run_dir": str(tmp_path / "r"),
        "plan": str(tmp_path / "ModelList.txt"),
        "backend": (BackendConfig(profile=str(tmp_path / "latency.csv")),),
    }
    return ClusterConfig(**{**given, **settings})


def serves(client: Client) -> bool:
    """Whether both are answered; what is not there yet, or comes too late, is no failure."""
    try:
        for model in ("a", "b"):
            client.infer(model, {"x": X}, deadline_ms=20000.0)
    except (UnavailableError, LateError):
        return False
    return True
