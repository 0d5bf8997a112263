"""Models `a` and `b` that emulated devices serve, and the profile of such a device."""

from pathlib import Path
from typing import Any

import numpy as np

from glet.client import Client
from glet.errors import LateError, UnavailableError

MODEL_TOML = """
slo_ms = 20000.0
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
X = np.arange(4, dtype=np.float32)


def make_two_models(tmp_path: Path) -> dict[str, Any]:
    """`models` and `partition` of a ClusterConfig; the profile is written to latency.csv."""
    for name in ("a", "b"):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "model.toml").write_text(MODEL_TOML)
        (folder / "model.py").write_text("def infer(x):\n    return x * 2\n")
    rows = [(m, s, b) for m in ("a", "b") for s in (50, 100) for b in (1, 8)]
    lines = (f"{m},{s},{b},{5 + 0.1 * b}\n" for m, s, b in rows)
    (tmp_path / "latency.csv").write_text("".join(lines))
    return {"models": str(tmp_path / "models"), "partition": "profiled"}


def serves(client: Client) -> bool:
    """Whether both are answered; what is not there yet, or comes too late, is no failure."""
    try:
        for model in ("a", "b"):
            client.infer(model, {"x": X}, deadline_ms=20000.0)
    except (UnavailableError, LateError):
        return False
    return True
