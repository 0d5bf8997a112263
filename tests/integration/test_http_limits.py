"""What clients of the HTTP door may take: slow, many, large, or without ever reading."""

import contextlib
import gzip
import socket
import zlib
from collections.abc import Iterator

import pytest
from http_rig import LIMIT_S, Rig
from waiting import wait_for

STALL_S = 0.6
HEAD = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: t\r\n"
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: t\r\n\r\n"
LARGE = (
    b'{"inputs":[{"name":"x","datatype":"UINT8","shape":[1,1048576],'
    b'"parameters":{"binary_data_size":1048576}}],"outputs":[{"name":"y","parameters":'
    b'{"binary_data":true}}]}'
)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig(limits={"idle_s": 2.0, "stall_s": STALL_S, "max_held_mb": 8})
    yield made
    assert_serves(made)
    made.close()


def assert_serves(rig: Rig) -> None:
    """Another client is answered, whatever the others do."""
    with rig.connect() as peer:
        peer.sendall(LIVE)
        assert peer.recv(4096).startswith(b"HTTP/1.1 200")


def heard(peer: socket.socket) -> bytes:
    """All that comes until the connection is over; a reset is an end, too."""
    got = b""
    try:
        while chunk := peer.recv(1 << 16):
            got += chunk
    except ConnectionResetError:
        pass
    return got


def dribble(peer: socket.socket, data: bytes) -> bytes:
    """A byte at a time, twice in the time that a pause may last, until the other side has enough.

    What it says then.
    """
    peer.settimeout(STALL_S / 2)
    for byte in data:
        try:
            peer.sendall(bytes([byte]))
            if got := peer.recv(4096):
                peer.settimeout(LIMIT_S)
                return got + heard(peer)
            return b""
        except TimeoutError:
            continue
        except OSError:
            return b""
    pytest.fail("it took all of it")


def test_a_body_that_stops_is_answered_408(rig: Rig) -> None:
    with rig.connect() as peer:
        peer.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        assert heard(peer).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("framing", [b"Content-Length: 60000", b"Transfer-Encoding: chunked"])
def test_a_body_a_byte_now_and_then_is_too_slow(rig: Rig, framing: bytes) -> None:
    with rig.connect() as peer:
        peer.sendall(HEAD + framing + b"\r\n\r\n")
        if framing.startswith(b"T"):
            peer.sendall(b"ffff\r\n")
        assert dribble(peer, b" " * 200).startswith(b"HTTP/1.1 408")


def test_a_connection_without_requests_ends(rig: Rig) -> None:
    with rig.connect() as fresh, rig.connect() as used:
        used.sendall(LIVE)
        assert used.recv(4096)
        assert heard(fresh) == b""
        assert heard(used) == b""


def small_window(rig: Rig) -> socket.socket:
    host, port = rig.address.split(":")
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.connect((host, int(port)))
    return peer


def ask_large(rig: Rig, peer: socket.socket, count: int) -> None:
    """So many requests whose answers are of a megabyte, answered."""
    length = f"Content-Length: {len(LARGE) + (1 << 20)}\r\n".encode()
    head = HEAD.replace(b"/m/", b"/large/") + length
    head += f"Inference-Header-Content-Length: {len(LARGE)}\r\n\r\n".encode()
    body = bytes(1 << 20)
    for _ in range(count):
        peer.sendall(head + LARGE + body)
        rig.serve(body)


def test_an_answer_that_is_never_read_ends_its_connection(rig: Rig) -> None:
    with small_window(rig) as peer:
        ask_large(rig, peer, 3)
        # The door closes; what it had left is gone with it.
        wait_for(lambda: rig.loop.outstanding() == 0)


def test_an_answer_that_is_read_by_the_byte_ends_its_connection(rig: Rig) -> None:
    with small_window(rig) as peer:
        ask_large(rig, peer, 3)

        def is_over() -> bool:
            peer.recv(1)
            return rig.loop.outstanding() == 0

        wait_for(is_over)


def test_bodies_together_may_take_so_much(rig: Rig) -> None:
    """Eight megabytes; who comes with more is refused, who was there goes on."""
    part = HEAD + b"Content-Length: 3000000\r\n\r\n" + bytes(2_900_000)
    said = b""
    peers = [rig.connect() for _ in range(6)]
    for peer in peers:
        try:
            peer.sendall(part)
        except OSError:
            continue
    for peer in peers:
        said += heard(peer)
    assert said.count(b"too much is being sent") >= 1
    assert said.count(b"HTTP/1.1 408") >= 1


def test_chunks_of_one_byte_are_taken(rig: Rig) -> None:
    body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}'
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body + b" " * 60_000)
    with rig.connect() as peer:
        peer.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        rig.serve(bytes(8))
        assert peer.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: t\r\n\r\n", b"414"),
        (LIVE[:-2] + b"x: " + b"y" * 40_000 + b"\r\n\r\n", b"431"),
        (LIVE[:-2] + b"".join(b"h%d: v\r\n" % i for i in range(101)) + b"\r\n", b"431"),
        (HEAD + b"Content-Length: 99999999\r\n\r\n", b"413"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n7fffffff\r\n", b"413"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"e" * 300 + b"\r\n", b"400"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"t: v\r\n" * 9000, b"431"),
    ],
)
def test_what_is_too_large_is_said(rig: Rig, sent: bytes, status: bytes) -> None:
    with rig.connect() as peer:
        with contextlib.suppress(OSError):  # it may have heard enough before
            peer.sendall(sent)
        assert heard(peer).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_is_as_large_as_it_becomes(coding: str) -> None:
    rig = Rig(max_body_mb=1)
    plain = bytes(50 << 20)
    bomb = gzip.compress(plain, 9) if coding == "gzip" else zlib.compress(plain, 9)
    assert len(bomb) < 1 << 20
    with rig.connect() as peer:
        lines = f"Content-Encoding: {coding}\r\nContent-Length: {len(bomb)}\r\n\r\n"
        peer.sendall(HEAD + lines.encode() + bomb)
        assert peer.recv(4096).startswith(b"HTTP/1.1 413")
    rig.close()


def test_a_flood_of_requests_is_answered_in_order_and_bounded(rig: Rig) -> None:
    with small_window(rig) as peer:
        peer.settimeout(LIMIT_S)
        peer.setblocking(False)
        flood, sent = LIVE * 2000, 0
        try:
            while sent < 64 << 20:
                sent += peer.send(flood)
        except BlockingIOError:
            pass
        # It stopped reading long before, as nobody reads its answers.
        assert sent < 64 << 20
        assert_serves(rig)


def test_who_is_too_many_hears_so_even_with_a_request_under_way() -> None:
    rig = Rig(max_connections=2)
    first, second = rig.connect(), rig.connect()
    for peer in (first, second):
        peer.sendall(LIVE)
        assert peer.recv(4096).startswith(b"HTTP/1.1 200")
    with rig.connect() as third:
        third.sendall(LIVE)
        assert heard(third).startswith(b"HTTP/1.1 503")
    first.sendall(LIVE)
    assert first.recv(4096).startswith(b"HTTP/1.1 200")
    second.close()

    def is_let_in() -> bool:
        with rig.connect() as peer:
            peer.sendall(LIVE)
            return heard_status(peer) == b"200"

    wait_for(is_let_in)
    rig.close()


def heard_status(peer: socket.socket) -> bytes:
    try:
        return peer.recv(4096)[9:12]
    except ConnectionResetError:
        return b""
