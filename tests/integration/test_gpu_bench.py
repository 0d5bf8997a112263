"""Benchmarks of sharing a GPU run to their end on a made-up one; the numbers mean nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_gpu_up import environment
from green_cluster import write_cluster
from vector_entries import model_toml
from waiting import WAIT_S

BENCH = Path(__file__).resolve().parents[1] / "bench" / "gpu"
MIX = ("resnet50", "ssd-mobilenetv1", "vgg16")
DEVICE_TOML = 'type = "fake-gpu"\nkind = "gpu"\nmemory_mb = 143771.0\n'
EXPORT = """
import sys, torch
class Twice(torch.nn.Module):
    def forward(self, x):
        return x * 2 if sys.argv[2] == "fast" else x + x
batch = torch.export.Dim("batch", min=1, max=8)
program = torch.export.export(Twice(), (torch.zeros(2, 4),), dynamic_shapes=({0: batch},))
torch.export.save(program, sys.argv[1])
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of `a` and `eager`, and of `slow`, which asks little of this machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = write_cluster(tmp_path).parent / "models"
    write_model(
        folder, "slow", "import time\n\ndef infer(x):\n    time.sleep(0.02)\n    return x * 2\n"
    )
    return folder


def write_model(models: Path, name: str, text: str = "def infer(x):\n    return x * 2\n") -> Path:
    """Its folder."""
    (models / name).mkdir()
    (models / name / "model.toml").write_text(model_toml(5000.0))
    (models / name / "model.py").write_text(text)
    return models / name


def bench(fake_cuda: Path, script: str, *arguments: object) -> list[dict[str, Any]]:
    """Its results."""
    run = subprocess.run(
        [sys.executable, str(BENCH / script), *map(str, arguments)],
        env=environment(fake_cuda),
        capture_output=True,
        text=True,
        timeout=10 * WAIT_S,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


ISOLATION = ("--victim", "a", "--aggressor", "eager", "--aggressor-batch", "8", "--seconds", "0.5")


def test_isolation_has_a_row_for_every_mechanism_of_a_gpu(models: Path, fake_cuda: Path) -> None:
    rows = bench(fake_cuda, "isolation.py", "--kind", "green", "--models", models, *ISOLATION)
    assert [row["params"]["mechanism"] for row in rows] == ["streams", "streams-priority", "green"]
    assert all(row["sent"] > 0 for row in rows)


def test_isolation_of_processes_under_an_mps_daemon(
    models: Path, fake_cuda: Path, fake_mps: Path
) -> None:
    rows = bench(fake_cuda, "isolation.py", "--kind", "mps", "--models", models, *ISOLATION)
    assert [row["params"]["mechanism"] for row in rows] == ["mps", "mps-capped", "green-wire"]
    assert {row["params"]["load"] for row in rows} == {"wire"}
    assert all(row["sent"] > 0 for row in rows)
    # A daemon per run of the two rows, and each was stopped again.
    said = fake_mps.read_text().splitlines()
    assert sum(line.startswith("daemon ") for line in said) == said.count("quit") == 4


@pytest.mark.parametrize(
    ("kind", "change", "end"),
    [
        ("green", "move", "first_batch_p50_ms"),
        ("green", "resize", "switched_p50_ms"),
        ("mps", "move", "routed_p50_ms"),
    ],
)
def test_reconfiguring_beside_starting_a_process(
    models: Path, fake_cuda: Path, fake_mps: Path, kind: str, change: str, end: str
) -> None:
    (row,) = bench(
        fake_cuda, "reconfigure.py", "--kind", kind, "--models", models, "--model", "slow",
        "--batch", 1, "--slo-over-batch", 200, "--change", change,
        "--changes", 2, "--starts", 1, "--share", 40,
    )  # fmt: skip
    assert row["params"]["kind"] == kind
    assert row[end] > 0.0
    assert row["process_p50_ms"] > 0.0
    assert (row["failed"], row["unanswered"]) == (0, 0)


@pytest.mark.parametrize(
    ("kind", "systems"),
    [
        ("green", ["edf-nowait", "streams", "streams-priority", "glet-headroom"]),
        ("green-wire", ["streams"]),
        ("mps", ["streams", "glet-headroom"]),
    ],
)
def test_goodput_of_every_way_to_share(
    models: Path, fake_cuda: Path, fake_mps: Path, tmp_path: Path, kind: str, systems: list[str]
) -> None:
    write_profile(tmp_path / "profile")
    for name in MIX:
        write_model(models, name)
    rows = bench(
        fake_cuda, "goodput.py", "--kind", kind, "--models", models,
        "--profile", tmp_path / "profile", "--scenarios", "long-only", "--slo", 8,
        "--systems", *systems, "--seconds", 1, "--warm", 0,
        "--steps", 1, "--seeds", 1, "--start", 0.05,
    )  # fmt: skip
    assert [row["params"]["system"] for row in rows] == systems
    assert all(row["gpulets"] > 0 and row["predicted_rps"] > 0.0 for row in rows)


def write_profile(folder: Path) -> None:
    """Of a device on which nothing is fast, so that a busy machine can do what is asked of it."""
    folder.mkdir()
    (folder / "device.toml").write_text(DEVICE_TOML)
    (folder / "models.csv").write_text("model,memory_mb\n" + "".join(f"{m},1\n" for m in MIX))
    lines = ["model,share_pct,batch,p50_ms,p99_ms,samples\n"]
    for model in MIX:
        for share_pct in (20, 40, 60, 80, 100):
            for batch in (1, 8):
                ms = 5.0 + 2000.0 * batch / share_pct
                lines.append(f"{model},{share_pct},{batch},{ms},{ms},9\n")
    (folder / "latency.csv").write_text("".join(lines))


def test_launches_eager_and_by_each_way_of_a_gpu(
    models: Path,
    fake_cuda: Path,
    fake_torch: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("FAKE_TORCH", str(fake_torch))
    monkeypatch.setenv("COMPILE_LOG", str(tmp_path / "compiled.log"))
    for name in ("fast", "odd"):
        program = write_model(models, name) / "model.pt2"
        subprocess.run([sys.executable, "-c", EXPORT, str(program), name], check=True)
    rows = bench(
        fake_cuda, "launch.py", "--batches", 3, "--kind", "green", "--models", models,
        "--names", "fast", "odd", "--ways", "graph", "aoti", "--repeats", 3,
    )  # fmt: skip
    found = {
        (row["params"]["way"], row["params"]["model"], row["params"]["launch"])
        for row in rows
        if row["params"]["what"] == "eager"
    }
    assert found == {
        ("graph", "fast", "graph"),
        ("graph", "odd", "graph"),
        ("aoti", "fast", "compiled"),
        ("aoti", "odd", "graph"),
    }
