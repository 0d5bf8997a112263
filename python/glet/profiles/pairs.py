"""`pairs.csv`: two gpulets of one device measured alone and beside each other."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from glet.profiles.csv_table import (
    BATCH,
    LATENCY_MS,
    SAMPLES,
    SHARE,
    Parse,
    check_once,
    name,
    parse_table,
    read_sized,
    render_table,
    write_text,
)

COLUMNS: dict[str, Parse] = {
    "model_a": name,
    "share_a_pct": SHARE,
    "batch_a": BATCH,
    "model_b": name,
    "share_b_pct": SHARE,
    "batch_b": BATCH,
    "alone_a_ms": LATENCY_MS,
    "beside_a_ms": LATENCY_MS,
    "alone_b_ms": LATENCY_MS,
    "beside_b_ms": LATENCY_MS,
    "samples": SAMPLES,
}
KEY = ("model_a", "share_a_pct", "batch_a", "model_b", "share_b_pct", "batch_b")


class MeasuredPair(msgspec.Struct, frozen=True, kw_only=True):
    """Median latencies of two gpulets' batches, each alone and beside the other.

    `samples` is how many batches of each were timed beside the other.
    """

    model_a: str
    share_a_pct: int
    batch_a: int
    model_b: str
    share_b_pct: int
    batch_b: int
    alone_a_ms: float
    beside_a_ms: float
    alone_b_ms: float
    beside_b_ms: float
    samples: int

    @property
    def slowdown_a(self) -> float:
        """Latency beside the other over latency alone; below 1 where noise made it so."""
        return self.beside_a_ms / self.alone_a_ms

    @property
    def slowdown_b(self) -> float:
        return self.beside_b_ms / self.alone_b_ms


def read_pairs(path: Path) -> tuple[MeasuredPair, ...]:
    """The pairs in a file. Raises ConfigError `file:line: what is wrong; what is valid`."""
    return parse_pairs(read_sized(path), str(path))


def parse_pairs(text: str, where: str) -> tuple[MeasuredPair, ...]:
    """Like read_pairs(), for text; `where` names its origin in errors."""
    rows = parse_table(text, where, COLUMNS)
    check_once(rows, KEY)
    return tuple(MeasuredPair(**row.values) for row in rows)


def render_pairs(pairs: Iterable[MeasuredPair]) -> str:
    """The text that parse_pairs() reads back."""
    return render_table(COLUMNS, (msgspec.structs.astuple(pair) for pair in pairs))


def write_pairs(path: Path, pairs: Iterable[MeasuredPair]) -> None:
    """Writes the file whole or not at all. Raises ConfigError when it cannot be written."""
    write_text(path, render_pairs(pairs))
