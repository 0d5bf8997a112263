"""One JSON line per result, like the benchmarks one folder up, and tables of them."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from result import ROOT, emit
from rig import load_average
from tables import cell, markdown

__all__ = ["ROOT", "Line", "cell", "emit", "load_average", "markdown", "read_lines", "say"]

Line = dict[str, Any]


def read_lines(files: Iterable[Path]) -> list[Line]:
    """The results in these files; other lines are passed over. The last of equal results counts."""
    found: dict[str, Line] = {}
    for file in files:
        for text in file.read_text(encoding="utf-8").splitlines():
            if text.startswith("{"):
                line = json.loads(text)
                found[json.dumps([line["bench"], line["params"]], sort_keys=True)] = line
    return list(found.values())


def say(text: str) -> None:
    """Progress, beside the results."""
    print(text, file=sys.stderr, flush=True)
