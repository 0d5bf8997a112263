"""A frontend loop with an HTTP door, and an executor that the test plays itself."""

import http.client
import socket
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import zmq
from fake_executor import OK, FakeExecutor

from glet.native import core
from glet.wire.zmq_path import libzmq_path

LIMIT_S = 60.0


def spec(name: str, dtype: str, *shape: int) -> Any:
    return core.TensorSpec(name, dtype, list(shape))


class Rig:
    """A frontend loop with an HTTP door, models `m` (4 floats to 2) and `pair`, one executor."""

    def __init__(
        self,
        max_body_mb: int = 64,
        max_connections: int = 100,
        limits: Mapping[str, float] | None = None,
    ) -> None:
        """`limits` are those of core.set_door_limits()."""
        self._context = zmq.Context()
        self.loop = core.FrontendLoop(libzmq_path())
        self.executor = FakeExecutor(self._context)
        self.loop.bind("tcp://127.0.0.1:*")
        core.set_door_limits(self.loop, **(limits or {}))
        self.address = core.add_http_door(self.loop, "127.0.0.1:0", max_body_mb, max_connections)
        self.loop.add_executor(0, self.executor.endpoint)
        models = {
            "m": ([spec("x", "float32", 4)], [spec("y", "float32", 2)]),
            "pair": ([spec("a", "int64", 2), spec("b", "bool")], [spec("s", "int64", 2)]),
            "large": ([spec("x", "uint8", 1 << 20)], [spec("y", "uint8", 1 << 20)]),
        }
        for number, (name, (inputs, outputs)) in enumerate(models.items()):
            self.loop.set_model(name, core.Signature(inputs, outputs), 20000.0)
            self.loop.set_routes(name, [(0, 10, number, 1.0)])
        self.loop.start()
        self._sockets: list[Any] = []

    def connect(self) -> socket.socket:
        host, port = self.address.split(":")
        made = socket.create_connection((host, int(port)), timeout=LIMIT_S)
        self._sockets.append(made)
        return made

    def http(self) -> http.client.HTTPConnection:
        made = http.client.HTTPConnection(self.address, timeout=LIMIT_S)
        self._sockets.append(made)
        return made

    def serve(self, *frames: bytes, outcome: int = OK) -> SimpleNamespace:
        request = self.executor.request()
        self.executor.reply(request, outcome, *frames)
        return request

    def close(self) -> None:
        for made in self._sockets:
            made.close()
        self.loop.close()
        self.executor.socket.close()
        self._context.term()
