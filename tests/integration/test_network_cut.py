"""Two hosts, made of network namespaces: a backend that cannot be reached, and can again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from waiting import WAIT_S, wait_for

HOSTS = {"one": "10.207.0.1", "two": "10.207.0.2"}
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
MODEL_TOML = """slo_ms = 1000.0
max_batch = 4
[[input]]
name = "x"
dtype = "float32"
shape = [4]
[[output]]
name = "y"
dtype = "float32"
shape = [4]
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


def can_make_namespaces() -> bool:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"glet-{uuid.uuid4().hex[:8]}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        return False
    return subprocess.run(["ip", "netns", "del", name], capture_output=True).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and `ip netns`"),
]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Network:
    """Two namespaces and the link between them, cut and mended by the test."""

    def __init__(self) -> None:
        tag = uuid.uuid4().hex[:6]
        self._names = {host: f"glet-{tag}-{host}" for host in HOSTS}
        self._links = {host: f"gl{tag}{host[0]}" for host in HOSTS}
        self._running: list[subprocess.Popen[str]] = []
        for name in self._names.values():
            ip("netns", "add", name)
        one, two = self._links.values()
        ip("link", "add", one, "type", "veth", "peer", "name", two)
        for host, address in HOSTS.items():
            name, link = self._names[host], self._links[host]
            ip("link", "set", link, "netns", name)
            ip("-n", name, "addr", "add", f"{address}/24", "dev", link)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", link, "up")

    def start(self, host: str, *words: str) -> "subprocess.Popen[str]":
        command = ["ip", "netns", "exec", self._names[host], sys.executable, *words]
        started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._running.append(started)
        return started

    def cut(self) -> None:
        ip("-n", self._names["one"], "link", "set", self._links["one"], "down")

    def mend(self) -> None:
        ip("-n", self._names["one"], "link", "set", self._links["one"], "up")

    def close(self) -> None:
        processes = [psutil.Process(running.pid) for running in self._running]
        processes += [child for each in processes for child in each.children(recursive=True)]
        for process in processes:
            if process.is_running():
                process.send_signal(signal.SIGKILL)
        for running in self._running:
            running.wait()
            if running.stdout is not None:
                running.stdout.close()
        psutil.wait_procs(processes, timeout=WAIT_S)
        for name in self._names.values():
            ip("netns", "del", name)


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
    for name in ("near", "far"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "model.toml").write_text(MODEL_TOML)
        (tmp_path / "models" / name / "model.py").write_text("def infer(x):\n    return x\n")
    rows = [f"{name},100,{batch},{batch}.0\n" for name in ("near", "far") for batch in (1, 4)]
    (tmp_path / "latency.csv").write_text("".join(rows))
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
