"""Benchmarks of sharing a GPU run to their end on a made-up one; the numbers mean nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from green_cluster import FAKE_GPU, write_cluster
from waiting import WAIT_S

ISOLATION = Path(__file__).resolve().parents[1] / "bench" / "gpu" / "isolation.py"


def test_isolation_has_a_row_for_every_mechanism_of_a_gpu(
    tmp_path: Path, fake_cuda: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    models = write_cluster(tmp_path).parent / "models"
    path = os.pathsep.join(filter(None, (str(FAKE_GPU), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, str(ISOLATION), "--kind", "green", "--models", str(models)]
    names = ["--victim", "a", "--aggressor", "eager", "--aggressor-batch", "8", "--seconds", "0.5"]
    run = subprocess.run(
        [*command, *names],
        env={**os.environ, "LD_LIBRARY_PATH": str(fake_cuda), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=10 * WAIT_S,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert [row["params"]["mechanism"] for row in rows] == ["streams", "streams-priority", "green"]
    assert all(row["sent"] > 0 for row in rows)
