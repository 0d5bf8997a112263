"""The HTTP door between raw clients and an executor that the test plays itself."""

import contextlib
import gzip
import http.client
import json
import mmap
import socket
import struct
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zmq
from fake_executor import FAILED, FULL, LATE, OK
from http_rig import Rig
from waiting import wait_for

from glet.errors import ConfigError
from glet.native import core
from glet.wire.zmq_path import libzmq_path

X = np.array([0.5, -1.25, 3e8, 1e-3], dtype=np.float32)
Y = np.array([0.1, 2.0], dtype=np.float32)
INFER = "/v2/models/m/infer"


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.close()


def body(shape: list[int] | None = None, data: Any = None, **more: Any) -> bytes:
    x = {
        "name": "x", "datatype": "FP32", "shape": [1, 4] if shape is None else shape,
        "data": X.tolist() if data is None else data,
    }  # fmt: skip
    return json.dumps({"inputs": [x]} | more).encode()


def ask(
    rig: Rig, method: str, path: str, sent: bytes | None = None, headers: Any = None
) -> tuple[int, dict[str, str], bytes]:
    client = rig.http()
    client.request(method, path, sent, headers or {})
    return heard(client)


def heard(client: http.client.HTTPConnection) -> tuple[int, dict[str, str], bytes]:
    answer = client.getresponse()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()


def infer(
    rig: Rig, sent: bytes, *frames: bytes, path: str = INFER, outcome: int = OK, headers: Any = None
) -> tuple[int, Any, SimpleNamespace]:
    client = rig.http()
    client.request("POST", path, sent, headers or {})
    request = rig.serve(*frames, outcome=outcome)
    status, _, got = heard(client)
    return status, json.loads(got), request


def test_an_inference_in_json(rig: Rig) -> None:
    status, got, request = infer(rig, body(id='a"é'), Y.tobytes())
    assert status == 200
    assert request.tensors == [X.tobytes()]
    assert got == {
        "model_name": "m", "model_version": "1", "id": 'a"é',
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [0.1, 2]},
        ],
    }  # fmt: skip
    stats = rig.loop.stats()["m"]
    assert (stats["received"], stats["ok"], stats["good"]) == (1, 1, 1)


def test_without_the_batch_dimension_the_answer_has_none(rig: Rig) -> None:
    _, got, _ = infer(rig, body([4]), Y.tobytes(), path="/v2/models/m/versions/1/infer")
    assert got["outputs"][0]["shape"] == [2]


def test_a_batch_is_as_many_requests_and_comes_back_in_order(rig: Rig) -> None:
    client = rig.http()
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    client.request("POST", INFER, body([3, 4], rows.tolist()))
    requests = [rig.executor.request() for _ in range(3)]
    assert [r.tensors[0] for r in requests] == [row.tobytes() for row in rows]
    for n in (2, 0, 1):
        rig.executor.reply(requests[n], OK, np.array([n, n], dtype=np.float32).tobytes())
    status, _, got = heard(client)
    assert status == 200
    assert json.loads(got)["outputs"][0] == {
        "name": "y", "datatype": "FP32", "shape": [3, 2], "data": [0, 0, 1, 1, 2, 2],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "status"), [(LATE, 504), (FULL, 429), (FAILED, 500)], ids=["late", "full", "failed"]
)
def test_the_first_row_that_fails_fails_the_call(rig: Rig, outcome: int, status: int) -> None:
    client = rig.http()
    client.request("POST", INFER, body([2, 4], [X.tolist()] * 2))
    first, second = rig.executor.request(), rig.executor.request()
    rig.executor.reply(second, outcome, b"why")
    got, _, answer = heard(client)
    assert got == status
    assert set(json.loads(answer)) == {"error"}
    rig.executor.reply(first, OK, Y.tobytes())
    assert infer(rig, body(), Y.tobytes())[0] == 200
    wait_for(lambda: rig.loop.outstanding() == 0)


def test_binary_tensors_both_ways(rig: Rig) -> None:
    head = json.dumps(
        {
            "inputs": [
                {"name": "b", "datatype": "BOOL", "shape": [1], "data": [True]},
                {
                    "name": "a", "datatype": "INT64", "shape": [1, 2],
                    "parameters": {"binary_data_size": 16},
                },
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()  # fmt: skip
    a = np.array([[7, -7]], dtype=np.int64).tobytes()
    client = rig.http()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    client.request("POST", "/v2/models/pair/infer", head + a, headers)
    request = rig.serve(a)
    assert request.tensors == [a, b"\1"]
    status, answered, got = heard(client)
    assert status == 200
    size = int(answered["inference-header-content-length"])
    assert got[size:] == a
    assert json.loads(got[:size])["outputs"] == [
        {
            "name": "s", "datatype": "INT64", "shape": [1, 2],
            "parameters": {"binary_data_size": 16},
        }
    ]  # fmt: skip


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_megabytes_pass_untouched(rig: Rig, chunked: bool) -> None:
    data = np.random.default_rng(1).bytes(3 << 20)
    x = {"name": "x", "datatype": "UINT8", "shape": [3, 1 << 20],
         "parameters": {"binary_data_size": len(data)}}  # fmt: skip
    y = {"name": "y", "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": [x], "outputs": [y]}).encode()
    sent: Any = head + data
    if chunked:
        sent = iter([sent[i : i + 100_000] for i in range(0, len(sent), 100_000)])
    client = rig.http()
    client.request(
        "POST",
        "/v2/models/large/infer",
        sent,
        {"Inference-Header-Content-Length": str(len(head))},
        encode_chunked=chunked,
    )
    requests = [rig.executor.request() for _ in range(3)]
    assert b"".join(r.tensors[0] for r in requests) == data
    for request in requests:
        rig.executor.reply(request, OK, request.tensors[0])
    status, answered, got = heard(client)
    assert status == 200
    assert got[int(answered["inference-header-content-length"]) :] == data


def test_bodies_may_be_packed(rig: Rig) -> None:
    client = rig.http()
    client.request("POST", INFER, gzip.compress(body()), {"Content-Encoding": "gzip"})
    assert rig.serve(Y.tobytes()).tensors == [X.tobytes()]
    assert heard(client)[0] == 200
    assert ask(rig, "POST", INFER, b"no gzip", {"Content-Encoding": "gzip"})[0] == 400
    assert ask(rig, "POST", INFER, b"", {"Content-Encoding": "br"})[0] == 415
    rows = np.zeros((200, 4))
    client.request("POST", INFER, body([200, 4], rows.tolist()), {"Accept-Encoding": "gzip"})
    for _ in rows:
        rig.serve(Y.tobytes())
    status, headers, got = heard(client)
    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert json.loads(gzip.decompress(got))["outputs"][0]["shape"] == [200, 2]


def test_what_is_read_of_a_large_packed_body_is_still_there_when_it_is_looked_at(rig: Rig) -> None:
    plain = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}'
    with rig.connect() as peer:
        # So much that its memory is the system's again as soon as nobody holds it.
        packed = gzip.compress(plain + b" " * (40 << 20), 1)
        head = "POST /v2/models/m/infer HTTP/1.1\r\nHost: t\r\nContent-Encoding: gzip\r\n"
        peer.sendall(f"{head}Content-Length: {len(packed)}\r\n\r\n".encode() + packed)
        rig.serve(bytes(8))
        assert peer.recv(4096).startswith(b"HTTP/1.1 200")


def test_classes_instead_of_the_tensor(rig: Rig) -> None:
    wanted = [{"name": "y", "parameters": {"classification": 1}}]
    _, got, _ = infer(rig, body(outputs=wanted), Y.tobytes())
    assert got["outputs"] == [
        {"name": "y", "datatype": "BYTES", "shape": [1, 1], "data": ["2.000000:1"]}
    ]


def test_shared_memory_in_and_out(rig: Rig) -> None:
    memory = mmap.mmap(-1, 4096)
    memory[16:32] = X.tobytes()
    address = np.frombuffer(memory, dtype=np.uint8).ctypes.data
    rig.loop.add_shm("region", address, 4096)
    place = {"shared_memory_region": "region", "shared_memory_offset": 16}
    x = {"name": "x", "datatype": "FP32", "shape": [4],
         "parameters": place | {"shared_memory_byte_size": 16}}  # fmt: skip
    y = {"name": "y", "parameters": place | {"shared_memory_offset": 64,
                                             "shared_memory_byte_size": 8}}  # fmt: skip
    sent = json.dumps({"inputs": [x], "outputs": [y]}).encode()
    status, got, request = infer(rig, sent, Y.tobytes())
    assert status == 200
    assert request.tensors == [X.tobytes()]
    assert memory[64:72] == Y.tobytes()
    assert got["outputs"][0]["parameters"]["shared_memory_byte_size"] == 8
    rig.loop.remove_shm("region")
    status, _, answer = ask(rig, "POST", INFER, sent)
    assert status == 400
    assert b"no shared memory region 'region'" in answer


BAD = {
    "no json": (b"hello", 400, "JSON"),
    "no inputs": (b"{}", 400, "inputs"),
    "unknown input": (body().replace(b'"x"', b'"z"'), 400, "'x'"),
    "datatype": (body().replace(b"FP32", b"FP64"), 400, "FP32"),
    "no datatype": (body().replace(b"FP32", b"FP33"), 400, "FP32"),
    "shape": (body([1, 5], [1, 2, 3, 4, 5]), 400, "[-1, 4]"),
    "too few": (body([1, 4], [1, 2, 3]), 400, "4"),
    "too many rows": (body([257, 4], np.zeros((257, 4)).tolist()), 400, "256"),
    "no rows": (body([0, 4], []), 400, "1 to 256"),
    "huge shape": (body([1 << 40, 1 << 40], []), 400, "shape"),
    "nan": (body(data=[1, 2, 3, float("nan")]), 400, "number"),
    "overflow": (body(data=[1, 2, 3, 1e39]), 400, "FP32"),
    "no output": (body(outputs=[{"name": "z"}]), 400, "'y'"),
    "output twice": (body(outputs=[{"name": "y"}, {"name": "y"}]), 400, "twice"),
}


@pytest.mark.parametrize(("sent", "status", "says"), BAD.values(), ids=BAD.keys())
def test_bad_bodies_are_said_in_one_line(rig: Rig, sent: bytes, status: int, says: str) -> None:
    got, _, answer = ask(rig, "POST", INFER, sent)
    message = json.loads(answer)["error"]
    assert (got, "\n" in message) == (status, False)
    assert says in message
    assert rig.loop.stats()["m"]["invalid"] == 1


def test_models_and_versions_that_are_not_there(rig: Rig) -> None:
    status, _, answer = ask(rig, "POST", "/v2/models/pear/infer", body())
    assert (status, "did you mean 'pair'" in answer.decode()) == (404, True)
    assert ask(rig, "POST", "/v2/models/m/versions/2/infer", body())[0] == 404
    assert ask(rig, "GET", "/v2/models/m/ready")[0] == 200
    assert ask(rig, "GET", "/v2/models/none/ready")[0] == 404
    rig.loop.set_starting(True)
    assert ask(rig, "GET", "/v2/models/none/ready")[0] == 503
    assert ask(rig, "GET", "/v2/health/ready")[0] == 503
    rig.loop.set_starting(False)
    assert json.loads(ask(rig, "GET", "/v2/health/ready")[2]) == {"ready": True}
    assert json.loads(ask(rig, "GET", "/v2/health/live")[2]) == {"live": True}
    assert ask(rig, "HEAD", "/v2/health/live")[2] == b""
    assert ask(rig, "POST", "/v2/health/live")[1]["allow"] == "GET, HEAD"
    assert ask(rig, "GET", INFER)[0] == 405


def test_a_timeout_is_the_deadline(rig: Rig) -> None:
    sent = body(parameters={"timeout": 5_000_000, "priority": 3, "other": {"deep": [1]}})
    _, _, request = infer(rig, sent, Y.tobytes())
    assert 0 < request.budget_ms <= 5000


def test_pipelined_requests_are_answered_in_their_order(rig: Rig) -> None:
    client = rig.connect()
    post = b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b"
    sent = [body([4], [float(n)] * 4) for n in range(5)]
    client.sendall(b"".join(post % (INFER.encode(), len(one), one) for one in sent))
    client.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    requests = [rig.executor.request() for _ in sent]
    for n in (4, 1, 0, 3, 2):
        value = np.frombuffer(requests[n].tensors[0], np.float32)[0]
        rig.executor.reply(requests[n], OK, np.array([value] * 2, dtype=np.float32).tobytes())
    got = b"".join(iter(lambda: client.recv(65536), b""))
    answers = got.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert len(answers) == 6
    for n, answer in enumerate(answers[:5]):
        assert b'"data":[%d,%d]' % (n, n) in answer
    assert b'{"live":true}' in answers[5]


def test_a_client_that_goes_away_is_forgotten(rig: Rig) -> None:
    client = rig.connect()
    sent = body()
    client.sendall(
        b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b"
        % (INFER.encode(), len(sent), sent)
    )
    request = rig.executor.request()
    assert rig.loop.outstanding() > 0
    client.close()
    wait_for(lambda: rig.loop.outstanding() == 0)
    rig.executor.reply(request, OK, Y.tobytes())
    assert infer(rig, body(), Y.tobytes())[0] == 200


def test_what_the_core_does_not_answer_goes_to_python(rig: Rig) -> None:
    client = rig.http()
    client.request("PUT", "/v2/some/where?a=b", b"hello", {"X-Y": "z"})
    ((door, call, protocol, method, target, headers, sent),) = wait_for(rig.loop.take_web)
    assert (door, protocol, method, target) == (0, "http", "PUT", "/v2/some/where?a=b")
    assert ("x-y", "z") in headers
    assert sent == b"hello"
    rig.loop.answer_web(door, call, 201, [("Content-Type", "text/plain"), ("A", "b")], b"done")
    rig.loop.answer_web(door, call, 500, [], b"twice")
    status, answered, got = heard(client)
    assert (status, got) == (201, b"done")
    assert (answered["content-type"], answered["a"]) == ("text/plain", "b")


def test_stopping_answers_what_was_taken_and_closes(rig: Rig) -> None:
    idle, busy = rig.connect(), rig.http()
    busy.request("POST", INFER, body())
    request = rig.executor.request()
    rig.loop.stop_admitting()
    assert idle.recv(1) == b""
    with pytest.raises(OSError, match=r".*"):
        rig.connect()
    rig.executor.reply(request, OK, Y.tobytes())
    status, headers, _ = heard(busy)
    assert (status, headers["connection"]) == (200, "close")
    wait_for(lambda: rig.loop.outstanding() == 0)


def test_no_more_connections_than_allowed() -> None:
    rig = Rig(max_connections=2)
    try:
        first, second = rig.http(), rig.http()
        for client in (first, second):
            client.request("GET", "/v2/health/live")
            assert heard(client)[0] == 200
        assert b" 503 " in rig.connect().recv(4096)
        first.close()
        wait_for(lambda: _answers(rig))
    finally:
        rig.close()


def _answers(rig: Rig) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return ask(rig, "GET", "/v2/health/live")[0] == 200
    return False


def test_bytes_that_are_no_http_are_answered_and_the_connection_closed() -> None:
    rig = Rig(max_body_mb=1)
    try:
        for sent, status in [
            (b"GET / HTTP/1.1\n\n", 400),
            (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\n\r\n", 413),
            (b"GET / HTTP/3.0\r\n\r\n", 505),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400),
        ]:
            client = rig.connect()
            client.sendall(sent)
            got = b"".join(iter(lambda c=client: c.recv(65536), b""))
            assert got.startswith(b"HTTP/1.1 %d " % status)
            assert b"Connection: close" in got
        post = b"POST %b HTTP/1.1\r\nHost: h\r\n\r\n" % INFER.encode()
        client = rig.connect()
        client.sendall(post)
        assert b" 411 " in client.recv(4096)
    finally:
        rig.close()


def test_a_client_that_does_not_read_stops_being_read(rig: Rig) -> None:
    client = rig.connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.setblocking(False)
    burst = b"GET /v2/health/live HTTP/1.1\r\nHost: h\r\n\r\n" * 1000
    sent = 0

    def blocked() -> bool:
        nonlocal sent
        with contextlib.suppress(BlockingIOError):
            while sent < 500 << 20:
                sent += client.send(burst)
            return True
        return not _writable(client)

    wait_for(blocked)
    assert sent < 500 << 20
    assert ask(rig, "GET", "/v2/health/live")[0] == 200


def _writable(client: socket.socket) -> bool:
    poller = zmq.Poller()
    poller.register(client.fileno(), zmq.POLLOUT)
    return bool(poller.poll(1000))


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:99999", "256.1.1.1:1", ":80"])
def test_addresses_that_cannot_be_listened_at(address: str) -> None:
    loop = core.FrontendLoop(libzmq_path())
    with pytest.raises(ConfigError, match="valid is HOST:PORT"):
        core.add_http_door(loop, address, 64, 10)
    loop.close()


def test_a_traceparent_is_of_its_own_request_only(rig: Rig) -> None:
    rig.loop.set_trace_ratio(0.0, {})
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    headers = {"Traceparent": f"00-{trace}-{span}-01"}
    infer(rig, body(), Y.tobytes(), headers=headers)
    infer(rig, body(), Y.tobytes())
    ((model, outcome, *parent, _, _, _, _, _, batch, _),) = rig.loop.take_traces()
    assert (model, outcome, parent, batch) == ("m", "ok", [trace, span], 3)


def test_a_traced_request_whose_client_goes_is_traced_as_cancelled(rig: Rig) -> None:
    rig.loop.set_trace_ratio(1.0, {})
    client = rig.http()
    client.request("POST", INFER, body())
    rig.executor.request()
    client.close()
    rows: list[Any] = []
    wait_for(lambda: rows.extend(rig.loop.take_traces()) or rows)
    assert [row[:2] for row in rows] == [("m", "cancelled")]
