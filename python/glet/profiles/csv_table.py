"""CSV files with a header: typed columns, and one clear line when the file is wrong."""

import contextlib
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from glet.config.load import QUOTED, nearest, read_text
from glet.errors import ArgumentError, ConfigError

MOST_BATCH = 4096
MOST_MS = 1e9
MOST_MB = 1e9
MOST_SAMPLES = 10**9
# Text of a profile file: far beyond any that is one, well within memory.
MOST_BYTES = 64 * 1024 * 1024

Parse = Callable[[str], Any]
"""Cell -> value. Raises ValueError that says what would be valid."""

_NAME = re.compile(r"[^,\"\x00-\x1f\x7f]{1,128}")
_WHOLE = re.compile(r"[+-]?\d{1,18}")


class Row(NamedTuple):
    """A line of a file: `at` is file:line, `values` by column."""

    at: str
    values: dict[str, Any]


def name(cell: str) -> str:
    """A model's name: what can stand in a cell without quotes."""
    if _NAME.fullmatch(cell) is None or cell != cell.strip():
        raise ValueError("a name of 1 to 128 characters without comma or quotes")
    return cell


def whole(low: int, high: int) -> Parse:
    """A whole number, low..high."""

    def parse(cell: str) -> int:
        if _WHOLE.fullmatch(cell) is None or not low <= int(cell) <= high:
            raise ValueError(f"a whole number, {low}..{high}")
        return int(cell)

    return parse


def number(low: float, high: float, *, above: bool = False) -> Parse:
    """A finite number, low..high; with `above`, more than low."""
    valid = f"a number above {low:g}, at most {high:g}" if above else f"a number, {low:g}..{high:g}"

    def parse(cell: str) -> float:
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        # Not a number compares false with everything.
        if not low <= value <= high or (above and value == low):
            raise ValueError(valid)
        return value

    return parse


SHARE = whole(1, 100)
BATCH = whole(1, MOST_BATCH)
SAMPLES = whole(0, MOST_SAMPLES)
LATENCY_MS = number(0.0, MOST_MS, above=True)
MEMORY_MB = number(0.0, MOST_MB)


def read_table(path: Path, columns: Mapping[str, Parse]) -> list[Row]:
    """The rows of a file whose header names exactly these columns, in any order.

    Raises ConfigError `file:line: what is wrong; what is valid`.
    """
    return parse_table(read_sized(path), str(path), columns)


def read_sized(path: Path) -> str:
    """The text of a file, refused when it is far larger than any profile."""
    try:
        size = path.stat().st_size
    except OSError:
        size = 0
    if size > MOST_BYTES:
        raise ConfigError(f"{path}: has {size} bytes; valid is at most {MOST_BYTES}")
    return read_text(path)


def parse_table(text: str, where: str, columns: Mapping[str, Parse]) -> list[Row]:
    """Like read_table(), for text; `where` names its origin in errors."""
    lines = numbered_lines(text)
    if not lines:
        raise ConfigError(f"{where}: is empty; valid is a header {','.join(columns)}")
    number_of_header, header = lines[0]
    names = cells_of(header)
    _check_header(names, f"{where}:{number_of_header}", columns)
    return [
        Row(f"{where}:{number}", _values(cells_of(line), names, f"{where}:{number}", columns))
        for number, line in lines[1:]
    ]


def numbered_lines(text: str) -> list[tuple[int, str]]:
    """(line number, line) of all that are not blank; a byte order mark is dropped."""
    lines = enumerate(text.removeprefix("\ufeff").split("\n"), start=1)
    return [(number, line) for number, line in lines if line.strip()]


def cells_of(line: str) -> list[str]:
    """The cells of a line, stripped."""
    return [cell.strip() for cell in line.split(",")]


def cell_value(cell: str, column: str, at: str, parse: Parse) -> Any:
    """The value of one cell. Raises ConfigError that names the column."""
    try:
        return parse(cell)
    except ValueError as error:
        raise ConfigError(f"{at}: {column} is {cell[:QUOTED]!r}; valid is {error}") from error


def check_once(rows: Iterable[Row], key: Sequence[str]) -> None:
    """Raises ConfigError for the first row whose key columns were there before."""
    seen: dict[tuple[Any, ...], str] = {}
    for row in rows:
        cells = tuple(row.values[column] for column in key)
        if cells in seen:
            what = ",".join(str(cell) for cell in cells)
            raise ConfigError(f"{row.at}: {what} is there twice; first at {seen[cells]}")
        seen[cells] = row.at


def render_table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """The text that parse_table() reads back; numbers keep all their digits."""
    lines = [",".join(columns), *(",".join(_cell(value) for value in row) for row in rows)]
    return "".join(f"{line}\n" for line in lines)


def write_text(path: Path, text: str) -> None:
    """Puts the text there whole or not at all. Raises ConfigError when it cannot be written."""
    made = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        made.write_text(text, encoding="utf-8")
        made.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            made.unlink()
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error


def _cell(value: object) -> str:
    if isinstance(value, str):
        try:
            return name(value)
        except ValueError as error:
            raise ArgumentError(f"{value!r} cannot be written; valid is {error}") from error
    # 21.0 reads back from 21, and numpy's own numbers print their type.
    number = float(value) if not isinstance(value, int) else value  # type: ignore[arg-type]
    return str(int(number)) if abs(number) < 1e15 and number == int(number) else repr(number)


def _check_header(names: list[str], at: str, columns: Mapping[str, Parse]) -> None:
    valid = f"valid is the header {','.join(columns)}"
    for column in columns:
        if column not in names:
            raise ConfigError(f"{at}: has no column {column!r}; {valid}")
    for column in names:
        if column not in columns:
            raise ConfigError(f"{at}: unknown column {column!r}; {nearest(column, columns)}")
        if names.count(column) > 1:
            raise ConfigError(f"{at}: column {column!r} is there twice; {valid}")


def _values(
    cells: list[str], names: list[str], at: str, columns: Mapping[str, Parse]
) -> dict[str, Any]:
    if len(cells) != len(names):
        raise ConfigError(f"{at}: has {len(cells)} cells; valid are {len(names)}")
    pairs = zip(names, cells, strict=True)
    return {column: cell_value(cell, column, at, columns[column]) for column, cell in pairs}
