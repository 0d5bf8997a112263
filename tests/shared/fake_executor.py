"""An executor that a test plays itself, byte by byte: wire/README.md, section 2."""

import struct
from types import SimpleNamespace

import zmq

TIMEOUT_MS = 30000
HELLO, REQUEST, REPLY, PING, PONG, CANCEL = range(6)
OK, LATE, FULL, FAILED, UNAVAILABLE, INVALID, CANCELLED = range(7)


class Peer:
    """A socket with a receive that has an end."""

    def __init__(self, context: zmq.Context, kind: int) -> None:
        self.socket = context.socket(kind)
        self.socket.linger = 0
        self.socket.rcvtimeo = TIMEOUT_MS

    def send(self, *frames: bytes) -> None:
        self.socket.send_multipart(frames)

    def receive(self) -> list[bytes]:
        return self.socket.recv_multipart()


class FakeExecutor(Peer):
    """Plays an executor: greets, answers pings, and leaves requests to the test."""

    def __init__(self, context: zmq.Context) -> None:
        super().__init__(context, zmq.ROUTER)
        port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{port}"
        # Tags of requests that were, while request() looked for the next one.
        self.taken_back: list[int] = []

    def request(self) -> SimpleNamespace:
        while True:
            frontend, head, *tensors = self.receive()
            if head[0] == HELLO:
                assert head == struct.pack("<BBH4s", HELLO, 1, 1, b"GLET")
                self.send(frontend, struct.pack("<BBH4s", HELLO, 2, 1, b"GLET"))
            elif head[0] == PING:
                self.send(frontend, bytes([PONG]) + head[1:])
            elif head[0] == CANCEL:
                self.taken_back.append(struct.unpack("<B7xQ", head)[1])
            else:
                kind, gpulet, model, tag, budget_ns = struct.unpack("<B3xii4xQq", head)
                assert kind == REQUEST
                return SimpleNamespace(
                    frontend=frontend, gpulet=gpulet, model=model, tag=tag,
                    budget_ms=budget_ns / 1e6, tensors=tensors,
                )  # fmt: skip

    def cancelled(self) -> int:
        """The tag of the next request that the frontend takes back."""
        while True:
            frontend, head, *rest = self.receive()
            if head[0] == PING:
                self.send(frontend, bytes([PONG]) + head[1:])
                continue
            kind, tag = struct.unpack("<B7xQ", head)
            assert (kind, rest) == (CANCEL, [])
            return int(tag)

    def reply(self, request: SimpleNamespace, outcome: int, *frames: bytes) -> None:
        head = struct.pack("<BBHIQqqq", REPLY, outcome, 0, 3, request.tag, 1_000_000, 0, 2_000_000)
        self.send(request.frontend, head, *frames)
