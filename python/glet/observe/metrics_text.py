"""Metric families as text that Prometheus scrapes: its exposition format, version 0.0.4."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Kind = Literal["counter", "gauge", "histogram", "untyped"]
NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


class Sample(NamedTuple):
    """One line: `suffix` goes behind the family's name, labels in the order they were given."""

    suffix: str
    labels: tuple[tuple[str, str], ...]
    value: float


class Family:
    """All samples of one metric. Without any it does not show."""

    def __init__(self, name: str, kind: Kind, says: str) -> None:
        """`says` is the help text. Raises ValueError when the name is none of Prometheus's."""
        if not NAME.fullmatch(name):
            raise ValueError(f"metric name {name!r}: letters, digits, _ and : are valid")
        self.name = name
        self.kind = kind
        self.says = says
        self.samples: list[Sample] = []

    def add(self, value: float, **labels: str) -> None:
        """A sample of a counter or a gauge."""
        self.samples.append(Sample("", tuple(labels.items()), value))

    def add_histogram(
        self,
        bounds: Sequence[float],
        filled: Iterable[tuple[float, int]],
        total: float,
        **labels: str,
    ) -> None:
        """`filled` are (upper end, count), and each counts where its end falls; `total` is the sum.

        So a value may be counted one bound late: those of csrc/glet/batch/stats.h end at most 1/16
        above what they hold.
        """
        of = tuple(labels.items())
        buckets = list(filled)
        for bound in bounds:
            within = sum(count for upper, count in buckets if upper <= bound)
            self.samples.append(Sample("_bucket", (*of, ("le", number(bound))), within))
        count = sum(count for _, count in buckets)
        self.samples.append(Sample("_bucket", (*of, ("le", "+Inf")), count))
        self.samples.append(Sample("_sum", of, total))
        self.samples.append(Sample("_count", of, count))


def render(families: Iterable[Family]) -> str:
    """The text; families without samples are left out. Raises ValueError for a name used twice."""
    lines: list[str] = []
    seen: set[str] = set()
    for family in families:
        if family.name in seen:
            raise ValueError(f"metric {family.name} is there twice")
        seen.add(family.name)
        if not family.samples:
            continue
        lines.append(f"# HELP {family.name} {_escaped_help(family.says)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for suffix, labels, value in family.samples:
            lines.append(f"{family.name}{suffix}{_labels(labels)} {number(value)}")
    return "\n".join(lines) + "\n" if lines else ""


def number(value: float) -> str:
    """Shortest text that reads back as the same number."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    whole = int(value)
    return str(whole) if whole == value and abs(whole) < 2**63 else repr(float(value))


def by_name(families: Iterable[Family]) -> Mapping[str, Family]:
    """To look one up."""
    return {family.name: family for family in families}


def _labels(labels: Sequence[tuple[str, str]]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _escaped_help(says: str) -> str:
    return says.replace("\\", "\\\\").replace("\n", "\\n")
