"""Arrays in device memory, from a client's process through the daemons, on a made-up GPU."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from green_cluster import CLUSTER_TOML, glet_up, write_cluster
from waiting import WAIT_S

CLIENT = Path(__file__).resolve().parents[1] / "shared" / "device_client.py"


def test_device_arrays_go_to_the_model_without_the_host(
    tmp_path: Path, fake_cuda: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CUDA", "ipc=1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cluster = write_cluster(tmp_path)
    cluster.write_text(CLUSTER_TOML + 'http = "127.0.0.1:0"\n')
    with glet_up(cluster, fake_cuda) as (_, said):
        address = re.findall(r"tcp://[\d.:]+", said[-1])[0]
        http = re.findall(r"http at ([\d.]+:\d+)", said[-1])[0]
        run = subprocess.run(
            [sys.executable, str(CLIENT), address, http],
            env={**os.environ, "LD_LIBRARY_PATH": str(fake_cuda)},
            capture_output=True,
            text=True,
            timeout=4 * WAIT_S,
            check=False,
        )
        assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["doubled"] == [[0, 2, 4, 6], [2, 4, 6, 8], [4, 6, 8, 10]]
    assert found["home"] == [0, 2, 4, 6]
    dtype, gaps, short = found["refused"]
    assert "got float64 [4], expected float32 [4]" in dtype
    assert gaps == "input 'x' is a device array with gaps; make it contiguous"
    assert "got float32 [2], expected float32 [4]" in short
    no_handle, registered, again = found["register"]
    assert no_handle[0] == 400
    assert "a CUDA IPC handle has 64" in no_handle[1]
    assert registered == {}
    assert again[0] == 409
    (output,) = found["answer"]
    assert output["shape"] == [2, 4]
    assert output["parameters"]["shared_memory_region"] == "r"
    assert "data" not in output
    assert found["written"] == [0, 2, 4, 6, 20, 22, 24, 26]
    small, no_room, unknown = found["wrong"]
    assert small[0] == 400
    assert "16 bytes of device memory are not 2 times 16" in small[1]
    assert no_room[0] == 400
    assert "it has 32 bytes, shared_memory_byte_size is 16" in no_room[1]
    assert unknown[0] == 400
    assert "no shared memory region 'q'" in unknown[1]
    assert found["after"][0] == 400
