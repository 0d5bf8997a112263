"""Daemons of a cluster of two "hosts", 127.0.0.2 and .3, that reach each other over tcp alone."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from vector_entries import write_doubles
from waiting import WAIT_S, wait_for

import glet
from glet.config.security import SecurityConfig
from glet.errors import GletError
from glet.wire.channel import DealerChannel
from glet.wire.keys import cluster_pair
from glet.wire.messages import VERSION, BackendState, BackendToFrontend, Hello

HOSTS = ("127.0.0.2", "127.0.0.3")
CLUSTER_TOML = """
listen = "tcp://127.0.0.1:{listen}"
models = "models"
partition = "cpu"
run_dir = "run"

[control]
mode = "static"
address = "tcp://127.0.0.1:{controller}"

[security]
{security}

[[backend]]
device = 0
cores = [{first_core}]
control = "tcp://127.0.0.2:{control0}"
data = "tcp://127.0.0.2:*"

[[backend]]
device = 1
cores = [{last_core}]
control = "tcp://127.0.0.3:{control1}"
data = "tcp://127.0.0.3:*"

[[gpulet]]
device = 0
share_pct = 100
models = [{{ model = "near", batch = 4 }}]

[[gpulet]]
device = 1
share_pct = 100
models = [{{ model = "far", batch = 4 }}]
"""


@dataclass
class Started:
    """Where things are, and what daemons said."""

    folder: Path
    security: SecurityConfig
    frontend: str
    control: str
    controls: tuple[str, ...]
    controller: str
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, role: str, module: str, *options: str) -> None:
        with (self.folder / f"{role}.log").open("ab") as log:
            command = [sys.executable, "-m", module, str(self.folder / "cluster.toml"), *options]
            self.processes[role] = subprocess.Popen(command, stderr=log)

    def said(self, role: str) -> str:
        return (self.folder / f"{role}.log").read_text()

    def internal(self) -> list[str]:
        """Endpoints that are for daemons of the cluster alone."""
        data = [executor for control in self.controls for executor in self._executors(control)]
        return [*self.controls, self.controller, *data]

    def close(self) -> None:
        """The frontend first, as `glet up` does."""
        for process in reversed(self.processes.values()):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _executors(self, control: str) -> list[str]:
        """As their backend tells a frontend."""
        with zmq.Context() as context:
            channel: DealerChannel[BackendToFrontend] = DealerChannel(
                context,
                control,
                BackendToFrontend,
                Hello(version=VERSION, role="frontend", name="asks"),
                cluster_pair(self.security),
            )

            def endpoints() -> list[str]:
                states = [m for m in channel.receive() if isinstance(m, BackendState)]
                return [e.endpoint for state in states[-1:] for e in state.executors if e.endpoint]

            try:
                return wait_for(endpoints)
            finally:
                channel.close()


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@contextmanager
def start_daemons(folder: Path, security: str) -> Iterator[Started]:
    """Serves when it is entered. `security` is the content of that table."""
    write_doubles(folder / "models", "near", "far")
    listen, controller, *controls = free_ports(4)
    cores = sorted(os.sched_getaffinity(0))
    text = CLUSTER_TOML.format(
        listen=listen,
        controller=controller,
        control0=controls[0],
        control1=controls[1],
        security=security,
        first_core=cores[0],
        last_core=cores[-1],
    )
    (folder / "cluster.toml").write_text(text)
    found = dict(line.split(" = ") for line in security.splitlines())
    given = SecurityConfig(**{name: value.strip('"') for name, value in found.items()})
    at = tuple(f"tcp://{host}:{port}" for host, port in zip(HOSTS, controls, strict=True))
    started = Started(
        folder,
        given,
        f"tcp://127.0.0.1:{listen}",
        at[0],
        at,
        f"tcp://127.0.0.1:{controller}",
    )
    try:
        for number in range(2):
            name = f"device{number}"
            started.start(name, "glet.cli.backend", "--name", name)
        started.start("frontend", "glet.cli.frontend")
        wait_for(lambda: _serves(started))
        yield started
    finally:
        started.close()


def _serves(started: Started) -> bool:
    """Asked as a daemon of the cluster, which is always let in."""
    secret = started.security.server_key
    with glet.Client(
        started.frontend, timeout_s=5.0, server_key=secret, client_key=secret
    ) as client:
        try:
            states = {name: model["state"] for name, model in client.models().items()}
        except GletError:
            return False
    return states == {"near": "serving", "far": "serving"}
