"""Apps in a FrontendLoop whose client and executors the test plays: one answer, whatever comes."""

import random
import struct
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq

from glet.errors import ArgumentError
from glet.native import core
from glet.wire.zmq_path import libzmq_path

TIMEOUT_MS = 5000
HELLO, REQUEST, REPLY, PING, PONG = range(5)
OK, LATE, FULL, FAILED, UNAVAILABLE, INVALID, CANCELLED = range(7)
CANCEL = 5
IMAGE = np.arange(4, dtype=np.float32)
CROPS = np.arange(3 * 2048, dtype=np.float32).reshape(3, 2048)
INPUTS = [["image", "float32", [4]]]
OUTPUTS = [["kinds", "float32", [3, 1]], ["marks", "int64", [3]]]
DETECT, KIND, MARK = range(3)


class Executor:
    """Greets, answers pings, and leaves requests to the test."""

    def __init__(self, context: zmq.Context) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.rcvtimeo = TIMEOUT_MS
        self.endpoint = f"tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"

    def request(self) -> SimpleNamespace:
        while True:
            frontend, head, *tensors = self.socket.recv_multipart()
            if head[0] == HELLO:
                hello = struct.pack("<BBH4s", HELLO, 2, 1, b"GLET")
                self.socket.send_multipart([frontend, hello])
            elif head[0] == PING:
                self.socket.send_multipart([frontend, bytes([PONG]) + head[1:]])
            else:
                _, _, model, tag, budget_ns = struct.unpack("<B3xii4xQq", head)
                return SimpleNamespace(
                    frontend=frontend, model=model, tag=tag, budget_ms=budget_ns / 1e6,
                    tensors=tensors,
                )  # fmt: skip

    def reply(self, request: SimpleNamespace, outcome: int, *frames: bytes) -> None:
        head = struct.pack("<BBHIQqqq", REPLY, outcome, 0, 3, request.tag, 1_000_000, 0, 2_000_000)
        self.socket.send_multipart([request.frontend, head, *frames])

    def answer(self, request: SimpleNamespace) -> None:
        """As the models would: what comes out of a row says which row it was."""
        if request.model == DETECT:
            self.reply(request, OK, CROPS.tobytes())
            return
        first = np.frombuffer(request.tensors[0], dtype=np.float32)[0]
        made = first if request.model == KIND else np.int64(first)
        self.reply(request, OK, made.tobytes())


class Caller:
    def __init__(self, context: zmq.Context, endpoint: str) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.rcvtimeo = TIMEOUT_MS
        self.socket.connect(endpoint)
        self.say(op="hello", version=1, role="client")
        assert self.hear()[0]["op"] == "hello"

    def say(self, *tensors: bytes, **header: Any) -> None:
        self.socket.send_multipart([msgpack.packb(header), *tensors])

    def hear(self) -> tuple[dict[str, Any], list[bytes]]:
        head, *tensors = self.socket.recv_multipart()
        return msgpack.unpackb(head), tensors

    def infer(self, request_id: int = 1, **changes: Any) -> None:
        header = {"op": "infer", "id": request_id, "model": "app", "inputs": INPUTS} | changes
        self.say(IMAGE.tobytes(), **header)

    def error(self) -> dict[str, Any]:
        header, tensors = self.hear()
        assert header["op"] == "error"
        assert tensors == []
        assert "\n" not in header["message"]
        return header


def specs(rows: list[list[Any]]) -> list[Any]:
    return [core.TensorSpec(*row) for row in rows]


# The graph: detect (image -> three crops), then kind and mark of each crop.
CROP = specs([["crop", "float32", [2048]]])
MODELS = {
    "detect": (specs(INPUTS), specs([["crops", "float32", [3, 2048]]])),
    "kind": (CROP, specs([["kind", "float32", [1]]])),
    "mark": (CROP, specs([["mark", "int64", []]])),
}
STAGES = [
    ("find", "detect", 0, 60.0, [(0, False)], MODELS["detect"][1]),
    ("kind", "kind", 3, 40.0, [(1, True)], MODELS["kind"][1]),
    ("mark", "mark", 3, 20.0, [(1, True)], MODELS["mark"][1]),
]


def set_app(
    loop: Any, stages: Any = STAGES, outputs: Any = (2, 3), slo_ms: float = 60_000.0
) -> None:
    loop.set_app("app", core.Signature(specs(INPUTS), specs(OUTPUTS)), slo_ms, stages, outputs)


@pytest.fixture
def rig() -> Iterator[SimpleNamespace]:
    """A frontend loop with the app; the detector on the first executor, the rest on the second."""
    context = zmq.Context()
    loop = core.FrontendLoop(libzmq_path())
    executors = [Executor(context), Executor(context)]
    endpoint = loop.bind("tcp://127.0.0.1:*")
    for number, executor in enumerate(executors):
        loop.add_executor(number, executor.endpoint)
    for number, (name, (inputs, outputs)) in enumerate(MODELS.items()):
        loop.set_model(name, core.Signature(inputs, outputs), 500.0)
        loop.set_routes(name, [(min(number, 1), 10, number, 1.0)])
    set_app(loop)
    loop.start()
    client = Caller(context, endpoint)
    yield SimpleNamespace(loop=loop, executors=executors, client=client)
    loop.close()
    for peer in (client, *executors):
        peer.socket.close()
    context.term()


def crops(rig: SimpleNamespace) -> list[SimpleNamespace]:
    """Answers the detector, and takes the six requests that follow."""
    first, second = rig.executors
    first.answer(first.request())
    return [second.request() for _ in range(6)]


def nothing_outstanding(rig: SimpleNamespace) -> bool:
    return all(counts["outstanding"] == 0 for counts in rig.loop.stats().values())


def test_one_request_one_answer_and_only_the_outputs_travel(rig: SimpleNamespace) -> None:
    rig.client.infer(5)
    requests = crops(rig)
    assert sorted(request.model for request in requests) == [KIND] * 3 + [MARK] * 3
    assert {request.tensors[0] for request in requests} == {row.tobytes() for row in CROPS}
    random.Random(1).shuffle(requests)
    for request in requests:
        rig.executors[1].answer(request)
    header, tensors = rig.client.hear()
    # Times along the way that ended last: the detector and one of the others.
    assert header == {
        "op": "result", "id": 5, "outputs": OUTPUTS, "batch": 3,
        "queue_ms": 2.0, "batch_ms": 0.0, "execute_ms": 4.0,
    }  # fmt: skip
    assert np.frombuffer(tensors[0], np.float32).tolist() == CROPS[:, 0].tolist()
    assert np.frombuffer(tensors[1], np.int64).tolist() == CROPS[:, 0].tolist()
    stats = rig.loop.stats()
    assert (stats["app"]["ok"], stats["kind"]["ok"], stats["detect"]["ok"]) == (1, 3, 1)
    assert stats["app"]["p99_ms"] > stats["kind"]["p50_ms"] > 0
    assert stats["app"]["app"]
    assert nothing_outstanding(rig)


def test_stages_get_their_part_of_what_is_left(rig: SimpleNamespace) -> None:
    rig.client.infer(1, deadline_ms=100_000)
    request = rig.executors[0].request()
    assert 55_000 < request.budget_ms <= 60_000
    rig.executors[0].answer(request)
    # The detector saved nearly all of its part; nothing follows these, so they have all of it.
    for _ in range(6):
        assert 60_000 < rig.executors[1].request().budget_ms <= 100_000


@pytest.mark.parametrize(
    ("outcome", "code", "frames"),
    [(LATE, "late", []), (FULL, "full", []), (FAILED, "failed", [b"division by zero"]),
     (INVALID, "failed", [b"bad bytes"]), (UNAVAILABLE, "unavailable", []),
     (OK, "failed", [b"short"])],
)  # fmt: skip
def test_the_first_failure_is_the_only_answer(
    rig: SimpleNamespace, outcome: int, code: str, frames: list[bytes]
) -> None:
    rig.client.infer(1)
    requests = crops(rig)
    failing = next(request for request in requests if request.model == MARK)
    rig.executors[1].reply(failing, outcome, *frames)
    error = rig.client.error()
    assert (error["id"], error["error"]) == (1, code)
    assert "app 'app', stage 'mark'" in error["message"]
    for request in requests:
        rig.executors[1].answer(request)
        rig.executors[1].reply(request, LATE)
    rig.client.infer(2)
    for request in crops(rig):
        rig.executors[1].answer(request)
    assert rig.client.hear()[0]["id"] == 2
    assert nothing_outstanding(rig)
    counts = rig.loop.stats()["app"]
    assert counts["received"] == 2
    assert counts["ok"] + counts[code] == 2


def test_a_failing_first_stage_sends_nothing_to_the_others(rig: SimpleNamespace) -> None:
    rig.client.infer(1)
    rig.executors[0].reply(rig.executors[0].request(), LATE)
    error = rig.client.error()
    assert error["error"] == "late"
    assert "stage 'find'" in error["message"]
    assert rig.loop.stats()["kind"]["received"] == 0


def test_parts_of_a_lost_executor_are_retried_elsewhere(rig: SimpleNamespace) -> None:
    rig.client.infer(1, deadline_ms=60_000)
    crops(rig)
    for number, name in enumerate(MODELS):
        rig.loop.set_routes(name, [(0, 10, number, 1.0)])
    rig.loop.remove_executor(1)
    for _ in range(6):
        rig.executors[0].answer(rig.executors[0].request())
    header, tensors = rig.client.hear()
    assert header["op"] == "result"
    assert np.frombuffer(tensors[0], np.float32).tolist() == CROPS[:, 0].tolist()
    assert rig.loop.stats()["kind"]["retried"] == 3


def test_an_executor_that_dies_in_the_middle_gives_one_answer(rig: SimpleNamespace) -> None:
    rig.client.infer(1, deadline_ms=60_000)
    crops(rig)
    rig.loop.remove_executor(1)
    error = rig.client.error()
    assert error["error"] == "unavailable"
    assert rig.loop.outstanding() == 0
    rig.client.say(op="hello", version=1, role="client")
    assert rig.client.hear()[0]["op"] == "hello"
    assert nothing_outstanding(rig)


def test_an_app_that_is_taken_back_takes_its_requests_back(rig: SimpleNamespace) -> None:
    rig.client.infer(1)
    requests = crops(rig)
    rig.executors[1].answer(requests[0])
    rig.client.infer(2)
    other = rig.executors[0].request()
    rig.client.say(op="cancel", id=1)
    error = rig.client.error()
    assert (error["id"], error["error"]) == (1, "cancelled")
    tags = set()
    while len(tags) < 5:
        frontend, head = rig.executors[1].socket.recv_multipart()
        if head[0] == PING:
            rig.executors[1].socket.send_multipart([frontend, bytes([PONG]) + head[1:]])
            continue
        assert head[0] == CANCEL
        tags.add(struct.unpack("<B7xQ", head)[1])
    assert tags == {request.tag for request in requests[1:]}
    rig.executors[1].answer(requests[1])  # ran already: nobody waits for it
    for request in requests[2:]:
        rig.executors[1].reply(request, CANCELLED)
    rig.executors[0].answer(other)
    for _ in range(6):
        rig.executors[1].answer(rig.executors[1].request())
    header, _ = rig.client.hear()
    assert (header["op"], header["id"]) == ("result", 2)
    stats = rig.loop.stats()
    assert (stats["app"]["ok"], stats["app"]["cancelled"]) == (1, 1)
    assert stats["kind"]["cancelled"] + stats["mark"]["cancelled"] == 4
    assert nothing_outstanding(rig)
    assert rig.loop.outstanding() == 0


def test_stopping_finishes_apps_that_have_begun(rig: SimpleNamespace) -> None:
    rig.client.infer(1)
    request = rig.executors[0].request()
    rig.loop.stop_admitting()
    rig.client.infer(2)
    assert rig.client.error()["id"] == 2
    rig.executors[0].answer(request)
    for _ in range(6):
        assert rig.loop.outstanding() > 0
        rig.executors[1].answer(rig.executors[1].request())
    assert rig.client.hear()[0]["op"] == "result"
    assert rig.loop.outstanding() == 0


BAD: list[tuple[dict[str, Any], str, list[str]]] = [
    ({"model": "ap"}, "model_not_found", ["'ap'", "'app'"]),
    ({"inputs": [["image", "float64", [4]]]}, "invalid_input", ["float64", "float32"]),
    ({"inputs": [["image", "float32", [1 << 40]]]}, "invalid_input", ["expected"]),
    ({"inputs": [["crops", "float32", [4]]]}, "invalid_input", ["no input 'crops'"]),
    ({"inputs": []}, "invalid_input", ["missing"]),
    ({"inputs": [INPUTS[0]] * 70}, "invalid_input", ["64"]),
    ({"deadline_ms": -1}, "late", ["passed already"]),
    ({"deadline_ms": float("nan")}, "invalid_input", ["deadline_ms"]),
    ({"id": None}, "invalid_input", ["`id`"]),
]


@pytest.mark.parametrize(("changes", "code", "words"), BAD)
def test_bad_input_begins_nothing(
    rig: SimpleNamespace, changes: dict[str, Any], code: str, words: list[str]
) -> None:
    rig.client.infer(1, **changes)
    error = rig.client.error()
    assert error["error"] == code
    for word in words:
        assert word in error["message"]
    assert rig.loop.stats()["detect"]["received"] == 0
    assert nothing_outstanding(rig)


def test_headers_with_bytes_changed_at_random_are_answered_once_each(rig: SimpleNamespace) -> None:
    source = random.Random(7)
    good = msgpack.packb({"op": "infer", "id": 1, "model": "app", "inputs": INPUTS})
    poller = zmq.Poller()
    for waited in (rig.client.socket, rig.executors[0].socket, rig.loop.control_fd()):
        poller.register(waited, zmq.POLLIN)
    rig.loop.remove_executor(1)
    answers = 0
    for _ in range(300):
        header = bytearray(good)
        for _ in range(source.randint(1, 4)):
            header[source.randrange(len(header))] = source.randrange(256)
        rig.client.socket.send_multipart([bytes(header), IMAGE.tobytes()[: source.choice([3, 16])]])
        answers += one_answer(rig, poller)
    assert answers == 300
    assert nothing_outstanding(rig)
    rig.client.infer(1000)
    assert one_answer(rig, poller) == 1


def one_answer(rig: SimpleNamespace, poller: zmq.Poller) -> int:
    """Waits until the client was answered, or Python asked to: ops that are none are for it."""
    while True:
        ready = dict(poller.poll(TIMEOUT_MS))
        assert ready
        if rig.loop.control_fd() in ready and (asked := rig.loop.take_control()):
            return len(asked)
        if rig.client.socket in ready:
            rig.client.socket.recv_multipart()
            return 1
        frontend, head, *_ = rig.executors[0].socket.recv_multipart()
        if head[0] == HELLO:
            hello = struct.pack("<BBH4s", HELLO, 2, 1, b"GLET")
            rig.executors[0].socket.send_multipart([frontend, hello])
        elif head[0] == PING:
            rig.executors[0].socket.send_multipart([frontend, bytes([PONG]) + head[1:]])
        else:
            # The other stages' executor is gone: the app ends there.
            tag = struct.unpack("<B3xii4xQq", head)[3]
            reply = SimpleNamespace(frontend=frontend, tag=tag, model=DETECT)
            rig.executors[0].answer(reply)


def test_a_model_that_changed_fails_the_app_and_nothing_else(rig: SimpleNamespace) -> None:
    rig.loop.set_model("kind", core.Signature(CROP, specs([["kind", "float32", [2]]])), 500.0)
    rig.client.infer(1)
    request = next(request for request in crops(rig) if request.model == KIND)
    rig.executors[1].reply(request, OK, b"12345678")
    error = rig.client.error()
    assert error["error"] == "failed"
    assert "other outputs than the app expects" in error["message"]


def test_an_app_is_removed_like_a_model_and_ends_what_runs(rig: SimpleNamespace) -> None:
    rig.client.infer(1)
    requests = crops(rig)
    rig.loop.remove_model("app")
    rig.client.infer(2)
    assert rig.client.error()["error"] == "model_not_found"
    for request in requests:
        rig.executors[1].answer(request)
    assert rig.client.hear()[0]["id"] == 1


@pytest.mark.parametrize(
    ("stages", "outputs", "words"),
    [
        ([], (2, 3), "0 stages"),
        ([("s", "kind", 0, 1.0, [(5, False)], MODELS["kind"][1])], (1,), "no stage before it"),
        ([("s", "kind", 3, 1.0, [(0, True)], MODELS["kind"][1])], (1,), "cannot split"),
        ([("s", "kind", 0, 0.0, [(0, False)], MODELS["kind"][1])], (1,), "budget"),
        (STAGES, (2, 2), "outputs do not fit"),
    ],
)
def test_graphs_that_are_none_are_refused(
    rig: SimpleNamespace, stages: Any, outputs: Any, words: str
) -> None:
    with pytest.raises(ArgumentError, match=words):
        set_app(rig.loop, stages, outputs)
    with pytest.raises(ArgumentError, match="slo_ms"):
        set_app(rig.loop, slo_ms=0.0)


def test_a_traced_app_is_one_record_whatever_its_parts(rig: SimpleNamespace) -> None:
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    rig.loop.set_trace_ratio(0.0, {})
    rig.client.infer(1, traceparent=f"00-{trace}-{span}-01")
    for request in crops(rig):
        rig.executors[1].answer(request)
    rig.client.hear()
    rig.client.infer(2, traceparent=f"00-{trace}-{span}-01")
    rig.executors[0].reply(rig.executors[0].request(), FAILED, b"no")
    rig.client.error()
    records = rig.loop.take_traces()
    rows = [(row[:4], row[-2]) for row in records]
    stages = [[stage[:4] for stage in row[-1]] for row in records]
    assert [stage[2] for stage in stages[0]] == ["ok"] * len(stages[0])
    assert len(stages[0]) > 1
    assert [stage[2] for stage in stages[1]] == ["failed"]
    assert rows == [(("app", "ok", trace, span), 3), (("app", "failed", trace, span), 0)]
