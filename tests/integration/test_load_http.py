"""LoadLoop and `glet load` over HTTP: against servers that the test plays, and glet's own door."""

import argparse
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from http_rig import Rig
from rich.console import Console

from glet.cli import load as load_command
from glet.clock import SystemClock
from glet.errors import (
    ArgumentError,
    ConfigError,
    GletError,
    ModelNotFoundError,
    PeerLostError,
    WireError,
)
from glet.native import core
from glet.observe.report import Outcome
from glet.wire.zmq_path import libzmq_path

MS = 1_000_000
LIMIT_S = 60.0
TENSOR = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}
MODELS: dict[str, dict[str, Any]] = {
    "m": {"inputs": [TENSOR], "outputs": [{**TENSOR, "name": "y"}]},
    "texts": {
        "inputs": [
            {"name": "s", "datatype": "BYTES", "shape": [2]},
            {"name": "h", "datatype": "INT64", "shape": [-1, -1]},
        ],
        "outputs": [],
    },
    "odd": {"inputs": [{"name": "x", "datatype": "FP12", "shape": [1]}], "outputs": []},
    "bits": {"inputs": [{"name": "x", "datatype": "BF16", "shape": [1]}], "outputs": []},
    "none": {"inputs": [], "outputs": []},
    "shapeless": {"inputs": [{"name": "x", "datatype": "FP32", "shape": 4}], "outputs": []},
}


class Server(ThreadingHTTPServer):
    """Answers by the path; `heard` has the bodies and headers of all POSTs."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, extensions: list[str] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.released = threading.Event()
        self.extensions = extensions or []
        self.heard: list[tuple[str, dict[str, str], bytes]] = []
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        name = self.path.removeprefix("/v2/models/").removesuffix("/config")
        found: Any = MODELS.get(name)
        if self.path == "/v2":
            found = {"name": "played", "version": "1", "extensions": self.server.extensions}
        elif self.path.endswith("/config"):
            found = None
        self._send(200 if found else 404, json.dumps(found or {"error": "unknown"}).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append((self.path, dict(self.headers), body))
        what = self.path.strip("/")
        if what == "silent":
            self.server.released.wait(LIMIT_S)
            self.close_connection = True
        elif what == "chunks":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (b"3\r\nabc\r\n", b"4\r\n0\r\n\r\r\n", b"0\r\n\r\n"):
                self.wfile.write(part)
                self.wfile.flush()
        elif what == "continue":
            self.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\n")
            self._send(200, b"ok")
        elif what == "close":
            self._send(200, b"ok", Connection="close")
        elif what == "hangup":
            self.close_connection = True
        elif what == "garbage":
            self.wfile.write(b"not HTTP at all\r\n\r\n")
        elif what == "endless":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\nhow long is it?")
            self.close_connection = True
        else:
            self._send(int(what) if what.isdigit() else 200, b'{"error":\n"no"}')

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    started: list[tuple[Server, threading.Thread]] = []

    def start(extensions: list[str] | None = None) -> Server:
        server = Server(extensions)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def request(path: str, body: bytes = b"body") -> bytes:
    head = f"POST /{path} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def sent(
    address: str, request: bytes, count: int = 30, gap_ms: float = 1.0, **options: Any
) -> tuple[np.ndarray, dict[str, Any]]:
    """The records of a load of one model, and its last progress."""
    loop = core.LoadLoop(libzmq_path(), address, **options)
    try:
        arrivals_ns = (np.arange(count) * gap_ms * MS).astype(np.int64)
        loop.add_http_model("m", [request], arrivals_ns=arrivals_ns, slo_ms=1e6)
        loop.start_open()
        assert loop.wait(LIMIT_S)
        return loop.records(), loop.progress()[0]
    finally:
        loop.close()


@pytest.mark.parametrize(
    ("path", "outcome"),
    [
        ("length", Outcome.OK),
        ("201", Outcome.OK),
        ("chunks", Outcome.OK),
        ("continue", Outcome.OK),
        ("close", Outcome.OK),
        ("408", Outcome.LATE),
        ("504", Outcome.LATE),
        ("429", Outcome.FULL),
        ("503", Outcome.UNAVAILABLE),
        ("400", Outcome.INVALID),
        ("404", Outcome.INVALID),
        ("500", Outcome.FAILED),
        ("302", Outcome.FAILED),
        ("hangup", Outcome.UNAVAILABLE),
        ("garbage", Outcome.UNAVAILABLE),
        ("endless", Outcome.UNAVAILABLE),
    ],
)
def test_every_request_has_its_answer(
    serve: Callable[..., Server], path: str, outcome: Outcome
) -> None:
    server = serve()
    records, progress = sent(server.address, request(path))
    assert len(records) == 30
    assert set(records["outcome"]) == {outcome}
    assert np.all(records["sent_ns"] >= records["intended_ns"])
    assert np.all(records["answered_ns"] >= records["sent_ns"])
    assert [body for _, _, body in server.heard] == [b"body"] * 30
    assert progress["sent"] == 30
    if path in ("503", "400", "500"):
        assert progress["first_error"].endswith(f'HTTP {path} {{"error": "no"}}')
    if path == "endless":
        assert "neither Content-Length nor chunks" in progress["first_error"]


def test_a_silent_server_does_not_hold_back_the_next_request(serve: Callable[..., Server]) -> None:
    server = serve()
    records, _ = sent(server.address, request("silent"), drain_s=0.1)
    assert set(records["outcome"]) == {Outcome.UNANSWERED}
    assert np.all(records["answered_ns"] == -1)
    assert len(records) == 30


def test_a_request_without_an_answer_is_given_up(serve: Callable[..., Server]) -> None:
    records, progress = sent(serve().address, request("silent"), give_up_s=0.2)
    assert set(records["outcome"]) == {Outcome.UNAVAILABLE}
    assert np.all(records["answered_ns"] - records["intended_ns"] >= 200 * MS)
    assert progress["first_error"] == "unavailable: no answer in time"


def test_what_finds_no_connection_is_unavailable_at_once(serve: Callable[..., Server]) -> None:
    server = serve()
    records, progress = sent(server.address, request("silent"), http_connections=3, drain_s=0.1)
    assert np.count_nonzero(records["outcome"] == Outcome.UNANSWERED) == 3
    assert np.count_nonzero(records["outcome"] == Outcome.UNAVAILABLE) == 27
    assert progress["first_error"] == "unavailable: all 3 connections wait for an answer"


def test_a_large_request_arrives_whole(serve: Callable[..., Server]) -> None:
    server = serve()
    body = np.random.default_rng(0).bytes(3 << 20)
    records, _ = sent(server.address, request("length", body), count=3)
    assert set(records["outcome"]) == {Outcome.OK}
    assert [got for _, _, got in server.heard] == [body] * 3


def test_a_closed_loop_goes_over_http_too(serve: Callable[..., Server]) -> None:
    server = serve()
    loop = core.LoadLoop(libzmq_path(), server.address)
    loop.add_http_model("m", [request("length", b"1"), request("length", b"2")])
    loop.start_closed(4, requests=50)
    assert loop.wait(LIMIT_S)
    assert set(loop.records()["outcome"]) == {Outcome.OK}
    loop.close()
    assert sorted({body for _, _, body in server.heard}) == [b"1", b"2"]
    assert len(server.heard) == 50


def test_nobody_there_is_said_with_the_address() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))  # taken, and nobody listens
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(PeerLostError, match=f"no connection to {address}: Connection refused"):
            sent(address, request("length"), connect_s=0.1)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://", "has no port"),
        ("http://localhost", "has no port"),
        ("http://localhost:0", "port is no number"),
        ("http://localhost:x", "port is no number"),
        ("http://localhost:99999", "port is no number"),
        ("http://[::1:80", "valid is http://HOST:PORT"),
    ],
)
def test_an_address_must_be_host_and_port(address: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        core.LoadLoop(libzmq_path(), address)


def test_a_schedule_must_make_sense(serve: Callable[..., Server]) -> None:
    loop = core.LoadLoop(libzmq_path(), serve().address)
    with pytest.raises(ArgumentError, match="no samples"):
        loop.add_http_model("m", [])
    with pytest.raises(ArgumentError, match="not sorted"):
        loop.add_http_model("m", [b""], arrivals_ns=np.array([2, 1]))
    loop.close()


def run_load(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    load_command.add_parser(parser.add_subparsers())
    return load_command.load(
        parser.parse_args(["load", *arguments]),
        SystemClock(),
        Console(stderr=True, force_terminal=False),
    )


@pytest.mark.parametrize("binary", [True, False])
def test_inputs_are_what_the_metadata_says(
    serve: Callable[..., Server], capsys: pytest.CaptureFixture[str], binary: bool
) -> None:
    server = serve(["binary_tensor_data"] if binary else [])
    common = ["--seconds", "0.2", "--slo-ms", "500", "--arrivals", "constant", "--json"]
    models = ["--model", "m=50", "--model", "texts=50"]
    assert run_load(server.address, *models, *common, "--deadline-ms", "20") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["device"] == "played 1"
    assert found["models"]["m"]["ok"] == found["models"]["m"]["sent"] > 0
    assert found["models"]["m"]["slo_ms"] == 500.0
    assert found["models"]["m"]["mean_batch"] is None
    assert found["models"]["m"]["mean_queue_ms"] is None
    for name, shapes in (("m", {"x": [1, 4]}), ("texts", {"s": [2], "h": [1, 1]})):
        bodies = [row for row in server.heard if row[0] == f"/v2/models/{name}/infer"]
        assert bodies
        for _, headers, body in bodies:
            size = int(headers["Inference-Header-Content-Length"]) if binary else len(body)
            asked = json.loads(body[:size])
            assert asked["parameters"]["timeout"] == 20_000
            assert {row["name"]: row["shape"] for row in asked["inputs"]} == shapes
            if binary:
                sizes = [row["parameters"]["binary_data_size"] for row in asked["inputs"]]
                assert sum(sizes) == len(body) - size
                assert sizes == ([16] if name == "m" else [10, 8])
            else:
                assert all(len(r["data"]) == np.prod(r["shape"]) for r in asked["inputs"])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--model", "m=1"], ConfigError, "knows no SLO of model 'm'; give --slo-ms"),
        (["--model", "m=1", "--slo-ms", "0"], ConfigError, "--slo-ms 0.0; give a number above 0"),
        (["--model", "gone=1"], ModelNotFoundError, "model 'gone': HTTP 404 unknown"),
        (["--model", "odd=1", "--slo-ms", "1"], WireError, "unknown datatype 'FP12'"),
        (["--model", "none=1", "--slo-ms", "1"], WireError, "metadata without inputs"),
        (["--model", "shapeless=1", "--slo-ms", "1"], WireError, "metadata without inputs"),
        (["--model", "bits=1", "--slo-ms", "1"], ConfigError, "BF16, which JSON does not have"),
    ],
)
def test_what_cannot_be_sent_is_one_line(
    serve: Callable[..., Server], arguments: list[str], error: type[GletError], message: str
) -> None:
    with pytest.raises(error) as raised:
        run_load(serve().address, *arguments)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "address", ["grpc://h:1", "https://h:1", "h:1", "", "http://h", "http://h:x", "http://h:1/v2"]
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="valid"):
        run_load(address, "--model", "m=1")


def test_answers_of_glet_are_read() -> None:
    rig = Rig()
    ended = threading.Event()

    def execute() -> None:
        while not ended.is_set():
            if rig.executor.socket.poll(20):
                rig.serve(np.array([1, 3], np.float32).tobytes())

    executor = threading.Thread(target=execute)
    executor.start()
    head = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[0,0,0,0]}],'
    body = head + b'"parameters":{"binary_data_output":true}}'
    loop = core.LoadLoop(libzmq_path(), f"http://{rig.address}")
    try:
        asked = request("v2/models/m/infer", body)
        loop.add_http_model("m", [asked], arrivals_ns=np.arange(20) * MS, answer_bytes=8)
        loop.start_open()
        assert loop.wait(LIMIT_S)
        assert set(loop.records()["outcome"]) == {Outcome.OK}
        assert set(loop.records()["answer"]) == {1}
    finally:
        loop.close()
        ended.set()
        executor.join()
        rig.close()
