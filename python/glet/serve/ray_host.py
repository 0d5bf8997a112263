"""A Ray actor that runs a backend on the node where Ray put it. See ray_backends.py."""

import os
import signal
import socket
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from glet.config.cluster import ClusterConfig, backend_name
from glet.serve.child import Child, describe_exit, python
from glet.serve.status import LineReader


class Place(NamedTuple):
    """Where an actor is: its node, that one's address and usable cores, the GPUs it was given."""

    node: str
    address: str
    cores: tuple[int, ...]
    gpus: tuple[str, ...]


class News(NamedTuple):
    """Of a backend since it was last asked: lines of its status pipe, and how it ended or ''."""

    lines: tuple[bytes, ...]
    ended: str


class BackendHost:
    """Its methods run one after the other in the main thread of the actor's process, which lives as
    long as the actor: the backend ends with it, however that is.
    """

    def __init__(self) -> None:
        self._child: Child | None = None
        self._status: LineReader | None = None
        self._file: Path | None = None

    def place(self) -> Place:
        """Where it is."""
        ray: Any = import_module("ray")
        context = ray.get_runtime_context()
        return Place(
            node=context.get_node_id(),
            address=ray.util.get_node_ip_address(),
            cores=tuple(sorted(os.sched_getaffinity(0))),
            gpus=tuple(str(gpu) for gpu in ray.get_gpu_ids()),
        )

    def start(self, cluster: bytes, name: str, address: str, log_level: str) -> str:
        """Starts the backend `name` of this cluster (JSON); where frontends reach it.

        Its sockets are bound at the node's `address`, on ports that are free now.
        """
        config = msgspec.json.decode(cluster, type=ClusterConfig)
        control = f"tcp://{address}:{free_port(address)}"
        backends = tuple(
            msgspec.structs.replace(one, control=control, data=f"tcp://{address}:*")
            for one in config.backend
            if backend_name(one) == name
        )
        config = msgspec.structs.replace(config, backend=backends, run_dir="")
        descriptor, name_of_file = tempfile.mkstemp(prefix="glet-ray-", suffix=".json")
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(config))
        self._file = Path(name_of_file)
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        self._status = LineReader(read_fd)
        command = python("glet.cli.backend", name_of_file, "--name", name, "--log-level", log_level)
        arguments = ["--status-fd", str(write_fd), "--parent-pid", str(os.getpid())]
        # Ray narrows what its workers see of GPUs; the backend is told which one is its own.
        environment = {key: at for key, at in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
        try:
            self._child = Child(
                [*command, *arguments], pass_fds=[write_fd], environment=environment
            )
        finally:
            os.close(write_fd)
        return control

    def news(self) -> News:
        """What happened since the last call."""
        lines = tuple(self._status.lines()) if self._status is not None else ()
        if lines:
            self._remove_file()
        code = self._child.exit_code() if self._child is not None else None
        return News(lines, "" if code is None else describe_exit(code))

    def stop(self, patience_s: float) -> None:
        """Ends the backend, which answers what is outstanding; by force after `patience_s`."""
        if self._child is not None:
            self._child.signal(signal.SIGTERM)
            self._child.close(patience_s)
            self._child = None
        self._remove_file()

    def _remove_file(self) -> None:
        """It is read once, at the start; whoever is killed later leaves nothing."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)
            self._file = None


def free_port(address: str) -> int:
    """A port that nobody has now. Who finds it taken after all ends, and is started again."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def describe(place: Place) -> str:
    """For people."""
    gpus = f", GPU {', '.join(place.gpus)}" if place.gpus else ""
    return place.address + gpus
