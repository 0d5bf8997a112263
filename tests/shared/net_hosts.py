"""Hosts, made of network namespaces, on one switch; a test can cut the links of any of them."""

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import pytest
from waiting import WAIT_S

HOSTS = {"one": "10.207.0.1", "two": "10.207.0.2"}
LINK = "uplink"
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


def can_make_namespaces() -> bool:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"glet-{uuid.uuid4().hex[:8]}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        return False
    return subprocess.run(["ip", "netns", "del", name], capture_output=True).returncode == 0


needs_namespaces = pytest.mark.skipif(not can_make_namespaces(), reason="needs root and `ip netns`")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Network:
    """A namespace per host with its address (a /24), and a bridge between them.

    The bridge is in a namespace of its own, so that nothing reaches the machine's network.
    """

    def __init__(self, hosts: Mapping[str, str] = HOSTS) -> None:
        tag = uuid.uuid4().hex[:6]
        self._switch = f"glet-{tag}-switch"
        self._names = {host: f"glet-{tag}-{host}" for host in hosts}
        self._running: list[subprocess.Popen[str]] = []
        try:
            self._build(hosts)
        except BaseException:
            self.close()
            raise

    def _build(self, hosts: Mapping[str, str]) -> None:
        for name in (self._switch, *self._names.values()):
            ip("netns", "add", name)
        ip("-n", self._switch, "link", "add", "switch", "type", "bridge")
        ip("-n", self._switch, "link", "set", "switch", "up")
        for number, (host, address) in enumerate(hosts.items()):
            name, port = self._names[host], f"port{number}"
            to_host = ("link", "add", port, "type", "veth", "peer", "name", LINK, "netns", name)
            ip("-n", self._switch, *to_host)
            ip("-n", self._switch, "link", "set", port, "master", "switch", "up")
            ip("-n", name, "addr", "add", f"{address}/24", "dev", LINK)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", LINK, "up")

    def start(self, host: str, *words: str) -> "subprocess.Popen[str]":
        command = ["ip", "netns", "exec", self._names[host], sys.executable, *words]
        started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._running.append(started)
        return started

    def ask(self, host: str, *words: str) -> str:
        """What a command of Python prints on that host, with whatever code it ends."""
        command = ["ip", "netns", "exec", self._names[host], sys.executable, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S).stdout

    def cut(self, host: str = "one") -> None:
        ip("-n", self._names[host], "link", "set", LINK, "down")

    def mend(self, host: str = "one") -> None:
        ip("-n", self._names[host], "link", "set", LINK, "up")

    def close(self) -> None:
        processes = [
            psutil.Process(running.pid) for running in self._running if running.poll() is None
        ]
        processes += [child for each in processes for child in each.children(recursive=True)]
        for process in processes:
            if process.is_running():
                process.send_signal(signal.SIGKILL)
        for running in self._running:
            running.wait()
            if running.stdout is not None:
                running.stdout.close()
        psutil.wait_procs(processes, timeout=WAIT_S)
        for name in (*self._names.values(), self._switch):
            if Path("/run/netns", name).exists():
                ip("netns", "del", name)


def make_repository(folder: Path, shares_pct: Sequence[int]) -> None:
    """Models `near` and `far` in `folder/models`, and `folder/latency.csv` to emulate them by."""
    for name in ("near", "far"):
        (folder / "models" / name).mkdir(parents=True)
        (folder / "models" / name / "model.toml").write_text(MODEL_TOML)
        (folder / "models" / name / "model.py").write_text("def infer(x):\n    return x\n")
    rows = [
        f"{name},{share_pct},{batch},{batch}.0\n"
        for name in ("near", "far")
        for share_pct in shares_pct
        for batch in (1, 4)
    ]
    (folder / "latency.csv").write_text("".join(rows))
