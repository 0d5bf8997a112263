"""`steal = true`: from the file to the batches of a gpulet whose neighbour has nothing to do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waiting import wait_for

from glet.client import Client
from glet.clock import SystemClock
from glet.config.cluster import BackendConfig, ClusterConfig
from glet.serve.up import LocalCluster

MODEL_TOML = """
slo_ms = 20000.0
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
X = np.arange(4, dtype=np.float32)


def config(tmp_path: Path, **settings: Any) -> ClusterConfig:
    """Emulated models `a` and `b`, each on half of the device, quicker on a larger share."""
    for name in "ab":
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "model.toml").write_text(MODEL_TOML)
        (folder / "model.py").write_text("def infer(x):\n    return x\n")
    profile = tmp_path / "latency.csv"
    profile.write_text(
        "".join(
            f"{name},{share},{batch},{400.0 / share + batch}\n"
            for name in "ab"
            for share in (20, 50, 100)
            for batch in (1, 8)
        )
    )
    (tmp_path / "ModelList.txt").write_text("0,50,0,a,4,0\n0,50,1,b,4,0\n")
    given: dict[str, Any] = {
        "listen": "tcp://127.0.0.1:0",
        "models": str(tmp_path / "models"),
        "partition": "profiled",
        "run_dir": str(tmp_path / "r"),
        "plan": str(tmp_path / "ModelList.txt"),
        "backend": (BackendConfig(profile=str(profile)),),
    }
    return ClusterConfig(**{**given, **settings})


def counted(client: Client, model: str) -> dict[str, int]:
    """What the gpulet of a model counted, as its executor last told it."""
    for gpulet in client.stats()["gpulets"]:
        for one in gpulet["models"]:
            if one["name"] == model and "batches" in one:
                return dict(one)
    return {"batches": 0, "borrowed": 0}


@pytest.mark.parametrize("steal", [True, False])
def test_an_idle_neighbour_lends_its_share_where_it_is_asked_for(
    tmp_path: Path, steal: bool
) -> None:
    cluster = LocalCluster(config(tmp_path, steal=steal), SystemClock())
    with cluster, Client(cluster.endpoint) as client:

        def ask() -> bool:
            """Until enough has been counted: with stealing of borrowed batches."""
            client.infer("a", {"x": X})
            return counted(client, "a")["borrowed" if steal else "batches"] >= 10

        wait_for(ask)
        assert (counted(client, "a")["borrowed"] > 0) == steal
        assert counted(client, "b")["borrowed"] == 0
