"""The yardstick: a one-hop ZeroMQ echo in plain Python, two processes, nothing else.

Alone it is the server. closed_loop() is the client, and also drives glet's own wire, so that both
sides of the comparison pay for the same client.
"""

import argparse
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgpack
import numpy as np
import zmq

Frames = list[bytes]


SHORT = bytes(16)


def serve(endpoint: str, short: bool) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.linger = 0
    socket.bind(endpoint)
    while True:
        frames = socket.recv_multipart()
        socket.send_multipart([*frames[:2], SHORT] if short else frames)


@contextmanager
def bare_echo(endpoint: str, short: bool = False) -> Iterator[None]:
    """The server in a process of its own."""
    command = [sys.executable, __file__, endpoint, *(["--short"] if short else [])]
    server = subprocess.Popen(command)
    try:
        yield
    finally:
        server.kill()
        server.wait()


@contextmanager
def greeted(endpoint: str, hello: bytes) -> Iterator[zmq.Socket]:
    """A client socket whose first message has been answered."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.rcvtimeo = 30_000
        socket.connect(endpoint)
        socket.send(hello)
        socket.recv_multipart()
        yield socket


def infer_requests(model: str, tensor: np.ndarray) -> Callable[[int], Frames]:
    """Requests of glet's wire: a header in which only the id changes, and the tensor."""
    inputs = [["x", "float32", list(tensor.shape)]]
    before = b"\x84" + msgpack.packb("op") + msgpack.packb("infer") + msgpack.packb("id") + b"\xcf"
    after = b"".join(msgpack.packb(part) for part in ("model", model, "inputs", inputs))
    pack, data = struct.Struct(">Q").pack, tensor.tobytes()
    return lambda number: [before + pack(number) + after, data]


def closed_loop(
    socket: zmq.Socket, request: Callable[[int], Frames], in_flight: int, seconds: float
) -> tuple[float, list[float]]:
    """Keeps `in_flight` requests going for `seconds`; requests/s and every latency in seconds.

    Answers are taken to come in order: exact for the echo; for glet the k-th answer is matched to
    the k-th request, which leaves rates and the distribution of latencies as they are.
    """
    sent_at: list[float] = []
    latencies: list[float] = []
    clock = time.perf_counter
    for number in range(in_flight):
        sent_at.append(clock())
        socket.send_multipart(request(number))
    start, done, end = clock(), 0, clock() + seconds
    now = start
    while now < end:
        socket.recv_multipart()
        now = clock()
        latencies.append(now - sent_at[done])
        done += 1
        sent_at.append(now)
        socket.send_multipart(request(done + in_flight))
    elapsed = clock() - start
    for _ in range(in_flight):
        socket.recv_multipart()
    return done / elapsed, latencies


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("endpoint", help="to listen on: tcp://127.0.0.1:PORT or ipc://PATH")
    parser.add_argument("--short", action="store_true", help="answer 16 bytes, not the tensor")
    args = parser.parse_args()
    serve(args.endpoint, args.short)


if __name__ == "__main__":
    main()
