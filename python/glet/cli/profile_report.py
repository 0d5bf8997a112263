"""What `glet profile` prints at its end: the points, what did not settle, the interference."""

from collections.abc import Container, Mapping
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from glet.cli.profile_fit import INTERFERENCE, Fit
from glet.cli.table import new_table, number
from glet.profiles.files import MeasuredLatency
from glet.serve.profiler_store import ProfileStore, Spread


def show_points(store: ProfileStore, models: Container[str]) -> None:
    """Every point of these models in the folder, also those of earlier runs."""
    console = Console()
    table = new_table(str(store.folder))
    for heading in ("share %", "batch", "p50 ms", "p99 ms", "samples", "±%", "outliers"):
        table.add_column(heading, justify="right", no_wrap=True)
    points = [(at, spread) for at, spread in store.latencies() if at.model in models]
    before = ""
    for at, spread in points:
        if before and at.model != before:
            table.add_section()
        before = at.model
        _add_point(table, at, spread)
    console.print(table)
    _show_unsteady(points)
    memory = ", ".join(
        f"{name} {memory_mb:.0f}"
        for name, memory_mb in store.memory_mb().items()
        if name in models and memory_mb > 0.0
    )
    if memory:
        print(f"memory in MB beyond that of the process: {memory}")


def _add_point(table: Table, at: MeasuredLatency, spread: Spread | None) -> None:
    known = (
        (f"{spread_pct(at, spread):.1f}{'' if spread.steady else ' !'}", str(spread.outliers))
        if spread is not None
        else ("-", "-")
    )
    latencies = (number(at.p50_ms), number(at.p99_ms))
    table.add_row(at.model, str(at.share_pct), str(at.batch), *latencies, str(at.samples), *known)


def _show_unsteady(points: list[tuple[MeasuredLatency, Spread | None]]) -> None:
    unsteady = [at for at, spread in points if spread is not None and not spread.steady]
    outliers = sum(spread.outliers for _, spread in points if spread is not None)
    samples = sum(at.samples for at, spread in points if spread is not None)
    if unsteady:
        print(
            f"{len(unsteady)} of {len(points)} medians did not settle (marked !): something else "
            "was busy, or --seconds-per-point is too short"
        )
    if outliers:
        print(f"{outliers} of {samples} samples were far outliers; medians do not move with them")


def spread_pct(at: MeasuredLatency, spread: Spread) -> float:
    """How far the 95 % bounds are from the median, in percent of it."""
    far_ms = max(spread.p50_high_ms - at.p50_ms, at.p50_ms - spread.p50_low_ms)
    return 100.0 * far_ms / at.p50_ms


def show_fit(fit: Fit) -> None:
    """The errors of each model of interference on what it was not fitted to."""
    print(f"interference: error on what was held out of {fit.pairs} pairs, % of the latency")
    table = Table(box=SIMPLE_HEAD, padding=0)
    table.add_column("interference", no_wrap=True)
    for heading in ("held out", "mean", "p90", "p95", "slowdowns"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in fit.errors:
        errors = (f"{row.mean_pct:.1f}", f"{row.p90_pct:.1f}", f"{row.p95_pct:.1f}")
        table.add_row(row.model, row.held_out, *errors, str(row.slowdowns))
    Console().print(table)
    print(f"{fit.chosen} is in {fit.folder}/{INTERFERENCE}")


def as_json(store: ProfileStore, fit: Fit | None, failed: Mapping[str, str]) -> dict[str, Any]:
    """The folder's content as one object; `failed`: model -> why it was not measured."""
    return {
        "folder": str(store.folder),
        "run": store.run,
        "points": [
            msgspec.to_builtins(at) | ({"spread": spread} if spread is not None else {})
            for at, spread in store.latencies()
        ],
        "memory_mb": store.memory_mb(),
        "demands": store.demands(),
        "pairs": store.pairs(),
        "interference": fit,
        "failed": dict(failed),
    }
