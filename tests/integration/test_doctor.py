"""`glet doctor` as a process on this machine, whatever it is."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]
STATES = {"ok", "warning", "failed", "skipped"}
# What a sound installation never fails, however slow or busy the machine is.
SOUND = ("core", "python", "torch", "cache", "sockets", "numbers", "compiled", "threads", "folders")


def report_of(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.stderr == ""
    report = json.loads(done.stdout)
    states = {check["name"]: check["state"] for check in report["checks"]}
    assert set(states.values()) <= STATES
    assert report["ok"] is ("failed" not in states.values())
    assert done.returncode == (0 if report["ok"] else 1)
    for check in report["checks"]:
        assert check["says"]
        assert check["do"] or check["state"] in ("ok", "skipped")
    return {check["name"]: check for check in report["checks"]}


@pytest.mark.slow
def test_this_machine(glet: Command) -> None:
    checks = report_of(glet("doctor", "--json", limit_s=600.0))
    assert {name: checks[name] for name in SOUND if checks[name]["state"] == "failed"} == {}
    assert checks["cores"]["facts"]["usable"] == len(os.sched_getaffinity(0))
    if shutil.which(os.environ.get("CXX", "g++")) and find_spec("torch"):
        assert checks["compiled"]["state"] == "ok"
        facts = checks["compiled"]["facts"]
        assert facts["items"] == 19
        assert 0.0 <= facts["error"] <= facts["tolerance"]


def test_a_quick_look_with_models(glet: Command, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    checks = report_of(glet("doctor", "--quick", "--json", "--models", "models"))
    assert checks["compiled"]["says"] == "takes seconds; left out by --quick"
    assert checks["models"]["state"] == "warning"
    assert checks["models"]["says"] == "models holds no models"


def test_without_a_gpu_everything_about_one_is_skipped(glet: Command) -> None:
    checks = report_of(glet("doctor", "--quick", "--json"))
    if checks["driver"]["state"] != "skipped":
        pytest.skip("there is a GPU, or a part of one")
    for name in ("gpu-torch", "gpu-numbers", "gpu-mode", "counters", "mps", "gpu-shares"):
        assert checks[name]["state"] == "skipped"


def test_a_cache_that_cannot_be_written_is_told_with_advice(
    glet: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    done = glet("doctor", "--quick")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    (index,) = (i for i, line in enumerate(lines) if line.startswith("  failed   cache"))
    assert "cannot keep compiled models here: Not a directory" in " ".join(lines[index : index + 3])
    assert any("-> set XDG_CACHE_HOME" in line for line in lines[index : index + 3])
    assert done.stderr == ""
