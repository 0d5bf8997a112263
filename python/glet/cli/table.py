"""Tables that several commands show: a load run while it lasts, and its report."""

import math
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

COUNT_COLUMNS = {
    "offered/s": "offered_rps",
    "answered/s": "answered_rps",
    "goodput/s": "goodput_rps",
    "ok": "ok",
    "late": "late",
    "full": "full",
    "failed": "failed",
    "unanswered": "unanswered",
}
TIME_COLUMNS = {
    "p50 ms": "p50_ms",
    "p95 ms": "p95_ms",
    "p99 ms": "p99_ms",
    "SLO ms": "slo_ms",
    "batch": "mean_batch",
}
ONE_TABLE_WIDTH = 150
LIVE_COLUMNS = (
    "offered/s", "answered/s", "goodput/s", "p50 ms", "p99 ms", "batch", "cancelled", "not ok",
)  # fmt: skip
COUNTED = ("sent", "ok", "good", "late", "full", "failed", "unavailable", "cancelled")
PLAIN_EVERY_S = 5.0


def report_tables(report: Mapping[str, Any], width: int) -> list[Table]:
    """A load report (glet.observe.report): one table, or two where `width` columns are few."""
    emulated = ", emulated" if report["emulated"] else ""
    title = f"{report['seconds']:g} s on {report['device']}{emulated}"
    counts, times = dict(COUNT_COLUMNS), dict(TIME_COLUMNS)
    if any(model.get("cancelled") for model in report["models"].values()):
        counts["cancelled"] = "cancelled"
    if any(model.get("accuracy") is not None for model in report["models"].values()):
        times["accuracy"] = "accuracy"
    if width >= ONE_TABLE_WIDTH:
        return [_report_table(report, title, counts | times)]
    return [_report_table(report, title, counts), _report_table(report, "", times)]


def _report_table(report: Mapping[str, Any], title: str, columns: Mapping[str, str]) -> Table:
    table = new_table(title)
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, model in report["models"].items():
        table.add_row(name, *(number(model.get(field)) for field in columns.values()))
    return table


def new_table(title: str) -> Table:
    """A table with the column that names models."""
    table = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, padding=0)
    table.add_column("model", no_wrap=True)
    return table


def number(value: float | None) -> str:
    """Three digits that mean something; `-` for what does not exist."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, int):
        return str(value)
    if abs(value) >= 100.0:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10.0 else f"{value:.2f}"


class LiveLoad:
    """What a load run does right now, per model: a table where there is a terminal, else lines.

    Call update() about twice a second with the load loop's progress; times come from the caller.
    """

    def __init__(self, names: Sequence[str], console: Console) -> None:
        self._names = names
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._before: list[dict[str, Any]] = [dict.fromkeys(COUNTED, 0) for _ in names]
        self._before_s: float | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def due(self, elapsed_s: float) -> bool:
        """False while it is too early for another line."""
        wait_s = 0.0 if self._console.is_terminal else PLAIN_EVERY_S
        return elapsed_s - (self._before_s or 0.0) >= wait_s

    def update(self, elapsed_s: float, progress: Sequence[Mapping[str, Any]]) -> None:
        """Shows the rates since the previous call; `elapsed_s` counts from the run's start."""
        span_s = elapsed_s - (self._before_s or 0.0)
        if span_s <= 0.0:
            return
        rows = [
            live_row(now, before, span_s)
            for now, before in zip(progress, self._before, strict=True)
        ]
        if self._console.is_terminal:
            self._live.update(self._table(elapsed_s, rows), refresh=True)
        else:
            for name, row in zip(self._names, rows, strict=True):
                cells = " ".join(f"{c}={v}" for c, v in zip(LIVE_COLUMNS, row, strict=True))
                self._console.print(f"{elapsed_s:.0f}s {name} {cells}", soft_wrap=True)
        self._before = [dict(now) for now in progress]
        self._before_s = elapsed_s

    def _table(self, elapsed_s: float, rows: Sequence[Sequence[str]]) -> Table:
        table = new_table(f"sending for {elapsed_s:.0f} s")
        for title in LIVE_COLUMNS:
            table.add_column(title, justify="right")
        for name, row in zip(self._names, rows, strict=True):
            table.add_row(name, *row)
        return table


def live_row(now: Mapping[str, Any], before: Mapping[str, Any], span_s: float) -> list[str]:
    """The cells of one model, in the order of LIVE_COLUMNS."""
    new = {name: now[name] - before[name] for name in COUNTED}
    not_ok = new["late"] + new["full"] + new["failed"] + new["unavailable"]
    rates = (new["sent"], new["ok"] + not_ok + new["cancelled"], new["good"])
    cells = [number(count / span_s) for count in rates]
    cells += [number(now[field]) for field in ("p50_ms", "p99_ms", "mean_batch")]
    return [*cells, number(new["cancelled"]), number(not_ok)]
