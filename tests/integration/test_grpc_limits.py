"""What peers of the gRPC door may take: slow, many, or without ever opening their window."""

import socket
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from echo_loop import echo_loop
from h2_frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    call,
    call_headers,
    connect,
    frame,
    hello,
    message,
    read_frames,
)
from waiting import wait_for

from glet.errors import ConfigError
from glet.native import core
from glet.serve.nghttp2_path import nghttp2_path

SERVICE = "/inference.GRPCInferenceService/"
LIVE, INFER, STREAM = SERVICE + "ServerLive", SERVICE + "ModelInfer", SERVICE + "ModelStreamInfer"
WAIT_S = 60.0
MANY = 400
RESET_1 = frame(RST_STREAM, 0, 1, bytes(4))[:9]
LARGE = 3 << 14  # below the window that a peer has before it knows ours
FRAME = 16_000
NO_WINDOW = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))


class Served(NamedTuple):
    address: str
    loop: Any


@pytest.fixture
def served() -> Iterator[Served]:
    try:
        library = nghttp2_path()
    except ConfigError as error:
        pytest.skip(str(error))
    found: list[str] = []

    def add_doors(loop: Any) -> None:
        core.set_door_limits(loop, stall_s=0.6, max_held_mb=8)
        found.append(core.add_grpc_door(loop, "127.0.0.1:0", library, 4, 64, max_streams=64))

    with echo_loop(add_doors) as rig:
        rig.echo("large", [("x", "uint8", [LARGE])], 60_000.0)
        yield Served(found[0], rig.loop)


def large_call(stream: int) -> bytes:
    """A whole call, in frames as large as a peer may send before it knows what we take."""
    return frame(HEADERS, END_HEADERS, stream, call_headers(INFER)) + whole_message(stream)


def whole_message(stream: int) -> bytes:
    """The body of such a call; the last frame, of no bytes, ends it."""
    whole = message(large_infer())
    parts = [whole[at : at + FRAME] for at in range(0, len(whole), FRAME)]
    data = b"".join(frame(DATA, 0, stream, part) for part in parts)
    return data + frame(DATA, END_STREAM, stream)


def assert_serves(address: str) -> None:
    with connect(address, WAIT_S) as peer:
        peer.sendall(hello() + call(1, LIVE, b""))
        got = b""
        while message(b"\x08\x01") not in got:
            chunk = peer.recv(1 << 16)
            assert chunk
            got += chunk


def large_infer() -> bytes:
    """ModelInferRequest: model large, x UINT8 [LARGE], raw."""
    tensor = b"\x0a\x01x\x12\x05UINT8\x1a\x03" + b"\x80\x80\x03"
    raw = np.zeros(LARGE, np.uint8).tobytes()
    return b"\x0a\x05large\x2a" + bytes([len(tensor)]) + tensor + b"\x3a\x80\x80\x03" + raw


def frames_until(peer: socket.socket, kind: int) -> tuple[int, int, int, bytes]:
    """The first frame of that kind, all before it read; fails when the connection ends before."""
    while True:
        head = exactly(peer, 9)
        payload = exactly(peer, int.from_bytes(head[:3]))
        if head[3] == kind:
            return head[3], head[4], int.from_bytes(head[5:9]), payload


def exactly(peer: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        chunk = peer.recv(size - len(got))
        assert chunk, "closed before"
        got += chunk
    return got


def test_a_window_that_never_opens_ends_its_stream_only(served: Served) -> None:
    with connect(served.address, WAIT_S) as peer:
        peer.sendall(hello() + NO_WINDOW + large_call(1))
        *_, stream, code = frames_until(peer, RST_STREAM)
        assert (stream, int.from_bytes(code)) == (1, ENHANCE_YOUR_CALM)
        opened = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535))
        peer.sendall(opened + call(3, LIVE, b""))
        assert frames_until(peer, DATA)[2:] == (3, message(b"\x08\x01"))
    assert_serves(served.address)


def test_a_window_that_opens_by_the_byte_ends_its_stream(served: Served) -> None:
    with connect(served.address, WAIT_S) as peer:
        peer.settimeout(0.1)
        peer.sendall(hello() + NO_WINDOW + large_call(1))

        def is_reset() -> bool:
            peer.sendall(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1)))
            try:
                return frame(RST_STREAM, 0, 1, struct.pack(">I", 11)) in peer.recv(1 << 16)
            except TimeoutError:
                return False

        wait_for(is_reset)
    assert_serves(served.address)


def test_a_call_that_is_never_whole_ends(served: Served) -> None:
    half = message(large_infer())[:1000]
    for path in (INFER, STREAM):
        with connect(served.address, WAIT_S) as peer:
            head = frame(HEADERS, END_HEADERS, 1, call_headers(path))
            peer.sendall(hello() + head + frame(DATA, 0, 1, half))
            *_, headers = frames_until(peer, HEADERS)
            assert b"not come in time" in headers or b"4" in headers
    assert_serves(served.address)


def test_a_stream_with_nothing_under_way_may_stay(served: Served) -> None:
    with connect(served.address, WAIT_S) as peer, connect(served.address, WAIT_S) as other:
        peer.sendall(hello() + frame(HEADERS, END_HEADERS, 1, call_headers(STREAM)))
        # Several times the time after which a call that is not whole has ended.
        half = frame(HEADERS, END_HEADERS, 1, call_headers(INFER)) + frame(DATA, 0, 1, b"\0")
        for _ in range(3):
            with connect(served.address, WAIT_S) as slow:
                slow.sendall(hello() + half)
                frames_until(slow, HEADERS)
        other.sendall(hello())
        peer.sendall(whole_message(1))
        assert frames_until(peer, DATA)[2] == 1
    assert_serves(served.address)


def test_a_peer_that_never_reads_is_not_read_for_ever_and_ends(served: Served) -> None:
    host, _, port = served.address.rpartition(":")
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect((host, int(port)))
        wide = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31 - 1))
        peer.sendall(hello() + wide + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 65537)))
        peer.sendall(b"".join(large_call(1 + 2 * i) for i in range(60)))
        sent, stream = 0, 201
        try:
            while sent < 256 << 20:
                # Calls that are refused at once: each is answered, and nobody reads it.
                more = b"".join(call(stream + 2 * i, "/no", b"") for i in range(500))
                peer.sendall(more)
                sent, stream = sent + len(more), stream + 1000
        except OSError:
            pass
        assert sent < 256 << 20
    assert_serves(served.address)


def test_a_stream_whose_answers_are_not_read_asks_no_more(served: Served) -> None:
    """Requests of a stream go on while answers are taken; the rest waits at the peer."""
    with connect(served.address, WAIT_S) as peer:
        head = frame(HEADERS, END_HEADERS, 1, call_headers(STREAM))
        peer.sendall(hello() + NO_WINDOW + head)
        peer.sendall(frame(SETTINGS, ACK, 0))
        piece, got = whole_message(1)[:-9], b""
        try:
            for _ in range(MANY):
                peer.sendall(piece)
            while RESET_1 not in got:
                got += peer.recv(1 << 16)
        except ConnectionError:
            pass
        assert served.loop.stats()["large"]["ok"] < MANY // 2
    assert_serves(served.address)


def test_headers_that_become_huge_end_their_connection(served: Served) -> None:
    # One entry of 4000 bytes in the table, then a byte for each time that it is said again.
    entry = b"\x40\x04bomb\x7f" + bytes([4000 - 127 & 127 | 128, 4000 - 127 >> 7]) + b"x" * 4000
    block = call_headers(LIVE) + entry + b"\xbe" * 12_000
    with connect(served.address, WAIT_S) as peer:
        peer.sendall(hello() + frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
        kinds = [(kind, payload[4:8]) for kind, _, _, payload in read_frames(peer)]
    assert (GOAWAY, struct.pack(">I", ENHANCE_YOUR_CALM)) in kinds
    assert_serves(served.address)


def test_more_streams_than_allowed_are_refused_and_the_others_go_on(served: Served) -> None:
    with connect(served.address, WAIT_S) as peer:
        opened = b"".join(
            frame(HEADERS, END_HEADERS, 1 + 2 * i, call_headers(STREAM)) for i in range(65)
        )
        peer.sendall(hello() + opened)
        *_, stream, code = frames_until(peer, RST_STREAM)
        assert (stream, int.from_bytes(code)) == (129, 7)  # REFUSED_STREAM
        peer.sendall(whole_message(1))
        assert frames_until(peer, DATA)[2] == 1
    assert_serves(served.address)


def test_pings_are_answered_and_stopping_says_goaway(served: Served) -> None:
    with connect(served.address, WAIT_S) as peer:
        peer.sendall(hello() + frame(PING, 0, 0, b"12345678"))
        assert frames_until(peer, PING)[1:] == (ACK, 0, b"12345678")
        peer.sendall(call(1, LIVE, b""))
        assert frames_until(peer, DATA)[2] == 1
        served.loop.stop_admitting()
        kinds = [kind for kind, *_ in read_frames(peer)]
    assert GOAWAY in kinds
    with pytest.raises(ConnectionRefusedError):
        connect(served.address, WAIT_S).close()
