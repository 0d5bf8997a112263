"""The open loop's program against a server that answers in every way it must understand."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

SOURCE = Path(__file__).with_name("open_http.cpp")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler"),
]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        assert self.rfile.read(int(self.headers["Content-Length"])) == b"body"
        if self.path == "/silent":
            self.server.released.wait(60)  # type: ignore[attr-defined]
            self.close_connection = True
            return
        self.send_response(503 if self.path == "/full" else 200)
        if self.path == "/chunks":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (b"3\r\nabc\r\n", b"4\r\n0\r\n\r\r\n", b"0\r\n\r\n"):
                self.wfile.write(part)
                self.wfile.flush()
            return
        self.send_header("Content-Length", "2")
        if self.path == "/close":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("open_http") / "open_http"
    subprocess.run(["c++", "-std=c++20", "-O1", SOURCE, "-o", made], check=True)
    return made


@pytest.fixture
def port() -> Iterator[int]:
    with Server(("127.0.0.1", 0), Answers) as server:
        server.released = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.released.set()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


def sent(program: Path, port: int, path: str, tmp_path: Path, timeout_s: str) -> np.ndarray:
    """Rows of intended_s, status, latency_ms, behind_ms of a load of half a second."""
    body = tmp_path / "body"
    body.write_bytes(b"body")
    command = [program, str(port), path, body, "100", "0.5", "1", timeout_s]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    return np.loadtxt(done.stdout.splitlines(), ndmin=2)


@pytest.mark.parametrize(
    ("path", "status"), [("/length", 200), ("/chunks", 200), ("/close", 200), ("/full", 503)]
)
def test_every_request_has_its_answer(
    program: Path, port: int, tmp_path: Path, path: str, status: int
) -> None:
    rows = sent(program, port, path, tmp_path, "60")
    assert len(rows) > 25
    assert set(rows[:, 1]) == {status}
    assert (np.diff(rows[:, 0]) > 0).all()
    assert (rows[:, 2] > rows[:, 3]).all()
    assert (rows[:, 3] >= 0).all()


def test_arrivals_are_those_of_the_seed(program: Path, port: int, tmp_path: Path) -> None:
    first, again = (sent(program, port, "/length", tmp_path, "60")[:, 0] for _ in range(2))
    assert first.tolist() == again.tolist()


def test_a_request_without_an_answer_is_given_up(program: Path, port: int, tmp_path: Path) -> None:
    rows = sent(program, port, "/silent", tmp_path, "0.3")
    assert set(rows[:, 1]) == {0}
    assert (rows[:, 2] >= 300).all()


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "ten", ""])
def test_a_rate_must_be_above_0(program: Path, rate: str) -> None:
    command = [program, "1", "/", SOURCE, rate, "1", "1", "1"]
    done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == f"open_http: rate {rate}; give a number above 0\n"
