"""HTTP/2 written by hand: frames as RFC 9113 has them, headers as literals that no table keeps."""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE = range(9)
CONTINUATION = 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
ENHANCE_YOUR_CALM = 11


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literals(*headers: tuple[str, str]) -> bytes:
    """RFC 7541, 6.2.2 with a new name; names and values up to 126 bytes."""
    out = b""
    for pair in headers:
        out += b"\x00" + b"".join(bytes([len(part)]) + part.encode() for part in pair)
    return out


def call_headers(path: str, *more: tuple[str, str]) -> bytes:
    return literals(
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test"),
        ("content-type", "application/grpc"), ("te", "trailers"), *more,
    )  # fmt: skip


def message(data: bytes, flag: int = 0) -> bytes:
    return struct.pack(">BI", flag, len(data)) + data


def call(stream: int, path: str, data: bytes, *more: tuple[str, str]) -> bytes:
    """A whole unary call."""
    return frame(HEADERS, END_HEADERS, stream, call_headers(path, *more)) + frame(
        DATA, END_STREAM, stream, message(data)
    )


def hello() -> bytes:
    return PREFACE + frame(SETTINGS, 0, 0)


def connect(address: str, timeout_s: float) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout_s)


def read_frames(peer: socket.socket) -> list[tuple[int, int, int, bytes]]:
    """(kind, flags, stream, payload) of all frames until the other side closes."""
    data = b""
    try:
        while chunk := peer.recv(1 << 16):
            data += chunk
    except ConnectionResetError:
        pass
    found = []
    while len(data) >= 9:
        size = int.from_bytes(data[:3])
        kind, flags, stream = struct.unpack(">BBI", data[3:9])
        found.append((kind, flags, stream, data[9 : 9 + size]))
        data = data[9 + size :]
    return found
