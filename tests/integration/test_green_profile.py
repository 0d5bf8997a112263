"""`glet profile --partition green`, on a libcuda.so.1 that plays a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from glet.profiles import latency_csv

FAKE_GPU = Path(__file__).resolve().parents[1] / "fake_gpu"
MODEL_TOML = """
slo_ms = 50.0
max_batch = 4
[[input]]
name = "x"
dtype = "float32"
shape = [4]
[[output]]
name = "y"
dtype = "float32"
shape = [4]
"""
SHARES = ("--shares", "20,100")
QUICK = ("--repeats", "7", "--seconds-per-point", "0.05")


def profile(folder: Path, fake_cuda: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, (str(FAKE_GPU), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, "-m", "glet.cli.main", "profile", str(folder / "models"), *arguments],
        env={**os.environ, "LD_LIBRARY_PATH": str(fake_cuda), "PYTHONPATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a repository of one model."""
    model = tmp_path / "models" / "a"
    model.mkdir(parents=True)
    (model / "model.toml").write_text(MODEL_TOML)
    (model / "model.py").write_text("def infer(x):\n    return x * 2\n")
    return tmp_path


@pytest.mark.slow
def test_a_model_on_shares_of_a_gpu(folder: Path, fake_cuda: Path) -> None:
    done = profile(
        folder, fake_cuda, "--partition", "green", *SHARES, *QUICK,
        "--pairs", "none", "--out", "out", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    written = latency_csv.read(folder / "out")
    assert written.device.memory_mb == 143771
    assert sorted(written.shares("a")) == [20, 100]
    assert min(ms for _, ms in written.table("a", 20, 4)) > 0.0
    # The weights alone.
    assert written.device.model("a").memory_mb >= 1.0
    assert len(said["points"]) == 6


def test_a_share_below_one_unit_is_refused(folder: Path, fake_cuda: Path) -> None:
    done = profile(folder, fake_cuda, "--partition", "green", "--shares", "5", "--out", "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "5 %" in done.stderr


def test_mps_is_not_measured(folder: Path, fake_cuda: Path, fake_mps: Path) -> None:
    done = profile(folder, fake_cuda, "--partition", "mps", "--out", "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert "valid are green, cpu, profiled" in done.stderr
