"""Messages that are nearly right: real ones of which a few parts are not as they should be."""

import copy
from collections.abc import Iterator
from typing import Any

import msgspec
from fuzz_dice import Dice, damaged, edge

Place = tuple[Any, Any]
"""A dict or list, and the key or index in it."""

FLOATS = (float("nan"), float("inf"), float("-inf"), -1.0, 0.0, 1e-300, 1e300, 2.5)
NAMES = ("", "a", "b", "nobody", "\0", "\u2028", "x" * 300, "ipc:///nowhere", "tcp://127.0.0.1:1",
         "tcp://[", "../a", "cpu", "ready", "python", "graph")  # fmt: skip
LONG = 1_000_000
MOST_PLACES = 3000


def nearly(dice: Dice, message: Any, leave: frozenset[str] = frozenset()) -> bytes:
    """The message (as plain objects) in msgpack, with up to three parts wrong.

    What lies under a key in `leave` stays.
    """
    made = copy.deepcopy(message)
    for _ in range(dice.number(1, 3)):
        places = list(_places(made, leave))
        if not places:
            break
        holder, key = dice.pick(places)
        if isinstance(holder, dict) and dice.once_in(8):
            del holder[key]
        else:
            holder[key] = odd(dice, holder[key])
    data = msgspec.msgpack.encode(made)
    return damaged(dice, data) if dice.once_in(12) else data


def odd(dice: Dice, value: Any) -> Any:
    """Something else in its place: mostly of the same type."""
    if dice.once_in(8):
        return dice.pick((None, True, "7", 7, -1, 0.5, [], {}, [[]], b"\xff", [value]))
    match value:
        case bool():
            return not value
        case int():
            return _packable(dice.pick((value + 1, value - 1, edge(dice), edge(dice))))
        case float():
            return dice.pick((*FLOATS, value * 1000.0, _packable(edge(dice))))
        case str():
            return "y" * LONG if dice.once_in(30) else dice.pick(NAMES)
        case bytes():
            return damaged(dice, value)
        case list():
            return _odd_list(dice, value)
        case dict():
            return {**value, dice.pick(NAMES): dice.pick((*value.values(), 1))}
    return _packable(edge(dice))


def _packable(value: int) -> int:
    return max(-(2**63), min(2**64 - 1, value))


def _odd_list(dice: Dice, value: list[Any]) -> list[Any]:
    match dice.number(0, 4):
        case 0:
            return []
        case 1:
            return value[::-1]
        case 2:
            return value + copy.deepcopy(value)
        case 3:
            return copy.deepcopy(value[:1]) * 50
    return value[1:]


def _places(message: Any, leave: frozenset[str]) -> Iterator[Place]:
    waiting = [message]
    for _ in range(MOST_PLACES):
        if not waiting:
            return
        holder = waiting.pop()
        if not isinstance(holder, dict | list):
            continue
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            if key == "op" or key in leave:
                continue
            yield holder, key
            waiting.append(holder[key])
