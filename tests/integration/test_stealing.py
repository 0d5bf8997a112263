"""`steal = true`: from the file to the batches of a gpulet whose neighbour has nothing to do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from two_models import on_two_halves
from vector_entries import write_doubles
from waiting import wait_for

from glet.client import Client
from glet.clock import SystemClock
from glet.config.cluster import ClusterConfig
from glet.serve.up import LocalCluster

X = np.arange(4, dtype=np.float32)


def config(tmp_path: Path, **settings: Any) -> ClusterConfig:
    """Emulated models `a` and `b`, each on half of the device, quicker on a larger share."""
    write_doubles(tmp_path / "models", "a", "b", slo_ms=20_000.0)
    lines = (
        f"{name},{share},{batch},{400.0 / share + batch}\n"
        for name in "ab"
        for share in (20, 50, 100)
        for batch in (1, 8)
    )
    return on_two_halves(tmp_path, "".join(lines), **settings)


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
