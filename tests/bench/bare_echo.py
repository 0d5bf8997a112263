"""The yardstick: a one-hop ZeroMQ echo in plain Python, two processes, nothing else.

`python tests/bench/bare_echo.py ENDPOINT` is the server; closed_loop() is the client, and also
drives glet's own wire, so that both sides of the comparison pay for the same client.
"""

import sys
import time
from collections.abc import Callable

import zmq

Frames = list[bytes]


def serve(endpoint: str) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.linger = 0
    socket.bind(endpoint)
    while True:
        socket.send_multipart(socket.recv_multipart())


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


if __name__ == "__main__":
    serve(sys.argv[1])
