"""`glet demo` as a user runs it: real models on the CPU, and emulated by a profile."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glet.serve.compile_cache import default_cache

pytest.importorskip("torch")
pytest.importorskip("sklearn")

Command = Callable[..., "subprocess.CompletedProcess[str]"]
MODELS = {"lenet", "bert_tiny", "mobilenet_v2"}
COUNTS = ("ok", "late", "full", "failed", "unanswered")
FIELDS = {
    "offered_rps", "answered_rps", "goodput_rps", "sent", *COUNTS, "p50_ms", "p95_ms", "p99_ms",
    "mean_batch", "slo_ms", "accuracy",
}  # fmt: skip
# Exporting, training and compiling where nothing is cached yet.
FIRST_RUN_S = 590.0


def reported(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    """The report on standard output, which has to be that and nothing else."""
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    report: dict[str, Any] = json.loads(done.stdout)
    assert report.keys() >= {"seconds", "device", "emulated", "models"}
    assert report["models"].keys() == MODELS
    for model in report["models"].values():
        assert model.keys() >= FIELDS - {"accuracy"}
        assert model["sent"] == sum(model[name] for name in COUNTS) > 0
        assert model["unanswered"] == 0
    return report


@pytest.mark.slow
def test_real_models_answer_real_requests(glet: Command) -> None:
    report = reported(glet("demo", "--seconds", "3", "--json", limit_s=FIRST_RUN_S))
    assert (report["seconds"], report["device"], report["emulated"]) == (3.0, "cpu", False)
    lenet = report["models"]["lenet"]
    assert lenet.keys() >= FIELDS
    assert lenet["accuracy"] >= 0.95


@pytest.mark.slow
def test_emulated_devices_are_called_emulated(glet: Command, tmp_path: Path) -> None:
    profile = tmp_path / "latency.csv"
    profile.write_text("".join(f"{name},50,1,2.0\n{name},50,32,8.0\n" for name in sorted(MODELS)))
    options = ("--seconds", "2", "--partition", "profiled", "--profile", profile.name)
    report = reported(glet("demo", *options, "--json", limit_s=FIRST_RUN_S))
    assert report["emulated"] is True
    assert report["models"]["lenet"].get("accuracy") is None

    table = glet("demo", *options, limit_s=FIRST_RUN_S)
    assert table.returncode == 0, table.stderr
    assert "2 s on profiled, emulated" in table.stdout
    assert "digits" not in table.stdout
    assert (default_cache() / "demo-models" / "lenet" / "model.toml").is_file()
