"""HTTP/2 frames, gRPC messages in them and protocol buffers in those; then damaged."""

import gzip
import struct

from fuzz_dice import EDGES, Dice, damaged, edge
from h2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    call_headers,
    frame,
    message,
)

SERVICE = "/inference.GRPCInferenceService/"
METHODS = (
    "ModelInfer", "ModelInfer", "ModelInfer", "ModelStreamInfer", "ModelStreamInfer", "ServerLive",
    "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelConfig",
    "ModelStatistics", "RepositoryIndex", "RepositoryModelLoad", "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister", "CudaSharedMemoryRegister", "TraceSetting", "LogSettings", "No",
)  # fmt: skip
MORE = (
    ("grpc-timeout", "5S"), ("grpc-timeout", "1n"), ("grpc-timeout", "99999999H"),
    ("grpc-timeout", "x"), ("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip"),
    ("grpc-encoding", "snappy"), ("traceparent", "00-" + "1" * 52), ("x" * 100, "y" * 100),
)  # fmt: skip
SETTINGS_KEYS = (1, 2, 3, 4, 5, 6, 8, 9, 77)


def varint(value: int) -> bytes:
    out = b""
    value &= 2**64 - 1
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def infer_message(dice: Dice) -> bytes:
    """A ModelInferRequest of `a`, with typed or raw contents and now and then something wrong."""
    items = dice.number(1, 3)
    shape = [items, 4] if not dice.once_in(6) else [edge(dice) for _ in range(dice.number(0, 20))]
    dtype = dice.pick((b"FP32", b"FP32", b"FP32", b"INT64", b"BYTES", b"BOOL", b"", b"FP99"))
    numbers = struct.pack(f"<{items * 4}f", *range(items * 4))
    raw = dice.once_in(2)
    tensor = field(1, b"x") + field(2, dtype)
    tensor += field(3, b"".join(map(varint, shape))) if dice.once_in(2) else b"".join(
        field(3, size) for size in shape
    )  # fmt: skip
    if not raw:
        kind = 6 if not dice.once_in(5) else dice.number(0, 9)
        tensor += field(5, field(kind, numbers))
    if dice.once_in(6):
        key = dice.pick((b"shared_memory_region", b"shared_memory_byte_size", b"x"))
        value = field(dice.number(1, 5), dice.pick((b"r", edge(dice))))
        tensor += field(4, field(1, key) + field(2, value))
    out = field(1, dice.pick((b"a", b"a", b"a", b"nobody", b"\xff", b""))) + field(3, b"7")
    out += field(5, tensor) * (dice.number(0, 70) if dice.once_in(20) else 1)
    if dice.once_in(6):
        timeout = field(1, b"timeout") + field(2, field(2, edge(dice)))
        out += field(4, timeout) + field(6, field(1, dice.pick((b"y", b"z"))))
    if raw:
        out += field(7, numbers if not dice.once_in(6) else dice.octets(70))
    return damaged(dice, out) if dice.once_in(4) else out


def body(dice: Dice, method: str) -> bytes:
    """The gRPC message of a call, framed."""
    if "Infer" in method:
        data = infer_message(dice)
    else:
        data = dice.pick((b"", field(1, b"a"), field(1, b"a") + field(2, b"1"), dice.octets(40)))
    flag = 0
    if dice.once_in(5):
        data, flag = gzip.compress(data, 1), 1
    whole = message(data, dice.pick((0, 1, 2, 255)) if dice.once_in(20) else flag)
    return damaged(dice, whole) if dice.once_in(8) else whole


def call(dice: Dice, stream: int) -> bytes:
    """A call of any method: its frames, its body cut anywhere, maybe without an end."""
    method = dice.pick(METHODS)
    more = [dice.pick(MORE) for _ in range(dice.number(0, 2))]
    head = call_headers(SERVICE + method, *more)
    cut = dice.number(0, len(head)) if dice.once_in(8) else len(head)
    out = frame(HEADERS, END_HEADERS if cut == len(head) else 0, stream, head[:cut])
    if cut < len(head):
        out += frame(CONTINUATION, END_HEADERS, stream, head[cut:])
    data = b"".join(body(dice, method) for _ in range(dice.pick((1, 1, 1, 0, 3))))
    at = dice.number(0, len(data)) if dice.once_in(3) else 0
    out += frame(DATA, 0, stream, data[:at]) if at else b""
    return out + frame(DATA, 0 if dice.once_in(8) else END_STREAM, stream, data[at:])


def control(dice: Dice) -> bytes:
    """A frame that carries no call."""
    stream = dice.pick((0, 1, 3, 5, 2, 2**31 - 1))
    number = struct.pack(">I", dice.pick(EDGES) & 2**32 - 1)
    match dice.number(0, 8):
        case 0:
            settings = b"".join(
                struct.pack(">HI", dice.pick(SETTINGS_KEYS), dice.pick(EDGES) & 2**32 - 1)
                for _ in range(dice.number(0, 4))
            )
            return frame(SETTINGS, dice.pick((0, 0, 0, ACK)), 0, settings)
        case 1:
            return frame(PING, dice.pick((0, ACK)), 0, bytes(dice.pick((8, 8, 7))))
        case 2 | 3:
            return frame(WINDOW_UPDATE, 0, stream, number)
        case 4 | 5:
            return frame(RST_STREAM, 0, stream, number)
        case 6:
            return frame(PRIORITY, 0, stream, number + b"\x10")
        case 7:
            return frame(GOAWAY, 0, 0, number + bytes(4))
        case _:
            kind = dice.pick((PUSH_PROMISE, CONTINUATION, 10, 16, 255))
            return frame(kind, dice.number(0, 255), stream, dice.octets(30))


def connection(dice: Dice) -> bytes:
    """All that one peer sends."""
    if dice.once_in(20):
        return dice.octets(300)
    out, stream = PREFACE + frame(SETTINGS, 0, 0), 1
    for _ in range(dice.number(1, 6)):
        if dice.once_in(3):
            out += control(dice)
        else:
            out += call(dice, stream)
            stream += 2
    if not dice.once_in(3):
        return out
    # The preface stays: behind it is more to break.
    return PREFACE + damaged(dice, out[len(PREFACE) :])
