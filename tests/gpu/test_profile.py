"""`glet profile` of two small networks on a real GPU."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from glet.profiles import latency_csv

pytestmark = pytest.mark.gpu


def test_two_networks_on_two_shares(grid: dict[str, Any], models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    smallest_pct = -(-100 // grid["units"])
    done = subprocess.run(
        [
            *(sys.executable, "-m", "glet.cli.main", "profile", str(models), "--partition"),
            *("green", "--models", "a,b", "--shares", f"{smallest_pct},100", "--batches", "1,8"),
            *("--pairs", "none", "--seconds-per-point", "0.5", "--out", str(out)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = latency_csv.read(out)
    for name in ("a", "b"):
        assert sorted(found.shares(name)) == [smallest_pct, 100]
        assert found.device.model(name).memory_mb > 0.0
        # A unit is never quicker than the whole device, but for what one run differs from another.
        assert found.latency_ms(name, smallest_pct, 8) > 0.8 * found.latency_ms(name, 100, 8)
