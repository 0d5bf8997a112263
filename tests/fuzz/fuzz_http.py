"""HTTP/1.1 as a client may send it: by the grammar, then damaged, or no HTTP at all."""

import gzip
import json
from typing import Any

from fuzz_dice import EDGES, Dice, damaged, edge

GET_PATHS = (
    "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models", "/v2/models/a", "/metrics",
    "/v2/models/a/ready", "/v2/models/a/config", "/v2/models/a/stats", "/v2/models/a/versions/1",
    "/v2/models/nobody", "/v2/models/stats", "/v2/logging", "/v2/trace/setting", "/dashboard",
    "/v2/systemsharedmemory/status", "/v2/cudasharedmemory/status", "/glet/state.json?after=1",
    "/v2/models/a/trace/setting", "/openapi.json", "/v2/models/%61/ready", "/v2/models//ready",
    "/nowhere", "*", "http://here/v2", "/v2/models/%zz", "/v2/models/" + "m" * 300,
)  # fmt: skip
POST_PATHS = (
    "/v2/models/a/infer", "/v2/models/a/infer", "/v2/models/a/infer", "/v2/models/a/infer",
    "/v2/models/a/versions/1/infer", "/v2/models/a/versions/9/infer", "/v2/models/nobody/infer",
    "/v2/repository/index", "/v2/logging", "/v2/trace/setting", "/v2/models/a/trace/setting",
    "/v2/systemsharedmemory/region/r/register", "/v2/systemsharedmemory/region/r/unregister",
    "/v2/systemsharedmemory/unregister", "/v2/cudasharedmemory/region/r/register",
    "/v2/repository/models/nobody/load", "/glet/models/a/unload",
)  # fmt: skip
DATATYPES = ("FP32", "FP32", "FP32", "FP16", "BF16", "INT64", "UINT8", "BOOL", "BYTES", "FP99", "")
HEADERS = (
    ("Accept-Encoding", "gzip, deflate;q=0.5"), ("Expect", "100-continue"), ("Expect", "tea"),
    ("Connection", "close"), ("Connection", "keep-alive"), ("Content-Encoding", "gzip"),
    ("Content-Encoding", "deflate"), ("Transfer-Encoding", "chunked"), ("Content-Length", "7"),
    ("Content-Length", "-1"), ("Content-Length", "99999999999999999999"), ("Host", "again"),
    ("Inference-Header-Content-Length", "3"), ("Inference-Header-Content-Length", "-1"),
    ("Inference-Header-Content-Length", "99999999999"), ("traceparent", "00-" + "a" * 52),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("Authorization", "Bearer \xff"), ("X" * 200, "y"), ("x", "y" * 5000), ("a b", "c"),
)  # fmt: skip


def json_value(dice: Dice, depth: int = 3) -> Any:
    """Anything that JSON has."""
    kind = dice.number(0, 9 if depth else 6)
    if kind <= 2:
        return dice.pick((None, True, False, "", "x", "FP32", "\u0000", "\ud83d\ude00", "y" * 300))
    if kind <= 4:
        return edge(dice)
    if kind <= 6:
        return dice.pick((0.5, -0.0, 1e308, 5e-324, 3.4e39))
    if kind <= 8:
        return [json_value(dice, depth - 1) for _ in range(dice.number(0, 4))]
    keys = ("name", "shape", "data", "parameters", "config", "k")
    return {dice.pick(keys): json_value(dice, depth - 1) for _ in range(dice.number(0, 4))}


def infer_body(dice: Dice) -> dict[str, Any]:
    """An inference that `a` answers, with up to two things that are not as they should be."""
    items = dice.number(1, 3)
    tensor: dict[str, Any] = {
        "name": "x", "datatype": "FP32", "shape": [items, 4], "data": [1.5, 2, -3, 0] * items,
    }  # fmt: skip
    body: dict[str, Any] = {"id": "7", "inputs": [tensor], "outputs": [{"name": "y"}]}
    for _ in range(dice.number(0, 2)):
        match dice.number(0, 7):
            case 0:
                tensor["datatype"] = dice.pick(DATATYPES)
            case 1:
                tensor["shape"] = [edge(dice) for _ in range(dice.number(0, 5))]
            case 2:
                tensor["data"] = json_value(dice)
            case 3:
                tensor["parameters"] = {
                    dice.pick(("binary_data_size", "shared_memory_region", "x")): json_value(dice),
                    "shared_memory_byte_size": edge(dice),
                    "shared_memory_offset": edge(dice),
                }
            case 4:
                key = dice.pick(("classification", "binary_data", "shared_memory_region"))
                body["outputs"] = [{"name": dice.pick("yz"), "parameters": {key: edge(dice)}}]
            case 5:
                body["parameters"] = {dice.pick(("timeout", "priority", "q")): json_value(dice)}
            case 6:
                body["inputs"] = [tensor] * dice.number(0, 70)
            case _:
                body[dice.pick(("inputs", "outputs", "id", "extra"))] = json_value(dice)
    return body


def json_text(dice: Dice) -> bytes:
    """A body: an inference, other JSON, deep or long JSON, or nearly JSON."""
    match dice.number(0, 9):
        case 0:
            return json.dumps(json_value(dice)).encode()
        case 1:
            depth = dice.pick((5, 70, 1000, 100_000))
            return dice.pick((b"[", b'{"a":', b'{"inputs":[{"data":[')) * (depth // 5)
        case 2:
            number = dice.pick(
                (b"1" * 400, b"-", b"1e999", b"0x1", b"01", b"1." + b"0" * 400, b"NaN")
            )
            return b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[%s]}]}' % number
        case 3:
            return damaged(dice, json.dumps(infer_body(dice)).encode())
        case _:
            return json.dumps(infer_body(dice)).encode()


def request(dice: Dice) -> bytes:
    """One request by the grammar: chunked, compressed or as it is."""
    posts = not dice.once_in(3)
    method = (
        dice.pick(("POST", "POST", "POST", "GET")) if posts else dice.pick(("GET", "HEAD", "PUT"))
    )
    path = dice.pick(POST_PATHS if posts else GET_PATHS)
    body = json_text(dice) if posts or dice.once_in(4) else b""
    lines = [f"{method} {path} HTTP/1.{dice.pick('1110')}", "Host: here"]
    if dice.once_in(5):
        lines.append("Content-Encoding: gzip")
        body = gzip.compress(body, 1)
        body = damaged(dice, body) if dice.once_in(3) else body
    for _ in range(dice.number(0, 2)):
        lines.append(": ".join(dice.pick(HEADERS)))
    if dice.once_in(40):
        lines += [f"h{i}: v" for i in range(dice.pick((90, 200, 5000)))]
    if dice.once_in(4):
        lines.append("Transfer-Encoding: chunked")
        body = chunked(dice, body)
    elif body or posts:
        lines.append(f"Content-Length: {edge(dice) if dice.once_in(12) else len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(dice: Dice, body: bytes) -> bytes:
    """As chunks, with what may be beside them."""
    size = dice.pick((1, 3, 100, 4096))
    out = b""
    for at in range(0, min(len(body), 1000 * size), size):
        part = body[at : at + size]
        length = dice.pick(EDGES) if dice.once_in(200) else len(part)
        more = b";" + b"e" * dice.pick((1, 200, 300)) if dice.once_in(30) else b""
        out += b"%x%s\r\n%s\r\n" % (length, more, part)
    return out + b"0\r\n" + (b"trailer: x\r\n" if dice.once_in(8) else b"") + b"\r\n"


def connection(dice: Dice) -> bytes:
    """All that one client sends: some requests behind each other, maybe damaged, or noise."""
    if dice.once_in(10):
        return dice.octets(300)
    data = b"".join(request(dice) for _ in range(dice.pick((1, 1, 2, 5))))
    return damaged(dice, data) if dice.once_in(2) else data
