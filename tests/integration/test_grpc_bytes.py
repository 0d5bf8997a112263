"""The gRPC door against peers that keep to nothing: it ends their connection, no other."""

import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from echo_loop import echo_loop
from h2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    call,
    call_headers,
    connect,
    frame,
    hello,
    literals,
    message,
    read_frames,
)

from glet.errors import ConfigError
from glet.native import core
from glet.serve.nghttp2_path import nghttp2_path

LIVE = "/inference.GRPCInferenceService/ServerLive"
INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
WAIT_S = 60.0
ROUNDS = 1500


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    try:
        library = nghttp2_path()
    except ConfigError as error:
        pytest.skip(str(error))
    found: list[str] = []

    def add_doors(loop: Any) -> None:
        found.append(core.add_grpc_door(loop, "127.0.0.1:0", library, 1, 64, max_streams=64))

    with echo_loop(add_doors) as rig:
        rig.echo("echo", [("x", "float32", [2])], 60_000.0)
        yield found[0]
        assert_serves(found[0])


def answer_to(address: str, data: bytes) -> list[tuple[int, int, int, bytes]]:
    """What comes back until the door has nothing more to say."""
    with connect(address, WAIT_S) as peer:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        return read_frames(peer)


def one_call(address: str, data: bytes) -> list[tuple[int, int, int, bytes]]:
    """What comes back up to the end of stream 1."""
    with connect(address, WAIT_S) as peer:
        peer.sendall(hello() + data)
        got = b""
        while not ends_stream(got, 1):
            chunk = peer.recv(1 << 16)
            assert chunk, "closed before the stream ended"
            got += chunk
    return parse(got)


def parse(data: bytes) -> list[tuple[int, int, int, bytes]]:
    found = []
    while len(data) >= 9 and len(data) >= 9 + (size := int.from_bytes(data[:3])):
        found.append((data[3], data[4], int.from_bytes(data[5:9]), data[9 : 9 + size]))
        data = data[9 + size :]
    return found


def ends_stream(data: bytes, stream: int) -> bool:
    return any(
        number == stream
        and ((kind in (DATA, HEADERS) and flags & END_STREAM) or kind == RST_STREAM)
        for kind, flags, number, _ in parse(data)
    )


def body_of(frames: list[tuple[int, int, int, bytes]]) -> bytes:
    return b"".join(payload for kind, _, _, payload in frames if kind == DATA)


def assert_serves(address: str) -> None:
    assert body_of(one_call(address, call(1, LIVE, b""))) == message(b"\x08\x01")


def infer_bytes() -> bytes:
    """ModelInferRequest: model echo, x FP32 [2], raw."""
    tensor = b"\x0a\x01x\x12\x04FP32\x1a\x01\x02"
    raw = np.arange(2, dtype=np.float32).tobytes()
    return b"\x0a\x04echo" + b"\x2a" + bytes([len(tensor)]) + tensor + b"\x3a\x08" + raw


def test_a_call_by_hand_is_answered(address: str) -> None:
    body = body_of(one_call(address, call(1, INFER, infer_bytes())))
    assert body.endswith(b"\x32\x08" + np.arange(2, dtype=np.float32).tobytes())


def test_a_message_may_come_in_any_pieces(address: str) -> None:
    whole = message(infer_bytes())
    for size in (1, 2, 3, 7):
        pieces = b"".join(
            frame(DATA, 0, 1, whole[at : at + size]) for at in range(0, len(whole), size)
        )
        data = frame(HEADERS, END_HEADERS, 1, call_headers(INFER)) + pieces
        assert body_of(one_call(address, data + frame(DATA, END_STREAM, 1)))


@pytest.mark.parametrize(
    "data",
    [
        frame(HEADERS, END_HEADERS | END_STREAM, 1, call_headers(INFER)),
        frame(HEADERS, END_HEADERS, 1, call_headers(INFER))
        + frame(DATA, END_STREAM, 1, message(infer_bytes()) * 2),
        frame(HEADERS, END_HEADERS, 1, call_headers(INFER)) + frame(DATA, END_STREAM, 1, b"\0\0"),
        frame(HEADERS, END_HEADERS, 1, call_headers(INFER))
        + frame(DATA, END_STREAM, 1, message(b"", flag=2)),
        frame(HEADERS, END_HEADERS, 1, call_headers(INFER))
        + frame(DATA, END_STREAM, 1, message(b"", flag=1)),
        frame(HEADERS, END_HEADERS, 1, call_headers(INFER)) + frame(DATA, 0, 1, b"\0\xff\0\0\0"),
        frame(HEADERS, END_HEADERS, 1, call_headers(STREAM)) + frame(DATA, END_STREAM, 1, b"\0"),
        frame(HEADERS, END_HEADERS, 1, call_headers(STREAM)) + frame(DATA, 0, 1, b"\7\0\0\0\0"),
        call(1, INFER, infer_bytes(), ("grpc-timeout", "soon")),
        call(1, INFER, infer_bytes(), ("grpc-timeout", "0n")),
        call(1, INFER, infer_bytes(), ("grpc-encoding", "snappy")),
        call(1, INFER, infer_bytes(), *[("x" * 100, "y" * 100)] * 80),
        call(1, "/nowhere", b""),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, literals((":method", "GET"),
              (":scheme", "http"), (":path", "/"), (":authority", "a"))),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, literals((":method", "POST"),
              (":scheme", "http"), (":path", INFER), (":authority", "a"))),
    ],
)  # fmt: skip
def test_a_call_that_makes_no_sense_ends_and_the_door_goes_on(address: str, data: bytes) -> None:
    assert one_call(address, data)
    assert_serves(address)


def test_another_protocol_is_told_what_this_is(address: str) -> None:
    with connect(address, WAIT_S) as peer:
        peer.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: here\r\n\r\n")
        heard = b""
        while chunk := peer.recv(4096):
            heard += chunk
    assert heard.startswith(b"HTTP/1.1 400")
    assert b"speaks gRPC" in heard


@pytest.mark.parametrize(
    "flood",
    [
        frame(PING, 0, 0, bytes(8)),
        frame(SETTINGS, 0, 0),
        b"".join(
            frame(HEADERS, END_HEADERS, 1 + 2 * i, call_headers(INFER))
            + frame(RST_STREAM, 0, 1 + 2 * i, bytes([0, 0, 0, 8]))
            for i in range(30_000)
        ),
        frame(HEADERS, END_HEADERS, 1, call_headers(INFER)) + frame(DATA, 0, 1) * 60_000,
        frame(HEADERS, 0, 1, call_headers(INFER)) + frame(CONTINUATION, 0, 1, b"") * 60_000,
    ],
    ids=["pings", "settings", "resets", "empty data", "continuations"],
)
def test_a_flood_ends_its_connection_only(address: str, flood: bytes) -> None:
    data = flood if len(flood) > 10_000 else flood * 200_000
    with connect(address, WAIT_S) as peer:
        frames = []
        try:
            peer.sendall(hello() + data)
        except (ConnectionResetError, BrokenPipeError):
            pass  # it heard enough
        else:
            frames = read_frames(peer)
    for kind, _, _, payload in frames:
        if kind == GOAWAY and payload[4:8] != bytes(4):
            assert int.from_bytes(payload[4:8]) in (1, 2, ENHANCE_YOUR_CALM)
    assert_serves(address)


def test_bytes_damaged_at_random_end_no_more_than_their_connection(address: str) -> None:
    random = np.random.default_rng(5)
    good = (
        hello() + frame(SETTINGS, ACK, 0) + call(1, INFER, infer_bytes())
        + call(3, LIVE, b"") + frame(HEADERS, END_HEADERS, 5, call_headers(STREAM))
        + frame(DATA, 0, 5, message(infer_bytes())) + frame(DATA, END_STREAM, 5, message(b""))
        + frame(PING, 0, 0, bytes(8)) + frame(RST_STREAM, 0, 5, bytes(4))
    )  # fmt: skip
    ended = 0
    for _ in range(ROUNDS):
        data = bytearray(good)
        for _ in range(random.integers(1, 6)):
            # The preface stays: behind it is more to break.
            data[random.integers(len(PREFACE), len(data))] = random.integers(256)
        if random.integers(4) == 0:
            del data[random.integers(len(PREFACE), len(data)) :]
        ended += any(kind == GOAWAY for kind, *_ in answer_to(address, bytes(data)))
    assert ended > ROUNDS // 10
    assert_serves(address)


def test_random_bytes_end_no_more_than_their_connection(address: str) -> None:
    random = np.random.default_rng(6)
    for _ in range(ROUNDS // 5):
        noise = random.bytes(int(random.integers(1, 400)))
        answer_to(address, noise)
        answer_to(address, hello() + noise)
    assert_serves(address)
