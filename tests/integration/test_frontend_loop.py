"""FrontendLoop between a client and an executor that the test plays itself, byte by byte."""

import socket
import struct
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq

from glet.clock import SystemClock
from glet.errors import ConfigError
from glet.native import core
from glet.wire.zmq_path import libzmq_path

TIMEOUT_MS = 30000
HELLO, REQUEST, REPLY, PING, PONG = range(5)
OK, LATE, FULL, FAILED, UNAVAILABLE, INVALID = range(6)
INPUTS = [["x", "float32", [4]], ["n", "int64", []]]
OUTPUTS = [["y", "float32", [2]]]


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

    def request(self) -> SimpleNamespace:
        while True:
            frontend, head, *tensors = self.receive()
            if head[0] == HELLO:
                assert head == struct.pack("<BBH4s", HELLO, 1, 1, b"GLET")
                self.send(frontend, struct.pack("<BBH4s", HELLO, 2, 1, b"GLET"))
            elif head[0] == PING:
                self.send(frontend, bytes([PONG]) + head[1:])
            else:
                kind, gpulet, model, tag, budget_ns = struct.unpack("<B3xii4xQq", head)
                assert kind == REQUEST
                return SimpleNamespace(
                    frontend=frontend, gpulet=gpulet, model=model, tag=tag,
                    budget_ms=budget_ns / 1e6, tensors=tensors,
                )  # fmt: skip

    def reply(self, request: SimpleNamespace, outcome: int, *frames: bytes) -> None:
        head = struct.pack("<BBHIQqqq", REPLY, outcome, 0, 3, request.tag, 1_000_000, 0, 2_000_000)
        self.send(request.frontend, head, *frames)


class FakeClient(Peer):
    def __init__(self, context: zmq.Context, endpoint: str, *, hello: bool = True) -> None:
        super().__init__(context, zmq.DEALER)
        self.socket.connect(endpoint)
        if hello:
            self.say(op="hello", version=1, role="client")
            assert self.hear()[0]["op"] == "hello"

    def say(self, *tensors: bytes, **header: Any) -> None:
        self.send(msgpack.packb(header), *tensors)

    def hear(self) -> tuple[dict[str, Any], list[bytes]]:
        head, *tensors = self.receive()
        return msgpack.unpackb(head), tensors

    def infer(self, request_id: int = 1, **changes: Any) -> None:
        header = {"op": "infer", "id": request_id, "model": "m", "inputs": INPUTS} | changes
        self.say(X.tobytes(), N.tobytes(), **header)

    def error(self) -> dict[str, Any]:
        header, tensors = self.hear()
        assert header["op"] == "error"
        assert tensors == []
        assert "\n" not in header["message"]
        return header


X = np.arange(4, dtype=np.float32)
N = np.array(7, dtype=np.int64)
Y = np.array([0.5, 1.5], dtype=np.float32).tobytes()


def specs(rows: list[list[Any]]) -> list[Any]:
    return [core.TensorSpec(*row) for row in rows]


@pytest.fixture
def rig() -> Iterator[SimpleNamespace]:
    """A frontend loop with model `m` (SLO 200 ms) on two executors."""
    context = zmq.Context()
    loop = core.FrontendLoop(libzmq_path())
    executors = [FakeExecutor(context), FakeExecutor(context)]
    endpoint = loop.bind("tcp://127.0.0.1:*")
    for number, executor in enumerate(executors):
        loop.add_executor(number, executor.endpoint)
    loop.set_model("m", core.Signature(specs(INPUTS), specs(OUTPUTS)), 200.0)
    loop.set_routes("m", [(0, 10, 3, 1.0)])
    loop.start()
    client, stranger = FakeClient(context, endpoint), FakeClient(context, endpoint, hello=False)
    yield SimpleNamespace(
        loop=loop, endpoint=endpoint, executors=executors, client=client, stranger=stranger
    )
    loop.close()
    for peer in (client, stranger, *executors):
        peer.socket.close()
    context.term()


def test_a_request_travels_untouched_and_its_answer_comes_back(rig: SimpleNamespace) -> None:
    rig.client.infer(5)
    request = rig.executors[0].request()
    assert (request.gpulet, request.model) == (10, 3)
    assert request.tensors == [X.tobytes(), N.tobytes()]
    assert 0 < request.budget_ms <= 200
    rig.executors[0].reply(request, OK, Y)
    header, tensors = rig.client.hear()
    assert header == {
        "op": "result", "id": 5, "outputs": OUTPUTS, "batch": 3,
        "queue_ms": 1.0, "batch_ms": 0.0, "execute_ms": 2.0,
    }  # fmt: skip
    assert tensors == [Y]
    stats = rig.loop.stats()["m"]
    assert (stats["ok"], stats["good"]) == (1, 1)
    ((upper_ns, count),) = stats["latency"]
    assert count == 1
    # Buckets are at most 1/16 wide; the quantile is cut at the longest there was.
    assert stats["p50_ms"] <= upper_ns / 1e6 <= stats["p50_ms"] * (1 + 1 / 16) + 1e-6
    assert rig.loop.outstanding() == 0


def test_an_answer_after_the_deadline_is_ok_but_not_good(rig: SimpleNamespace) -> None:
    rig.client.infer(6, deadline_ms=1.0)
    request = rig.executors[0].request()
    SystemClock().sleep_s(0.002)
    rig.executors[0].reply(request, OK, Y)
    assert rig.client.hear()[0]["op"] == "result"
    stats = rig.loop.stats()["m"]
    assert (stats["ok"], stats["good"]) == (1, 0)


def test_inputs_in_another_order_arrive_in_the_signatures_order(rig: SimpleNamespace) -> None:
    rig.client.say(N.tobytes(), X.tobytes(), op="infer", id=1, model="m", inputs=INPUTS[::-1])
    assert rig.executors[0].request().tensors == [X.tobytes(), N.tobytes()]


def test_a_deadline_of_the_request_replaces_the_slo(rig: SimpleNamespace) -> None:
    rig.client.infer(deadline_ms=5000)
    assert 4000 < rig.executors[0].request().budget_ms <= 5000


BAD_REQUESTS: list[tuple[dict[str, Any], list[bytes], str, list[str]]] = [
    ({"model": "n"}, [], "model_not_found", ["'n'", "served: m"]),
    ({"model": "nothing like it"}, [], "model_not_found", ["nothing like it", "served: m"]),
    ({"inputs": [["x", "float64", [4]], INPUTS[1]]}, [], "invalid_input", ["float64", "float32"]),
    ({"inputs": [["x", "float31", [4]], INPUTS[1]]}, [], "invalid_input", ["float31", "float32"]),
    ({"inputs": [["x", "float32", [2, 2]], INPUTS[1]]}, [], "invalid_input", ["[2, 2]", "[4]"]),
    ({"inputs": [["x", "float32", [1 << 29]], INPUTS[1]]}, [], "invalid_input", ["536870912"]),
    ({"inputs": [INPUTS[0]]}, [], "invalid_input", ["'n' is missing"]),
    ({"inputs": [*INPUTS, ["z", "int8", [1]]]}, [], "invalid_input", ["no input 'z'"]),
    ({"inputs": [INPUTS[0], INPUTS[0]]}, [], "invalid_input", ["'x' is given twice"]),
    ({"inputs": None}, [], "invalid_input", ["expected"]),
    ({"inputs": "no list"}, [], "invalid_input", ["array"]),
    ({"deadline_ms": 0}, [], "late", ["passed already", "200 ms"]),
    ({"deadline_ms": -3.5}, [], "late", ["-3.5"]),
    ({"deadline_ms": float("nan")}, [], "invalid_input", ["deadline_ms"]),
    ({"deadline_ms": 1e300}, [], "invalid_input", ["one day"]),
    ({"deadline_ms": "soon"}, [], "invalid_input", ["integer"]),
    ({"id": None}, [], "invalid_input", ["`id`"]),
    ({"id": -1}, [], "invalid_input", ["`id`"]),
    ({}, [b"abc", N.tobytes()], "invalid_input", ["'x'", "3 bytes", "16"]),
    ({}, [X.tobytes()], "invalid_input", ["1 tensor frames for 2 inputs"]),
    ({}, [X.tobytes(), N.tobytes(), b""], "invalid_input", ["3 tensor frames"]),
    ({}, [b""] * 70, "invalid_input", ["64"]),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "tensors", "code", "words"), BAD_REQUESTS)
def test_bad_input_gets_one_clear_error_and_the_connection_goes_on(
    rig: SimpleNamespace, changes: dict[str, Any], tensors: list[bytes], code: str, words: list[str]
) -> None:
    header = {"op": "infer", "id": 1, "model": "m", "inputs": INPUTS} | changes
    rig.client.say(*(tensors or [X.tobytes(), N.tobytes()]), **header)
    error = rig.client.error()
    assert error["error"] == code
    for word in words:
        assert word in error["message"]
    rig.client.infer(2)
    request = rig.executors[0].request()
    rig.executors[0].reply(request, OK, Y)
    assert rig.client.hear()[0]["id"] == 2


@pytest.mark.parametrize(
    "frame",
    [b"", b"\x00", b"random bytes \xff\xfe", b"\xdf\xff\xff\xff\xff", msgpack.packb([1, 2]),
     msgpack.packb({1: 2}), msgpack.packb({}), msgpack.packb({"op": 5})],
)  # fmt: skip
def test_bytes_that_are_no_header_are_answered(rig: SimpleNamespace, frame: bytes) -> None:
    rig.client.send(frame)
    error = rig.client.error()
    assert (error["error"], error["id"]) == ("invalid_input", None)
    rig.client.infer(2)
    rig.executors[0].reply(rig.executors[0].request(), OK, Y)
    assert rig.client.hear()[0]["id"] == 2


def test_hello_comes_first_and_speaks_this_version(rig: SimpleNamespace) -> None:
    stranger = rig.stranger
    stranger.infer(9)
    error = stranger.error()
    assert (error["error"], error["id"]) == ("hello_required", 9)
    stranger.say(op="hello", version=2, role="client")
    error = stranger.error()
    assert error["error"] == "version"
    assert "2" in error["message"]
    assert "1" in error["message"]
    stranger.say(op="hello", version=1, role="client")
    assert stranger.hear()[0] == {"op": "hello", "version": 1, "role": "frontend"}


@pytest.mark.parametrize(
    ("outcome", "code", "frames", "words"),
    [
        (LATE, "late", [], ["200 ms"]),
        (FULL, "full", [], ["full"]),
        (FAILED, "failed", [b"division by zero"], ["division by zero"]),
        (INVALID, "invalid_input", [b"bad bytes"], ["bad bytes"]),
        (OK, "failed", [b"short"], ["y float32 [2]"]),
        (OK, "failed", [], ["y float32 [2]"]),
    ],
)
def test_every_outcome_reaches_the_client_by_name(
    rig: SimpleNamespace, outcome: int, code: str, frames: list[bytes], words: list[str]
) -> None:
    rig.client.infer(1)
    rig.executors[0].reply(rig.executors[0].request(), outcome, *frames)
    error = rig.client.error()
    assert error["error"] == code
    for word in words:
        assert word in error["message"]
    assert rig.loop.outstanding() == 0


def test_an_answer_that_comes_twice_is_given_once(rig: SimpleNamespace) -> None:
    rig.client.infer(1)
    request = rig.executors[0].request()
    rig.executors[0].reply(request, OK, Y)
    rig.executors[0].reply(request, OK, Y)
    rig.client.infer(2)
    rig.executors[0].reply(rig.executors[0].request(), OK, Y)
    assert [rig.client.hear()[0]["id"] for _ in range(2)] == [1, 2]
    assert rig.loop.stats()["m"]["ok"] == 2


def test_requests_of_a_lost_executor_are_retried_once_elsewhere(rig: SimpleNamespace) -> None:
    rig.client.infer(1)
    rig.executors[0].request()
    rig.loop.set_routes("m", [(0, 10, 3, 1.0), (1, 20, 4, 1.0)])
    rig.loop.remove_executor(0)
    request = rig.executors[1].request()
    assert (request.gpulet, request.model) == (20, 4)
    assert request.tensors == [X.tobytes(), N.tobytes()]
    rig.loop.remove_executor(1)
    assert rig.client.error()["error"] == "unavailable"
    assert rig.loop.stats()["m"]["retried"] == 1


def test_an_executor_that_refuses_sends_the_request_elsewhere(rig: SimpleNamespace) -> None:
    rig.loop.set_routes("m", [(0, 10, 3, 100.0), (1, 20, 4, 1.0)])
    rig.client.infer(1)
    rig.executors[0].reply(rig.executors[0].request(), UNAVAILABLE)
    rig.executors[1].reply(rig.executors[1].request(), OK, Y)
    assert rig.client.hear()[0]["op"] == "result"


def test_a_silent_executor_is_lost_and_its_requests_are_answered(rig: SimpleNamespace) -> None:
    rig.client.infer(1, deadline_ms=60_000)
    rig.executors[0].request()  # and nothing more: no pong, no reply
    assert rig.client.error()["error"] == "unavailable"
    poller = zmq.Poller()
    poller.register(rig.loop.control_fd(), zmq.POLLIN)
    assert poller.poll(TIMEOUT_MS)
    assert 0 in rig.loop.take_lost()


def test_a_model_without_a_route_is_unavailable(rig: SimpleNamespace) -> None:
    rig.loop.set_routes("m", [])
    rig.client.infer(1)
    assert rig.client.error()["error"] == "unavailable"


def test_a_removed_model_is_not_found(rig: SimpleNamespace) -> None:
    rig.loop.remove_model("m")
    rig.client.infer(1)
    assert rig.client.error()["error"] == "model_not_found"


def test_stopping_refuses_new_requests_and_finishes_old_ones(rig: SimpleNamespace) -> None:
    rig.client.infer(1)
    request = rig.executors[0].request()
    rig.loop.stop_admitting()
    rig.client.infer(2)
    error = rig.client.error()
    assert (error["error"], error["id"]) == ("unavailable", 2)
    assert rig.loop.outstanding() == 1
    rig.executors[0].reply(request, OK, Y)
    assert rig.client.hear()[0]["id"] == 1


def test_other_requests_reach_python_and_are_answered_as_it_says(rig: SimpleNamespace) -> None:
    rig.client.say(op="models", id=3)
    poller = zmq.Poller()
    poller.register(rig.loop.control_fd(), zmq.POLLIN)
    assert poller.poll(TIMEOUT_MS)
    [(client, op, request_id, header)] = rig.loop.take_control()
    assert (op, request_id) == ("models", 3)
    assert msgpack.unpackb(header) == {"op": "models", "id": 3}
    rig.loop.answer(client, msgpack.packb({"op": "models", "id": 3, "body": {}}))
    assert rig.client.hear()[0] == {"op": "models", "id": 3, "body": {}}


def test_a_port_in_use_is_said(rig: SimpleNamespace) -> None:
    second = core.FrontendLoop(libzmq_path())
    with pytest.raises(ConfigError, match=r"cannot listen on tcp://127.0.0.1:.*in use"):
        second.bind(rig.endpoint)
    second.close()


def test_a_frame_claim_of_three_gigabytes_closes_that_connection_alone(
    rig: SimpleNamespace,
) -> None:
    host, port = rig.endpoint.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        greeting = b"\xff" + b"\0" * 8 + b"\x7f\x03\x00NULL" + b"\0" * 16 + b"\0" + b"\0" * 31
        raw.sendall(greeting)
        received = b""
        while len(received) < 64:
            received += raw.recv(64 - len(received))
        ready = b"\x05READY" + b"\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
        raw.sendall(b"\x04" + bytes([len(ready)]) + ready)
        raw.sendall(b"\x02" + struct.pack(">Q", 3_000_000_000) + b"x" * 1000)
        raw.settimeout(60)
        while raw.recv(4096):
            pass  # the frontend's own READY, then the end of the stream
    rig.client.infer(2)
    rig.executors[0].reply(rig.executors[0].request(), OK, Y)
    assert rig.client.hear()[0]["id"] == 2


def test_before_the_backends_spoke_an_unknown_model_is_unavailable(rig: SimpleNamespace) -> None:
    rig.loop.set_starting(True)
    rig.loop.outstanding()  # answered by the loop after that
    rig.client.infer(1, model="later")
    error = rig.client.error()
    assert error["error"] == "unavailable"
    assert "'later'" in error["message"]
    rig.loop.set_starting(False)
    rig.loop.outstanding()
    rig.client.infer(2, model="later")
    assert rig.client.error()["error"] == "model_not_found"


def test_gpulets_and_executors_come_and_go_for_as_long_as_it_lives(rig: SimpleNamespace) -> None:
    """More of them than the loop keeps numbers for: it uses the numbers again."""
    for number in range(2, 150):
        executor = rig.executors[number % 2]
        rig.loop.add_executor(number, executor.endpoint)
        rig.loop.set_routes("m", [(number, 7 * number, number, 1.0)])
        # Asking waits until the loop has done what it was told before.
        assert rig.loop.outstanding() == 0
        rig.client.infer(number, deadline_ms=60_000)
        request = executor.request()
        assert (request.gpulet, request.model) == (7 * number, number)
        executor.reply(request, OK, Y)
        assert rig.client.hear()[0]["id"] == number
        rig.loop.remove_executor(number)
    assert rig.loop.stats()["m"]["ok"] == 148
    assert rig.loop.outstanding() == 0
