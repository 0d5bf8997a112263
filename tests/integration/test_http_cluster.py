"""`glet up --http`: real daemons behind the HTTP door."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import msgspec
import pytest
from waiting import WAIT_S

from glet.clock import SystemClock
from glet.config.cluster import BackendConfig, ClusterConfig
from glet.errors import ConfigError
from glet.serve.up import LocalCluster

MODEL_TOML = """
slo_ms = 5000.0
max_batch = 8
[[input]]
name = "x"
dtype = "float16"
shape = [2]
[[output]]
name = "y"
dtype = "float16"
shape = [2]
"""


@pytest.fixture
def config(tmp_path: Path) -> ClusterConfig:
    entry = tmp_path / "models" / "double"
    entry.mkdir(parents=True)
    (entry / "model.toml").write_text(MODEL_TOML)
    (entry / "model.py").write_text("def infer(x):\n    return x * 2\n")
    return ClusterConfig(
        listen="tcp://127.0.0.1:*",
        http="127.0.0.1:*",
        models=str(entry.parent),
        partition="cpu",
        backend=(BackendConfig(),),
    )


def test_a_real_model_answers_over_http(config: ClusterConfig) -> None:
    lines: list[str] = []
    x = {"name": "x", "datatype": "FP16", "shape": [3, 2], "data": [[1, 2], [3, 4], [0.5, -1e-7]]}
    sent = json.dumps({"inputs": [x]}).encode()
    with LocalCluster(config, SystemClock(), report=lines.append) as cluster:
        address = cluster.doors["http"]
        assert any(f"http at {address}" in line for line in lines)
        url = f"http://{address}/v2/models/double/infer"
        with urllib.request.urlopen(url, sent, timeout=WAIT_S) as answer:
            (y,) = json.load(answer)["outputs"]
        assert (y["datatype"], y["shape"]) == ("FP16", [3, 2])
        assert y["data"] == pytest.approx([2, 4, 6, 8, 1, -2e-7], abs=2e-7)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(url.replace("double", "doubel"), sent, timeout=WAIT_S)
        assert refused.value.code == 404
        assert "did you mean 'double'" in refused.value.read().decode()
        refused.value.close()


def test_an_address_beyond_this_machine_needs_to_be_asked_for(config: ClusterConfig) -> None:
    for address, says in [("0.0.0.0:8000", "--insecure"), ("nowhere", "HOST:PORT")]:
        cluster = LocalCluster(msgspec.structs.replace(config, http=address), SystemClock())
        with pytest.raises(ConfigError, match=says):
            cluster.start()
