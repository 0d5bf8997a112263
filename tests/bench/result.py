"""One JSON line per result, with what is needed to repeat it."""

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


def emit(bench: str, params: dict[str, Any], **figures: Any) -> dict[str, Any]:
    """Prints a result and returns it; floats are rounded to four digits."""
    line = {"bench": bench, "params": params} | {k: rounded(v) for k, v in figures.items()}
    line |= {"commit": commit(), "cores": os.cpu_count(), "cpu": cpu()}
    print(json.dumps(line), flush=True)
    return line


def rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def commit() -> str:
    run = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout.strip() or "unknown"


def cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def quantiles_ms(latencies_s: list[float]) -> dict[str, float]:
    """p50 and p99 of latencies in seconds, as milliseconds."""
    p50, p99 = np.quantile(np.array(latencies_s), [0.5, 0.99]) * 1e3
    return {"p50_ms": float(p50), "p99_ms": float(p99)}
