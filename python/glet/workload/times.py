"""Files of arrival times: a CSV whose header names models, and under each its times in seconds.

A time is from the start of the run, 0 or more, and never before the one above it. Columns may be of
different lengths: the shorter ones end with empty cells. Empty lines and lines that begin with #
are skipped.
"""

import math
from pathlib import Path

import numpy as np

from glet.errors import ConfigError
from glet.workload.arrivals import TimesS
from glet.workload.trace import check_header, is_number, numbered_lines, read_text

LONGEST_S = 366.0 * 24.0 * 3600.0
"""A year: later times are a mistake of the unit."""


def read_times(path: Path) -> dict[str, TimesS]:
    """Reads such a file; raises ConfigError with file and line."""
    return parse_times(read_text(path), str(path))


def parse_times(text: str, name: str) -> dict[str, TimesS]:
    """Model -> its times in seconds, sorted, shape (requests,). `name` goes into errors."""
    lines = numbered_lines(text)
    if not lines:
        raise ConfigError(f"{name}: holds no times; give a header with the models' names")
    first, header = lines.pop(0)
    if is_number(header.split(",")[0]):
        raise ConfigError(
            f"{name}:{first}: {header[:40]!r} where a header with the models' names is expected"
        )
    models = check_header(first, header, name)
    if not lines:
        raise ConfigError(f"{name}: has a header and no time under it")
    columns: list[list[float]] = [[] for _ in models]
    ended = [0] * len(models)
    for number, line in lines:
        cells = [cell.strip() for cell in line.split(",")]
        where = f"{name}:{number}"
        if len(cells) != len(models):
            raise ConfigError(f"{where}: {len(cells)} cells where {len(models)} are expected")
        for at, (model, cell) in enumerate(zip(models, cells, strict=True)):
            if not cell:
                ended[at] = ended[at] or number
                continue
            if ended[at]:
                raise ConfigError(
                    f"{where}: {model!r} goes on after the empty cell in line {ended[at]}; "
                    "leave cells empty only at a column's end"
                )
            columns[at].append(_time_s(cell, columns[at], f"{where}: {model!r}"))
    return {
        model: np.array(column, dtype=np.float64)
        for model, column in zip(models, columns, strict=True)
    }


def _time_s(cell: str, before: list[float], where: str) -> float:
    value = float(cell) if is_number(cell) else math.nan
    if not 0.0 <= value <= LONGEST_S:
        raise ConfigError(
            f"{where}: {cell[:40]!r} is not a time; give seconds from 0 to {LONGEST_S:.0f}"
        )
    if before and value < before[-1]:
        raise ConfigError(f"{where}: {value:g} s comes after {before[-1]:g} s; sort its times")
    return value
