"""The demo of docker/overlay with hosts that are network namespaces; one backend is cut off."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from net_hosts import Network, needs_namespaces
from results_log import check_results
from waiting import WAIT_S, wait_for

OVERLAY = Path(__file__).resolve().parents[2] / "docker" / "overlay"
HOSTS = {
    "backend-0": "10.10.0.3",
    "backend-1": "10.10.0.4",
    "frontend": "10.10.0.20",
    "client": "10.10.0.21",
}
LOOK = """
import urllib.request
print(urllib.request.urlopen("http://10.10.0.20:8000/glet/state.json", timeout=30).read().decode())
"""

pytestmark = [pytest.mark.slow, needs_namespaces]


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network(HOSTS)
    cluster = str(OVERLAY / "cluster.toml")
    try:
        for name in ("backend-0", "backend-1"):
            made.start(name, "-m", "glet.cli.backend", cluster, "--name", name)
        made.start("frontend", "-m", "glet.cli.frontend", cluster)
        yield made
    finally:
        made.close()


def start_client(network: Network, results: Path, seconds: float) -> "subprocess.Popen[str]":
    options = ("--rps", "3", "--seconds", str(seconds), "--wait-s", str(WAIT_S))
    return network.start("client", str(OVERLAY / "client.py"), str(results), *options)


def state(network: Network) -> dict[str, Any]:
    """What the frontend's door says of the cluster, as the client sees it."""
    said: dict[str, Any] = json.loads(network.ask("client", "-c", LOOK) or "{}")
    return said


def is_alive(network: Network, backend: str) -> bool:
    return any(each["alive"] for each in state(network)["devices"] if each["name"] == backend)


def answers(network: Network, backend: str) -> int:
    """Of all gpulets of a backend, since its executor started; 0 before its first report."""
    gpulets = state(network)["stats"]["gpulets"]
    mine = [each for each in gpulets if each["backend"] == backend]
    return sum(model.get("ok", 0) for each in mine for model in each["models"])


def test_a_backend_is_cut_off_and_comes_back_and_no_request_stays_unanswered(
    network: Network, tmp_path: Path
) -> None:
    client = start_client(network, tmp_path / "cut", seconds=15.0)
    assert client.stdout is not None
    assert client.stdout.readline() == "client: sending\n"
    wait_for(lambda: answers(network, "backend-1") > 0)
    network.cut("backend-1")
    wait_for(lambda: not is_alive(network, "backend-1"))
    assert is_alive(network, "backend-0")
    network.mend("backend-1")
    wait_for(lambda: is_alive(network, "backend-1"))
    assert client.wait(2.0 * WAIT_S) == 0
    check_results(tmp_path / "cut")

    before = answers(network, "backend-1")
    again = start_client(network, tmp_path / "again", seconds=5.0)
    assert again.wait(2.0 * WAIT_S) == 0
    found = check_results(tmp_path / "again")
    assert all(model["unavailable"] == 0 for model in found.values())
    wait_for(lambda: answers(network, "backend-1") > before)
