"""Two hosts, made of network namespaces: a backend that cannot be reached, and can again."""

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from net_hosts import Network, make_repository, needs_namespaces
from waiting import wait_for

CLUSTER_TOML = """
listen = "tcp://10.207.0.1:7100"
insecure = true
models = "models"
partition = "profiled"
control = {{ mode = "static" }}
run_dir = "{run_dir}"

[[backend]]
device = 0
control = "tcp://10.207.0.1:7110"
data = "tcp://10.207.0.1:*"
profile = "latency.csv"

[[backend]]
device = 1
control = "tcp://10.207.0.2:7120"
data = "tcp://10.207.0.2:*"
profile = "latency.csv"

[[gpulet]]
device = 0
share_pct = 100
models = [{{ model = "near", batch = 4 }}]

[[gpulet]]
device = 1
share_pct = 100
models = [{{ model = "far", batch = 4 }}]
"""
ASK = """
import json, sys
import numpy as np
from glet.client import Client
from glet.errors import GletError

x = np.arange(4, dtype=np.float32)
with Client("tcp://10.207.0.1:7100") as client:
    while True:
        for model in ("near", "far"):
            try:
                client.infer(model, {"x": x}, deadline_ms=1000.0)
                outcome = "ok"
            except GletError as error:
                outcome = getattr(error, "code", type(error).__name__)
            print(json.dumps([model, outcome]), flush=True)
"""


pytestmark = [pytest.mark.slow, needs_namespaces]


class Asked:
    """What the client of the first host got so far, by model, newest last."""

    def __init__(self, client: "subprocess.Popen[str]") -> None:
        self.outcomes: dict[str, list[str]] = {"near": [], "far": []}
        self._client = client
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._client.stdout is not None
        for line in self._client.stdout:
            model, outcome = json.loads(line)
            self.outcomes[model].append(outcome)

    def close(self) -> None:
        self._thread.join()

    def count(self, model: str, outcome: str, since: int = 0) -> int:
        return self.outcomes[model][since:].count(outcome)


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[tuple[Network, Asked]]:
    make_repository(tmp_path, (100,))
    (tmp_path / "run").mkdir(mode=0o700)
    file = tmp_path / "cluster.toml"
    file.write_text(CLUSTER_TOML.format(run_dir=tmp_path / "run"))
    network = Network()
    try:
        network.start("one", "-m", "glet.cli.backend", str(file), "--name", "device0")
        network.start("two", "-m", "glet.cli.backend", str(file), "--name", "device1")
        network.start("one", "-m", "glet.cli.frontend", str(file))
        found = Asked(network.start("one", "-c", ASK))
        yield network, found
    finally:
        network.close()
    found.close()


def test_a_device_that_is_cut_off_costs_its_own_models_alone(
    asked: tuple[Network, Asked],
) -> None:
    network, found = asked
    wait_for(lambda: found.count("near", "ok") > 5 and found.count("far", "ok") > 5)
    network.cut()
    since = {model: len(outcomes) for model, outcomes in found.outcomes.items()}
    # The request on its way when the link went may be late; from then on the answer is at once.
    wait_for(lambda: found.count("far", "unavailable", since["far"]) > 5)
    assert set(found.outcomes["near"][since["near"] :]) <= {"ok"}
    network.mend()
    back = len(found.outcomes["far"])
    wait_for(lambda: found.count("far", "ok", back) > 5)
    assert set(found.outcomes["near"][since["near"] :]) == {"ok"}
    assert set(found.outcomes["far"][since["far"] :]) <= {"ok", "unavailable", "late"}
