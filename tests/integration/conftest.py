"""A frontend that follows the wire README with pyzmq and msgpack alone, or breaks its rules.

And `glet` as a process, which may leave nothing behind.
"""

import os
import queue
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import psutil
import pytest
import zmq

MODELS = {
    "double": {
        "inputs": [["x", "float32", [4]]],
        "outputs": [["y", "float32", [4]]],
        "slo_ms": 100.0,
    },
    "pair": {
        "inputs": [["a", "int64", [2]], ["b", "int64", [2]]],
        "outputs": [["sum", "int64", [2]], ["product", "int64", [2]]],
        "slo_ms": 100.0,
        "emulated": True,
    },
    "early": {"inputs": [], "outputs": [], "slo_ms": None, "state": "compiling"},
}
STATS = {"uptime_s": 1.5, "backends": [{"name": "b", "type": "cpu", "emulated": True}]}
TIMES = {"batch": 3, "queue_ms": 1.5, "batch_ms": 0.25, "execute_ms": 2.0}


class FakeFrontend:
    """Answers in a thread. `on_infer(frontend, client, header, tensors)` decides what to answer."""

    def __init__(
        self,
        endpoint: str = "tcp://127.0.0.1:*",
        on_infer: Callable[["FakeFrontend", bytes, dict[str, Any], list[bytes]], None]
        | None = None,
        hello: dict[str, Any] | None = None,
        models: dict[str, Any] | None = None,
    ) -> None:
        self.models = models or MODELS
        self.on_infer = on_infer or FakeFrontend.compute
        self.hello = hello or {"op": "hello", "version": 1, "role": "frontend"}
        self.greeted: set[bytes] = set()
        self.heard: queue.Queue[dict[str, Any]] = queue.Queue()
        self.held: list[tuple[bytes, dict[str, Any], list[bytes]]] = []
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind(endpoint)
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def __enter__(self) -> "FakeFrontend":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        self._socket.close()
        self._context.term()

    def send(self, client: bytes, header: Any, *tensors: bytes) -> None:
        head = header if isinstance(header, bytes) else msgpack.packb(header)
        self._socket.send_multipart([client, head, *tensors])

    def error(self, client: bytes, request: int | None, code: str, message: str = "") -> None:
        self.send(client, {"op": "error", "id": request, "error": code, "message": message})

    def compute(self, client: bytes, header: dict[str, Any], tensors: list[bytes]) -> None:
        """Checks the request like a frontend and answers it."""
        model = MODELS.get(header["model"])
        if model is None:
            return self.error(client, header["id"], "model_not_found", "no such model")
        if [spec[:2] for spec in header["inputs"]] != [spec[:2] for spec in model["inputs"]]:
            return self.error(client, header["id"], "invalid_input", f"got {header['inputs']}")
        arrays = [
            np.frombuffer(frame, dtype).reshape(shape)
            for (_, dtype, shape), frame in zip(header["inputs"], tensors, strict=True)
        ]
        if header["model"] == "double":
            outputs = {"y": arrays[0] * 2}
        else:
            outputs = {"sum": arrays[0] + arrays[1], "product": arrays[0] * arrays[1]}
        return self.result(client, header["id"], outputs)

    def result(self, client: bytes, request: int, outputs: dict[str, np.ndarray]) -> None:
        specs = [[name, array.dtype.name, list(array.shape)] for name, array in outputs.items()]
        header = {"op": "result", "id": request, "outputs": specs, **TIMES}
        self.send(client, header, *(array.tobytes() for array in outputs.values()))

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._socket.poll(10):
                client, head, *tensors = self._socket.recv_multipart()
                self._handle(client, msgpack.unpackb(head), tensors)

    def _handle(self, client: bytes, header: dict[str, Any], tensors: list[bytes]) -> None:
        self.heard.put(header)
        if header["op"] == "hello":
            self.greeted.add(client)
            self.send(client, self.hello)
        elif client not in self.greeted:
            self.error(client, header["id"], "hello_required", "say hello")
        elif header["op"] == "models":
            self.send(client, {"op": "models", "id": header["id"], "body": self.models})
        elif header["op"] == "stats":
            self.send(client, {"op": "stats", "id": header["id"], "body": STATS})
        elif header["op"] != "cancel":  # too late for a frontend that answers at once
            self.on_infer(self, client, header, tensors)


@pytest.fixture
def fake_frontend() -> Iterator[Callable[..., FakeFrontend]]:
    """Makes fake frontends; all are closed when the test ends."""
    made: list[FakeFrontend] = []

    def make(*args: Any, **kwargs: Any) -> FakeFrontend:
        made.append(FakeFrontend(*args, **kwargs))
        return made[-1]

    yield make
    for frontend in made:
        frontend.close()


Command = Callable[..., "subprocess.CompletedProcess[str]"]
MARK = "GLET_TEST_COMMAND"


@pytest.fixture
def glet_environment() -> dict[str, str]:
    """The environment of a `glet` that is started in another folder."""
    return environment()


@pytest.fixture
def glet(tmp_path: Path) -> Command:
    """Runs `glet ARGUMENTS` in `tmp_path` to its end; fails when a process of it outlives it."""

    def run(*arguments: str, limit_s: float = 60.0) -> "subprocess.CompletedProcess[str]":
        mark = uuid.uuid4().hex
        done = subprocess.run(
            [sys.executable, "-m", "glet.cli.main", *arguments],
            env=environment() | {MARK: mark},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=limit_s,
        )
        assert descendants(mark) == []
        return done

    return run


def environment() -> dict[str, str]:
    """This process's environment, good for any working folder."""
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return os.environ | (
        {"PYTHONPATH": os.pathsep.join(paths)} if "PYTHONPATH" in os.environ else {}
    )


def descendants(mark: str) -> list[str]:
    """The command lines of all processes that inherited the mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found
