"""Where made-up input comes from: hypothesis, which makes a failure smaller, or a seed, faster."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from hypothesis import strategies as st

T = TypeVar("T")


class Dice(Protocol):
    """What generators ask."""

    def number(self, low: int, high: int) -> int:
        """From `low` to `high`, both included."""
        ...

    def octets(self, most: int) -> bytes:
        """Up to `most` bytes of any value."""
        ...

    def pick(self, values: Sequence[T]) -> T: ...

    def once_in(self, times: int) -> bool: ...


class _Picks:
    def number(self, low: int, high: int) -> int:
        raise NotImplementedError

    def pick(self, values: Sequence[T]) -> T:
        return values[self.number(0, len(values) - 1)]

    def once_in(self, times: int) -> bool:
        return self.number(1, times) == times


class SeedDice(_Picks):
    """The same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def number(self, low: int, high: int) -> int:
        return low + int(self._random.random() * (high - low + 1))

    def octets(self, most: int) -> bytes:
        return self._random.bytes(self.number(0, most))


class DrawDice(_Picks):
    """What hypothesis draws."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self._draw = draw

    def number(self, low: int, high: int) -> int:
        return int(self._draw(st.integers(low, high)))

    def octets(self, most: int) -> bytes:
        return bytes(self._draw(st.binary(max_size=most)))


EDGES = (0, 1, 2, 3, 7, 8, 63, 64, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1,
         2**32, 2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip


def edge(dice: Dice) -> int:
    """A number at which something may change, or beside it, or less than nothing."""
    value = dice.pick(EDGES) + dice.number(-1, 1)
    return -value if dice.once_in(6) else value


def damaged(dice: Dice, data: bytes) -> bytes:
    """Some bytes changed, taken out, put in, doubled, or the end cut off."""
    out = bytearray(data)
    for _ in range(dice.number(1, 4)):
        at, size = dice.number(0, len(out)), dice.number(1, 8)
        match dice.number(0, 5):
            case 0 | 1:
                out[at : at + 1] = bytes([dice.number(0, 255)])
            case 2:
                del out[at : at + size]
            case 3:
                out[at:at] = dice.octets(12)
            case 4:
                out[at:at] = out[at : at + 8 * size]
            case _:
                del out[max(at, len(out) // 2) :]
    return bytes(out)


def pieces(dice: Dice, data: bytes) -> list[bytes]:
    """The same bytes, as a network may cut them."""
    cuts = sorted(dice.number(0, len(data)) for _ in range(dice.number(0, 3)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
