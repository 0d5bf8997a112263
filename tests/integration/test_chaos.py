"""Random faults under load, for a short while; `tests/bench/chaos.py` runs for as long as asked."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "bench" / "chaos.py"
LIMIT_S = 600.0


@pytest.mark.slow
def test_random_faults_lose_nothing_and_leave_nothing() -> None:
    command = [sys.executable, str(SCRIPT), "--seconds", "15", "--rate", "60", "--seed", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["faults"] > 0
    assert found["not_back"] == 0
    assert found["unanswered"] == 0
    assert found["outcomes"]["ok"] > 0
    assert found["left"] == {kind: [] for kind in found["left"]}
    assert done.returncode == 0, done.stderr
