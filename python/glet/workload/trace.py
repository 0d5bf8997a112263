"""Trace files: requests per interval, as text.

Two forms. One number a line: one shape for every model. CSV with a header that names models: a
column per model. Empty lines and lines that begin with # are skipped.
"""

import math
from pathlib import Path

from glet.errors import ConfigError
from glet.workload.arrivals import TraceArrivals

ANY_MODEL = ""
"""The name under which a trace without a header is kept."""


def read_trace(path: Path, interval_s: float) -> dict[str, TraceArrivals]:
    """Reads a trace file; raises ConfigError with file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not text") from None
    return parse_trace(text, str(path), interval_s)


def parse_trace(text: str, name: str, interval_s: float) -> dict[str, TraceArrivals]:
    """Model -> its trace, ANY_MODEL where the text has no header. `name` goes into errors."""
    if not (math.isfinite(interval_s) and interval_s > 0.0):
        raise ConfigError(f"{name}: an interval of {interval_s} s; give a number above 0")
    lines = [
        (number, line.strip())
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        raise ConfigError(f"{name}: holds no interval; give one number of requests a line")
    models = [ANY_MODEL]
    if not _is_number(lines[0][1].split(",")[0]):
        models = _header(*lines.pop(0), name)
    if not lines:
        raise ConfigError(f"{name}: has a header and no interval under it")
    rows = [_row(number, line, len(models), name) for number, line in lines]
    return {
        model: TraceArrivals(counts=tuple(column), interval_s=interval_s)
        for model, column in zip(models, zip(*rows, strict=True), strict=True)
    }


def _header(number: int, line: str, name: str) -> list[str]:
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
    if _is_number(cell):
        value = float(cell)
        if math.isfinite(value) and value >= 0.0:
            return value
    raise ConfigError(
        f"{name}:{number}: {cell[:40]!r} is not a number of requests; give a number, 0 or more"
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
