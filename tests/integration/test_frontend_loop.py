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
from fake_executor import (
    CANCELLED,
    FAILED,
    FULL,
    INVALID,
    LATE,
    OK,
    TIMEOUT_MS,
    UNAVAILABLE,
    FakeExecutor,
    Peer,
)

from glet.clock import SystemClock
from glet.errors import ArgumentError, ConfigError
from glet.native import core
from glet.wire.zmq_path import libzmq_path

INPUTS = [["x", "float32", [4]], ["n", "int64", []]]
OUTPUTS = [["y", "float32", [2]]]


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


def test_the_part_that_is_not_let_in_is_answered_full_evenly(rig: SimpleNamespace) -> None:
    rig.loop.set_accept("m", 0.5)
    for number in range(6):
        rig.client.infer(number)
    errors = [rig.client.error() for _ in range(3)]
    assert {error["error"] for error in errors} == {"full"}
    for number in sorted({0, 1, 2, 3, 4, 5} - {error["id"] for error in errors}):
        request = rig.executors[0].request()
        rig.executors[0].reply(request, OK, Y)
        assert rig.client.hear()[0]["id"] == number
    counts = rig.loop.stats()["m"]
    assert (counts["received"], counts["ok"], counts["full"]) == (6, 3, 3)
    assert [error["id"] % 2 for error in errors] in ([0] * 3, [1] * 3)
    rig.loop.set_accept("m", 1.0)
    rig.client.infer(7)
    rig.executors[0].reply(rig.executors[0].request(), OK, Y)
    assert rig.client.hear()[0]["id"] == 7
    with pytest.raises(ArgumentError, match=r"valid: 0\.\.1"):
        rig.loop.set_accept("m", 1.5)


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


def test_a_request_that_is_taken_back_is_answered_once(rig: SimpleNamespace) -> None:
    rig.client.infer(1, deadline_ms=60_000)
    rig.client.infer(2, deadline_ms=60_000)
    first, second = (rig.executors[0].request() for _ in range(2))
    for request_id in (2, 2, 1, 3):  # twice, and one that is not there
        rig.client.say(op="cancel", id=request_id)
    assert {rig.executors[0].cancelled() for _ in range(2)} == {first.tag, second.tag}
    rig.executors[0].reply(second, CANCELLED)
    rig.executors[0].reply(first, OK, Y)  # was running already
    error = rig.client.error()
    assert (error["id"], error["error"]) == (2, "cancelled")
    assert rig.client.hear()[0]["op"] == "result"
    counts = rig.loop.stats()["m"]
    assert (counts["received"], counts["ok"], counts["cancelled"]) == (2, 1, 1)
    rig.client.say(op="cancel", id=1)  # too late: nothing comes of it
    rig.client.infer(1)
    rig.executors[0].reply(rig.executors[0].request(), OK, Y)
    assert rig.client.hear()[0]["op"] == "result"
    assert rig.loop.outstanding() == 0


def test_nobody_takes_back_what_another_client_asked(rig: SimpleNamespace) -> None:
    rig.stranger.say(op="hello", version=1, role="client")
    assert rig.stranger.hear()[0]["op"] == "hello"
    rig.client.infer(1, deadline_ms=60_000)
    request = rig.executors[0].request()
    rig.stranger.say(op="cancel", id=1)
    rig.stranger.say(op="cancel")
    assert rig.stranger.error()["message"].startswith("cancel needs the `id`")
    rig.executors[0].reply(request, OK, Y)
    assert rig.client.hear()[0]["op"] == "result"
    assert rig.loop.stats()["m"]["cancelled"] == 0


def test_what_was_taken_back_is_not_tried_elsewhere(rig: SimpleNamespace) -> None:
    rig.client.infer(1, deadline_ms=60_000)
    rig.executors[0].request()
    rig.client.say(op="cancel", id=1)
    rig.executors[0].cancelled()
    rig.loop.set_routes("m", [(0, 10, 3, 1.0), (1, 20, 4, 1.0)])
    rig.loop.remove_executor(0)
    assert rig.client.error()["error"] == "cancelled"
    counts = rig.loop.stats()["m"]
    assert (counts["cancelled"], counts["retried"], counts["unavailable"]) == (1, 0, 0)


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


def length(size: int) -> bytes:
    return struct.pack("<I", size)


GOOD = length(3) + b"abc" + length(0)
BAD_STRINGS: list[tuple[bytes, str]] = [
    (b"", "ends before the length of element 0 of 2"),
    (length(3) + b"abc", "ends before the length of element 1 of 2"),
    (length(3) + b"abc" + b"\0\0", "ends before the length of element 1 of 2"),
    (length(3) + b"abc" + length(2) + b"x", "ends within element 1 of 2"),
    (GOOD + b"x", "has 1 bytes after the last of 2 elements"),
    (length(9) + b"123456789" + length(0), "has an element 0 of 2 of 9 bytes; at most 8 are valid"),
    (length(2**32 - 1) + b"abc", "has an element 0 of 2 of 4294967295 bytes; at most 8 are valid"),
]


@pytest.mark.parametrize(("frame", "words"), BAD_STRINGS)
def test_strings_are_checked_before_they_go_on(
    rig: SimpleNamespace, frame: bytes, words: str
) -> None:
    inputs = [["s", "bytes", [2]]]
    spec = core.TensorSpec("s", "bytes", [2], 8)
    rig.loop.set_model("t", core.Signature([spec], [spec]), 60_000.0)
    rig.loop.set_routes("t", [(0, 10, 3, 1.0)])
    rig.client.say(frame, op="infer", id=1, model="t", inputs=inputs)
    error = rig.client.error()
    assert error["error"] == "invalid_input"
    assert f"input 's': its frame {words}" in error["message"]
    rig.client.say(GOOD, op="infer", id=2, model="t", inputs=inputs)
    request = rig.executors[0].request()
    assert request.tensors == [GOOD]
    rig.executors[0].reply(request, OK, frame)  # an executor is checked the same
    assert rig.client.error()["error"] == "failed"


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def test_a_traced_request_tells_where_its_time_went(rig: SimpleNamespace) -> None:
    rig.loop.set_trace_ratio(0.0, {})
    rig.client.infer(1, traceparent=f"00-{TRACE}-{SPAN}-01")
    rig.executors[0].reply(rig.executors[0].request(), OK, Y)
    rig.client.hear()
    ((model, outcome, trace, span, ago_ns, total_ns, *parts, batch, _),) = rig.loop.take_traces()
    assert (model, outcome, trace, span) == ("m", "ok", TRACE, SPAN)
    assert (parts, batch) == ([1_000_000, 0, 2_000_000], 3)
    assert ago_ns > 0
    assert total_ns > 0
    assert rig.loop.take_traces() == []


def test_what_a_parent_did_not_sample_is_not_traced(rig: SimpleNamespace) -> None:
    rig.loop.set_trace_ratio(1.0, {})
    for number, traceparent in enumerate([f"00-{TRACE}-{SPAN}-00", "nonsense", None]):
        rig.client.infer(number, traceparent=traceparent)
        rig.executors[0].reply(rig.executors[0].request(), OK, Y)
        rig.client.hear()
    assert [row[2] for row in rig.loop.take_traces()] == ["", ""]


def test_a_traced_request_that_is_refused_is_traced_by_its_outcome(rig: SimpleNamespace) -> None:
    rig.loop.set_trace_ratio(1.0, {})
    rig.client.infer()
    rig.executors[0].reply(rig.executors[0].request(), LATE)
    rig.client.error()
    ((model, outcome, *_, batch, _),) = rig.loop.take_traces()
    assert (model, outcome, batch) == ("m", "late", 0)


def test_nothing_is_traced_before_somebody_asks_for_it(rig: SimpleNamespace) -> None:
    rig.client.infer(1, traceparent=f"00-{TRACE}-{SPAN}-01")
    rig.executors[0].reply(rig.executors[0].request(), OK, Y)
    rig.client.hear()
    assert rig.loop.take_traces() == []


def test_traces_that_nobody_takes_are_dropped_and_counted(rig: SimpleNamespace) -> None:
    rig.loop.set_trace_ratio(0.0, {"m": 1.0})
    rig.loop.remove_executor(0)
    rig.loop.set_routes("m", [])
    count = 5000
    for number in range(count):
        rig.client.infer(number)
    for _ in range(count):
        rig.client.error()
    assert len(rig.loop.take_traces()) + rig.loop.traces_dropped() == count
    assert rig.loop.traces_dropped() > 0


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
