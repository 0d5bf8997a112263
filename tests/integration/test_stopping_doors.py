"""SIGTERM while requests are under way over HTTP and gRPC: what was taken is answered."""

import os
import queue
import signal
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from served_models import LIMIT_S, Served, pending, served_models
from waiting import wait_for

from glet.errors import ConfigError

triton = pytest.importorskip("tritonclient.grpc")

X = np.arange(4, dtype=np.float32).reshape(1, 4)
BODY = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[0,1,2,3]}]}'
REQUEST = (
    b"POST /v2/models/slow/infer HTTP/1.1\r\nHost: glet\r\nContent-Length: %d\r\n\r\n" % len(BODY)
) + BODY


@pytest.fixture
def served(tmp_path: Any) -> Iterator[Served]:
    try:
        with served_models(tmp_path) as found:
            found.gate.touch()
            yield found
            found.gate.unlink(missing_ok=True)
    except ConfigError as error:
        pytest.skip(str(error))


def read_answer(peer: socket.socket) -> bytes:
    got = b""
    while chunk := peer.recv(1 << 16):
        got += chunk
    return got


@pytest.mark.slow
def test_what_was_taken_is_answered(served: Served) -> None:
    host, _, port = served.http.rpartition(":")
    ended: queue.Queue[tuple[Any, Any]] = queue.Queue()
    peers = [socket.create_connection((host, int(port)), LIMIT_S) for _ in range(4)]
    client = triton.InferenceServerClient(served.grpc)
    given = triton.InferInput("x", X.shape, "FP32")
    given.set_data_from_numpy(X)
    for peer in peers:
        peer.sendall(REQUEST)
    for _ in range(4):
        client.async_infer("slow", [given], lambda result, error: ended.put((result, error)))
    wait_for(lambda: pending(served, "slow") == 8)
    os.kill(served.frontend_pid, signal.SIGTERM)
    wait_for(lambda: not takes(host, int(port)))
    served.gate.unlink()
    for peer in peers:
        assert b'"data":[0,2,4,6]' in read_answer(peer).replace(b".0", b"")
        peer.close()
    for _ in range(4):
        result, error = ended.get(timeout=LIMIT_S)
        assert error is None
        np.testing.assert_array_equal(result.as_numpy("y"), X * 2)
    client.close()


def takes(host: str, port: int) -> bool:
    """Whether new connections are accepted."""
    try:
        socket.create_connection((host, port), LIMIT_S).close()
    except ConnectionError:
        return False
    return True
