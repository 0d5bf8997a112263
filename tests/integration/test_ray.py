"""Simulations and backends on a Ray cluster of two nodes on this machine. Skips without Ray."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from two_models import make_two_models, serves
from waiting import wait_for

from glet.cli.main import main
from glet.client import Client
from glet.clock import SystemClock
from glet.config.cluster import BackendConfig, ClusterConfig, ControlConfig, RayConfig
from glet.config.security import SecurityConfig
from glet.serve.up import LocalCluster
from glet.sim.many import runs, simulate_all, simulate_on_ray
from glet.sim.scenario import find_scenario, load_scenario
from glet.wire.keys import new_pair

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
    # What Ray leaves open and calls deprecated is not ours.
    pytest.mark.filterwarnings("ignore"),
]

ATTEMPTS = 4
NODE = {
    "num_cpus": 1,
    "num_gpus": 0,
    "object_store_memory": 80 << 20,
    "include_dashboard": False,
    "include_log_monitor": False,
}


def add_node(cluster: Any) -> Any:
    """A node with a CPU. Ray gives it 30 s to start, which a busy machine may not have."""
    for _ in range(ATTEMPTS - 1):
        try:
            return cluster.add_node(**NODE)
        except Exception as error:  # noqa: BLE001 - Ray raises nothing narrower
            print(f"Ray: {error}")
    return cluster.add_node(**NODE)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A ray.cluster_utils.Cluster of two nodes with a CPU each; everything of it ends with it."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        for _ in range(2):
            add_node(cluster)
        yield cluster
    finally:
        cluster.shutdown()


def test_a_simulation_on_ray_gives_the_same_results(nodes: Any) -> None:
    scenario = load_scenario(find_scenario("faro-day"))
    scenario = msgspec.structs.replace(
        scenario, workload=msgspec.structs.replace(scenario.workload, intervals=2)
    )
    wanted = runs(["fair_share", "aiad"], [16, 36], [1])
    ended: list[int] = []
    there = simulate_on_ray(scenario, wanted, nodes.address, ended=ended.append)
    here = simulate_all(scenario, wanted, processes=1)
    assert [{**one.report, "wall_s": 0} for one in there] == [
        {**one.report, "wall_s": 0} for one in here
    ]
    assert ended == [1, 2, 3, 4]


def test_an_address_where_no_cluster_is_gives_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sim", "faro-day", "--policies", "fair_share", "--intervals", "1"]
    assert main([*command, "--ray", "127.0.0.1:1"]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("glet: --ray 127.0.0.1:1: no cluster answers there")
    assert "\n" not in said


def on_ray(tmp_path: Path, address: str, *, with_key: bool) -> ClusterConfig:
    """Emulated devices, one for every CPU that Ray has, and models `a` and `b` on them.

    What goes between hosts is encrypted `with_key`, else plain.
    """
    key = str(new_pair(tmp_path, "cluster")[0]) if with_key else ""
    return ClusterConfig(
        listen=f"ipc://{tmp_path}/f",
        insecure=not with_key,
        security=SecurityConfig(server_key=key),
        backend=(BackendConfig(profile=str(tmp_path / "latency.csv")),),
        control=ControlConfig(mode="static"),
        ray=RayConfig(address=address, cpus_per_backend=1, most_backends=3),
        **make_two_models(tmp_path),
    )


@pytest.mark.parametrize("with_key", [False, True])
def test_backends_come_and_go_with_the_nodes(nodes: Any, tmp_path: Path, with_key: bool) -> None:
    lines: list[str] = []
    config = on_ray(tmp_path, nodes.address, with_key=with_key)
    with (
        LocalCluster(config, SystemClock(), report=lines.append) as started,
        Client(started.endpoint) as client,
    ):

        def alive() -> set[str]:
            return {row["name"] for row in client.stats()["backends"] if row["alive"]}

        wait_for(lambda: len(alive()) == 2 and serves(client), started.poll)
        assert alive() == {"ray0", "ray1"}
        more = add_node(nodes)
        wait_for(lambda: len(alive()) == 3, started.poll)
        # Both models are spread anew over what there is, and what was planned serves.
        wait_for(lambda: serves(client), started.poll)
        nodes.remove_node(more)
        wait_for(lambda: len(alive()) == 2 and serves(client), started.poll)
        add_node(nodes)
        wait_for(lambda: len(alive()) == 3 and serves(client), started.poll)
    assert any("is on node" in line for line in lines)
    assert any("is gone" in line for line in lines)
    while len(nodes.list_all_nodes()) > 2:
        nodes.remove_node(nodes.list_all_nodes()[-1])
