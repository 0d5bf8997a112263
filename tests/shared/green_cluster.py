"""A cluster on a libcuda.so.1 that plays a GPU: `glet up --partition green`, in processes."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waiting import WAIT_S

from glet.serve.share_gate import ShareGate, write_gate

FAKE_GPU = Path(__file__).resolve().parents[1] / "fake_gpu"
MODEL_TOML = """
slo_ms = 5000.0
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
CLUSTER_TOML = """
listen = "tcp://127.0.0.1:*"
models = "models"
plan = "ModelList.txt"
partition = "green"
run_dir = "r"
"""
PLAN = """0,20,0,a,1,10
0,80,0,eager,1,10
"""


def write_cluster(tmp_path: Path) -> Path:
    """Models `a` and `eager`, which cannot be captured, on 3 and 12 units of the GPU.

    Numbers on 9 units were found to be wrong. XDG_CACHE_HOME is what that goes into.
    """
    write_gate(ShareGate(device="Fake GPU 0", driver="13.0", unit_sms=8, bad_units=(9,)))
    for name in ("a", "eager"):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "model.toml").write_text(MODEL_TOML)
        (folder / "model.py").write_text("def infer(x):\n    return x * 2\n")
    (tmp_path / "ModelList.txt").write_text(PLAN)
    (tmp_path / "cluster.toml").write_text(CLUSTER_TOML)
    return tmp_path / "cluster.toml"


def environment(fake_cuda: Path) -> dict[str, str]:
    """Of a process that finds the made-up GPU and a stand-in for torch."""
    path = os.pathsep.join(filter(None, (str(FAKE_GPU), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "LD_LIBRARY_PATH": str(fake_cuda), "PYTHONPATH": path}


@contextmanager
def glet_up(cluster: Path, fake_cuda: Path) -> Iterator[tuple[str, list[str]]]:
    """Where it serves, and what it said until then."""
    process = subprocess.Popen(
        [sys.executable, "-m", "glet.cli.main", "up", str(cluster)],
        env=environment(fake_cuda),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        said = []
        while not said or not said[-1].startswith("serving"):
            assert select.select([process.stdout], [], [], WAIT_S)[0], said
            line = process.stdout.readline()
            assert line, said
            said.append(line.strip())
        yield said[-1].split()[-1], said
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(WAIT_S)
        finally:
            process.kill()
            process.stdout.close()
    assert process.returncode == 0
