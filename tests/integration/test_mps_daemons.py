"""`glet up --partition mps`, with programs that play the driver and MPS, and real executors."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from fake_gpu_up import environment, up
from vector_entries import write_doubles
from waiting import wait_for

from glet.client import Client
from glet.clock import SystemClock
from glet.errors import RequestError

CLOCK = SystemClock()
X = np.arange(4, dtype=np.float32)
PLAN = """0,25,0,a,1,10
0,75,0,b,1,10
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    write_doubles(folder, "a", "b")
    (tmp_path / "ModelList.txt").write_text(PLAN)
    return folder


@contextmanager
def glet_up(models: Path, fake_cuda: Path) -> Iterator[tuple[Client, list[str]]]:
    """A client of the cluster, and what it said until it served."""
    plan = models.parent / "ModelList.txt"
    arguments = ("--partition", "mps", "--models", models, "--plan", plan)
    env = {**environment(fake_cuda), "CUDA_VISIBLE_DEVICES": "7"}
    with (
        up((*map(str, arguments), "--listen", "tcp://127.0.0.1:*"), env) as said,
        Client(said[-1].split()[-1]) as client,
    ):
        yield client, said


def environment_of(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def ready_pids(client: Client) -> set[int]:
    rows = client.stats()["executors"]
    return {row["pid"] for row in rows if row["state"] == "ready" and row["pid"]}


def answers(client: Client, model: str) -> bool:
    try:
        return bool((client.infer(model, X) == X * 2).all())
    except RequestError:
        return False


def freeze(client: Client, pipes: Path, log: Path) -> set[int]:
    """Stops an executor: it is ended on the device first, and started again. The new processes.

    Tried some times: a busy machine may take longer over a question to MPS than it is given.
    """
    for _ in range(5):
        frozen = min(ready_pids(client))
        (pipes / "clients").write_text(f"900 {frozen}\n")
        os.kill(frozen, signal.SIGSTOP)
        after: set[int] = wait_for(
            lambda pid=frozen: len(p := ready_pids(client)) == 2 and pid not in p and p
        )
        if f"terminated {frozen}" in log.read_text():
            return after
    raise AssertionError(log.read_text())


@pytest.mark.slow
def test_gpulets_are_clients_of_a_daemon(fake_cuda: Path, fake_mps: Path, models: Path) -> None:
    with glet_up(models, fake_cuda) as (client, said):
        assert said[0] == (
            "partition mps: Fake GPU 0, 143771 MiB, 132 SMs in 15 units of 8 and 12 left over"
        )
        assert answers(client, "a")
        assert answers(client, "b")
        (served,) = client.models()["a"]["gpulets"]
        assert (served["runner"], served["note"]) == ("graph", "")
        stats = client.stats()
        assert [(g["share_pct"], g["sms"], g["units"]) for g in stats["gpulets"]] == [
            (25, 33, None),
            (75, 99, None),
        ]
        assert stats["backends"][0]["product"] == "Fake GPU 0"
        before = ready_pids(client)
        found = {pid: environment_of(pid) for pid in before}
        assert sorted(e["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] for e in found.values()) == [
            "25",
            "75",
        ]
        assert {e["CUDA_VISIBLE_DEVICES"] for e in found.values()} == {"0"}
        assert {e["CUDA_MODULE_LOADING"] for e in found.values()} == {"EAGER"}
        (pipes,) = {Path(e["CUDA_MPS_PIPE_DIRECTORY"]) for e in found.values()}
        assert "daemon CUDA_VISIBLE_DEVICES=7" in fake_mps.read_text()

        after = freeze(client, pipes, fake_mps)

        # Without their daemon they are of no use: all are started again, under the new one.
        os.kill(int((pipes / "daemon").read_text()), signal.SIGKILL)
        wait_for(lambda: len(p := ready_pids(client)) == 2 and not p & after)
        wait_for(lambda: answers(client, "a") and answers(client, "b"))
        assert fake_mps.read_text().count("daemon CUDA_VISIBLE_DEVICES") >= 2
    assert fake_mps.read_text().splitlines()[-1] == "quit"


def test_without_mps_the_command_says_so(
    fake_cuda: Path, models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "glet.cli.main",
            "up",
            "--partition",
            "mps",
            "--models",
            str(models),
        ],
        env={**os.environ, "LD_LIBRARY_PATH": str(fake_cuda)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert "partition mps: MPS is not installed" in run.stderr
    assert len(run.stderr.splitlines()) == 1
