"""One controller over tcp for frontends of two hosts: they share it, lose it, and find it again."""

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from net_hosts import HOSTS, Network, make_repository, needs_namespaces
from waiting import wait_for

CLUSTER_TOML = """
listen = "tcp://10.207.0.1:7200"
insecure = true
models = "models"
partition = "profiled"
run_dir = "{run_dir}"

[control]
mode = "follow"
address = "tcp://10.207.0.1:7230"

[[backend]]
device = 0
type = "small"
control = "tcp://10.207.0.1:7210"
data = "tcp://10.207.0.1:*"
profile = "latency.csv"

[[backend]]
device = 1
type = "small"
control = "tcp://10.207.0.2:7220"
data = "tcp://10.207.0.2:*"
profile = "latency.csv"
"""
# Asks for one model again and again, and says how it went and what the frontend sees.
WATCH = """
import json, sys
import numpy as np
from glet.client import Client
from glet.errors import GletError

address, model = sys.argv[1:]
x = np.arange(4, dtype=np.float32)
with Client(address) as client:
    while True:
        outcomes = []
        for _ in range(20):
            try:
                client.infer(model, {"x": x}, deadline_ms=1000.0)
                outcomes.append("ok")
            except GletError as error:
                outcomes.append(getattr(error, "code", type(error).__name__))
        try:
            seen = client.observation()
        except GletError:
            continue
        print(json.dumps({"outcomes": outcomes, "body": seen}), flush=True)
"""

pytestmark = [pytest.mark.slow, needs_namespaces]


class Watched:
    """What a client beside a frontend got and saw last."""

    def __init__(self, client: "subprocess.Popen[str]") -> None:
        self.outcomes: list[str] = []
        self._body: dict[str, Any] = {}
        self._client = client
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def state(self) -> str:
        """Of the controller, as this frontend has it."""
        controller = self._body.get("controller")
        return controller["state"] if controller else ""

    def offered_rps(self, model: str) -> float:
        """In the last observation that this frontend was told."""
        seen = self._body.get("observation")
        rows = {row["model"]: row["offered_rps"] for row in seen["models"]} if seen else {}
        return float(rows.get(model, 0.0))

    def devices_of(self, model: str) -> set[int]:
        """Where the plan in force has it, as far as this frontend was told."""
        seen = self._body.get("observation")
        gpulets = seen["plan"]["gpulets"] if seen else []
        return {g["device"] for g in gpulets if any(m["model"] == model for m in g["models"])}

    def close(self) -> None:
        self._thread.join()

    def _read(self) -> None:
        assert self._client.stdout is not None
        for line in self._client.stdout:
            said = json.loads(line)
            self.outcomes += said["outcomes"]
            self._body = said["body"]


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Network, Watched, Watched]]:
    """The frontend of the first host starts the controller; its client asks for `near`, that of
    the second host for `far`."""
    make_repository(tmp_path, (50, 100))
    (tmp_path / "run").mkdir(mode=0o700)
    file = tmp_path / "cluster.toml"
    file.write_text(CLUSTER_TOML.format(run_dir=tmp_path / "run"))
    network = Network()
    watched = []
    try:
        network.start("one", "-m", "glet.cli.backend", str(file), "--name", "device0")
        network.start("two", "-m", "glet.cli.backend", str(file), "--name", "device1")
        second = f"tcp://{HOSTS['two']}:7200"
        network.start("one", "-m", "glet.cli.frontend", str(file))
        network.start(
            "two", "-m", "glet.cli.frontend", str(file), "--no-controller", "--listen", second
        )
        first = f"tcp://{HOSTS['one']}:7200"
        watched.append(Watched(network.start("one", "-c", WATCH, first, "near")))
        watched.append(Watched(network.start("two", "-c", WATCH, second, "far")))
        yield network, *watched
    finally:
        network.close()
    for each in watched:
        each.close()


def test_frontends_of_two_hosts_share_a_controller_over_tcp(
    hosts: tuple[Network, Watched, Watched],
) -> None:
    network, first, second = hosts
    for each in (first, second):
        wait_for(lambda each=each: each.state == "running" and each.outcomes.count("ok") > 5)
        # Each asks for one model alone, and is told the demand of both frontends.
        wait_for(lambda each=each: each.offered_rps("near") > 0.0 and each.offered_rps("far") > 0.0)
    network.cut()
    wait_for(lambda: second.state == "down")
    wait_for(lambda: first.offered_rps("far") == 0.0 and first.offered_rps("near") > 0.0)
    assert first.state == "running"
    # Nobody can be asked where `far` shall go now; what the device beside it has goes on.
    network.mend()
    wait_for(lambda: second.state == "running" and first.offered_rps("far") > 0.0)
    back = len(second.outcomes)
    wait_for(lambda: second.outcomes[back:].count("ok") > 5)
    wait_for(lambda: first.devices_of("far") == second.devices_of("far") != set())
