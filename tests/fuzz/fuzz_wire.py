"""Messages of glet's own wire: clients', those of the data plane, those of control."""

import struct
from typing import Any, get_args

import msgspec
from fuzz_dice import EDGES, Dice, damaged, edge
from msgspec import inspect

from glet.wire.messages import (
    BackendToFrontend,
    ControllerToFrontend,
    ExecutorToBackend,
    FrontendToBackend,
    FrontendToController,
)

OPS = (
    "infer",
    "infer",
    "infer",
    "infer",
    "hello",
    "cancel",
    "models",
    "stats",
    "observation",
    "no",
)
DTYPES = ("float32", "float32", "float32", "bytes", "int64", "bool", "bfloat16", "x", "")
CHANNELS: dict[str, Any] = {
    "backend": FrontendToBackend,
    "executors": ExecutorToBackend,
    "controller": FrontendToController,
    "frontend": BackendToFrontend | ControllerToFrontend,
}
"""What is sent to each kind of socket; the last nobody listens to, and it must not matter."""

HELLO = [msgspec.msgpack.encode({"op": "hello", "version": 1, "role": "client"})]
DATA_HELLO = [struct.pack("<BBH4s", 0, 1, 1, b"GLET")]


def anything(dice: Dice, depth: int = 3) -> Any:
    """Whatever msgpack has."""
    kind = dice.number(0, 9 if depth else 6)
    if kind <= 2:
        return max(-(2**63), min(2**64 - 1, edge(dice)))
    if kind <= 4:
        return dice.pick((None, True, "", "x", "float32", b"\xff", 0.5, float("nan"), float("inf")))
    if kind <= 6:
        return "y" * dice.pick((1, 40, 300))
    if kind <= 8:
        return [anything(dice, depth - 1) for _ in range(dice.number(0, 4))]
    return {dice.pick(("op", "id", "k")): anything(dice, depth - 1) for _ in range(3)}


def client_message(dice: Dice) -> list[bytes]:
    """A header and its tensors, as a client sends them, with what may be wrong in it."""
    op = dice.pick(OPS)
    header: dict[str, Any] = {"op": op, "id": dice.number(0, 50), "version": 1, "role": "client"}
    frames: list[bytes] = []
    if op == "infer":
        header |= {
            "model": dice.pick(("a", "a", "a", "b", "no")),
            "inputs": [["x", "float32", [4]]],
        }
        frames = [struct.pack("<4f", 1, 2, 3, 4)]
    for _ in range(dice.pick((0, 0, 1, 2))):
        match dice.number(0, 5):
            case 0:
                header["inputs"] = [[dice.pick("xy"), dice.pick(DTYPES), anything(dice)]]
            case 1:
                header["inputs"] = [["x", "float32", [edge(dice) & 2**63 - 1]]] * dice.number(0, 70)
            case 2:
                header[dice.pick(("deadline_ms", "traceparent", "id", "model"))] = anything(dice)
            case 3:
                frames = [dice.octets(40) for _ in range(dice.pick((0, 1, 2, 64, 65, 200)))]
            case 4:
                header = {key: value for key, value in header.items() if not dice.once_in(3)}
            case _:
                header[dice.pick(("op", "inputs", "extra", "version"))] = anything(dice)
    head = msgspec.msgpack.encode(header)
    return [damaged(dice, head) if dice.once_in(4) else head, *frames]


def data_message(dice: Dice) -> list[bytes]:
    """A struct of the data plane, as an executor's socket takes it."""
    gpulet, model = dice.pick((0, 1, 2, -1, 2**31 - 1)), dice.pick((0, 1, 2, 7, -(2**31)))
    tag, budget_ns = dice.pick(EDGES) & 2**64 - 1, edge(dice)
    budget_ns = max(-(2**63), min(2**63 - 1, budget_ns))
    head = dice.pick((
        struct.pack("<BBH4s", 0, dice.pick((0, 1, 2)), dice.pick((1, 1, 2)), b"GLET"),
        struct.pack("<B3xii4xQq", 1, gpulet, model, tag, budget_ns),
        struct.pack("<B3xii4xQq", 1, gpulet, model, tag, 10**10),
        struct.pack("<BBHIQqqq", 2, dice.number(0, 255), 0, 3, tag, 1, 0, budget_ns),
        struct.pack("<B7xQ", dice.pick((3, 4, 5)), tag),
        dice.octets(50),
    ))  # fmt: skip
    sizes = dice.pick(((16,), (16,), (), (15,), (0,), (16, 16), (4,) * 70))
    frames = [bytes(size) for size in sizes]
    return [damaged(dice, head) if dice.once_in(4) else head, *frames]


def control_message(dice: Dice, channel: str) -> list[bytes]:
    """A message of that channel, any of its kinds with any values, maybe damaged."""
    kind = dice.pick(get_args(CHANNELS[channel]))
    value = _value(dice, inspect.type_info(kind), 0)
    if value["op"] == "hello" and channel != "executors":
        value["version"] = 0  # never one of those that may say what is planned
    data = msgspec.msgpack.encode(value)
    if dice.once_in(4):
        data = damaged(dice, data)
    return [data] * (1 if not dice.once_in(20) else dice.pick((0, 2, 3))) or [b""]


def _value(dice: Dice, kind: inspect.Type, depth: int) -> Any:
    """A value that `kind` takes; of a number any that msgpack has, now and then."""
    most = 3 if depth < 6 else 0
    match kind:
        case inspect.StructType():
            return _struct(dice, kind, depth)
        case inspect.UnionType():
            return _value(dice, dice.pick(kind.types), depth)
        case inspect.VarTupleType() | inspect.ListType():
            return [_value(dice, kind.item_type, depth + 1) for _ in range(dice.number(0, most))]
        case inspect.TupleType():
            return [_value(dice, item, depth + 1) for item in kind.item_types]
        case inspect.DictType():
            return {
                _value(dice, kind.key_type, depth): _value(dice, kind.value_type, depth + 1)
                for _ in range(dice.number(0, 2))
            }
        case _:
            return _plain(dice, kind)


def _struct(dice: Dice, kind: inspect.StructType, depth: int) -> dict[str, Any]:
    tag = {kind.tag_field: kind.tag} if kind.tag_field else {}
    return tag | {
        field.encode_name: _value(dice, field.type, depth + 1)
        for field in kind.fields
        if field.required or dice.once_in(2)
    }


def _plain(dice: Dice, kind: inspect.Type) -> Any:
    match kind:
        case inspect.LiteralType():
            return dice.pick(kind.values)
        case inspect.BoolType():
            return dice.once_in(2)
        case inspect.IntType():
            if kind.ge is not None or kind.le is not None or dice.once_in(2):
                return dice.number(kind.ge or 0, kind.le if kind.le is not None else 8)
            return max(-(2**63), min(2**63 - 1, edge(dice)))
        case inspect.FloatType():
            return dice.pick((0.0, 1.0, 2.5, 50.0, -1.0, 1e308, float("inf"), float("nan")))
        case inspect.StrType():
            return dice.pick(("", "a", "b", "cpu", "x" * 300, "\u2028", "tcp://127.0.0.1:1"))
        case inspect.NoneType():
            return None
        case _:
            return anything(dice)
