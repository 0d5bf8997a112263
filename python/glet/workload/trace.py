"""Trace files: requests per interval, as text.

Forms: one number a line, one shape for every model; `1 requests` a line, a second each; CSV with a
header that names models, a column per model. Columns `day` and `minute` of a CSV number its lines
and are no models: their numbers go up by one, without a gap. Empty lines and lines that begin with
# are skipped.
"""

import math
from pathlib import Path

from glet.errors import ConfigError
from glet.workload.arrivals import TraceArrivals

INDEX = ("day", "minute")
ANY_MODEL = ""
"""The name under which a trace without a header is kept."""


def read_trace(path: Path, interval_s: float) -> dict[str, TraceArrivals]:
    """Reads a trace file; raises ConfigError with file and line."""
    return parse_trace(read_text(path), str(path), interval_s)


def read_text(path: Path) -> str:
    """The file's text. Raises ConfigError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not text") from None


def parse_trace(text: str, name: str, interval_s: float) -> dict[str, TraceArrivals]:
    """Model -> its trace, ANY_MODEL where the text has no header. `name` goes into errors."""
    if not (math.isfinite(interval_s) and interval_s > 0.0):
        raise ConfigError(f"{name}: an interval of {interval_s} s; give a number above 0")
    lines = numbered_lines(text)
    if not lines:
        raise ConfigError(f"{name}: holds no interval; give one number of requests a line")
    models = [ANY_MODEL]
    if all(_is_pair(line) for _, line in lines):
        lines = [(number, line.split()[1]) for number, line in lines]
    if not is_number(lines[0][1].split(",")[0]):
        models = check_header(*lines.pop(0), name)
    if not lines:
        raise ConfigError(f"{name}: has a header and no interval under it")
    rows = [_row(number, line, len(models), name) for number, line in lines]
    _check_index(models, [number for number, _ in lines], rows, name)
    return {
        model: TraceArrivals(counts=tuple(column), interval_s=interval_s)
        for model, column in zip(models, zip(*rows, strict=True), strict=True)
        if model not in INDEX
    }


def read_days(path: Path, interval_s: float) -> dict[str, tuple[tuple[float, ...], ...]]:
    """Model -> its counts by day, of a CSV with a column `day`; one day where there is none."""
    text = read_text(path)
    traces = parse_trace(text, str(path), interval_s)
    header = next(line for line in text.splitlines() if line.strip() and line[0] != "#")
    names = [cell.strip() for cell in header.split(",")]
    if "day" not in names:
        return {model: (trace.counts,) for model, trace in traces.items()}
    rows = [line.split(",") for line in text.splitlines() if line.strip() and line[0] != "#"][1:]
    days = [float(row[names.index("day")]) for row in rows]
    starts = [i for i, day in enumerate(days) if i == 0 or days[i - 1] != day]
    ends = [*starts[1:], len(days)]
    if len({end - start for start, end in zip(starts, ends, strict=True)}) > 1:
        raise ConfigError(f"{path}: its days are not equally long; give each the same intervals")
    return {
        model: tuple(trace.counts[a:b] for a, b in zip(starts, ends, strict=True))
        for model, trace in traces.items()
    }


def numbered_lines(text: str) -> list[tuple[int, str]]:
    """(number, line) of every line that is neither empty nor a comment."""
    return [
        (number, line.strip())
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]


def _check_index(models: list[str], numbers: list[int], rows: list[list[float]], name: str) -> None:
    """Raises ConfigError where `minute` does not go up by one within a day."""
    if "minute" not in models:
        return
    minute = models.index("minute")
    day = models.index("day") if "day" in models else None
    for before, row, number in zip(rows, rows[1:], numbers[1:], strict=False):
        wanted = before[minute] + 1.0
        if day is not None and row[day] != before[day]:
            wanted = row[minute]
        if row[minute] != wanted:
            raise ConfigError(
                f"{name}:{number}: minute {row[minute]:g} where {wanted:g} is expected; "
                "give every minute, once, in order"
            )


def check_header(number: int, line: str, name: str) -> list[str]:
    """The models that a header names. Raises ConfigError for one without a name, or named twice."""
    models = [cell.strip() for cell in line.split(",")]
    for model in models:
        if not model or models.count(model) > 1:
            raise ConfigError(
                f"{name}:{number}: the header names {model!r}; give every column a model, once"
            )
    return models


def _row(number: int, line: str, columns: int, name: str) -> list[float]:
    cells = line.split(",")
    if len(cells) != columns:
        raise ConfigError(f"{name}:{number}: {len(cells)} values where {columns} are expected")
    return [_count(cell.strip(), number, name) for cell in cells]


def _count(cell: str, number: int, name: str) -> float:
    if is_number(cell):
        value = float(cell)
        if math.isfinite(value) and value >= 0.0:
            return value
    raise ConfigError(
        f"{name}:{number}: {cell[:40]!r} is not a number of requests; give a number, 0 or more"
    )


def _is_pair(line: str) -> bool:
    cells = line.split()
    return len(cells) == 2 and cells[0] == "1" and is_number(cells[1])


def is_number(cell: str) -> bool:
    """Whether it can be read as a number, also NaN or infinity."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
