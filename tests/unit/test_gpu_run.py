"""tests/gpu/run.sh: its half hour, and that a step that fails costs itself alone."""

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[1] / "gpu" / "run.sh"
# Says ok to everything but what FAILS is part of.
PYTHON = f"""#!{sys.executable}
import os, sys
words = " ".join(sys.argv[1:])
if os.environ["FAILS"] in words:
    sys.exit("it broke: " + words)
print(words)
"""


def run(
    folder: Path, *arguments: str, fails: str = "nothing at all"
) -> "subprocess.CompletedProcess[str]":
    python = folder / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    models = folder / "models"
    for name in ("lenet", "resnet50", "vgg16", "ssd-mobilenetv1"):
        (models / name).mkdir(parents=True, exist_ok=True)
        (models / name / "model.toml").touch()
    return subprocess.run(
        ["sh", str(RUN), *arguments],
        env={**os.environ, "PYTHON": str(python), "FAILS": fails, "GLET_GPU_MODELS": str(models)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_part_is_longer_than_ten_minutes_and_all_are_half_an_hour(tmp_path: Path) -> None:
    limits_s: defaultdict[str, int] = defaultdict(int)
    for line in run(tmp_path, "--plan").stdout.splitlines():
        part, _, limit_s = line.split()
        limits_s[part] += int(limit_s)
    assert list(limits_s) == ["check", "share", "serve", "mps", "rest"]
    assert max(limits_s.values()) <= 600
    assert sum(limits_s.values()) <= 1800


@pytest.mark.parametrize("fails", ["isolation.py", "resize"])
def test_what_fails_is_said_and_the_rest_is_run(tmp_path: Path, fails: str) -> None:
    done = run(tmp_path, str(tmp_path / "out"), "share", "rest", fails=fails)
    assert done.returncode == 1
    lines = (tmp_path / "out" / "summary.txt").read_text().splitlines()
    assert lines == done.stdout.splitlines()
    steps = ["models", "isolation", "reconfigure", "resize", "launch"]
    assert [line.split()[1] for line in lines[:5]] == steps
    assert len(lines) == 9
    failed = [line for line in lines if not line.endswith("s: ok")]
    assert len(failed) == 1
    assert "failed (1): it broke: tests/bench/gpu/" in failed[0]
    assert "--kind green" in (tmp_path / "out" / "launch.out").read_text()


def test_all_well_is_0_and_an_unknown_part_is_2(tmp_path: Path) -> None:
    assert run(tmp_path, str(tmp_path / "out"), "rest").returncode == 0
    done = run(tmp_path, str(tmp_path / "other"), "share", "everything")
    assert done.returncode == 2
    assert done.stderr == (
        "no part is called everything; valid are check, share, serve, mps, rest\n"
    )
    assert not (tmp_path / "other").exists()
