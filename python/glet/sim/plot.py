"""Pictures of simulated runs with matplotlib (extra `plot`), which is imported only here."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from glet.errors import ConfigError
from glet.sim.metrics import violation_by_interval
from glet.sim.run import Result

SUFFIXES = (".png", ".svg", ".pdf")


def check_plot(path: Path) -> None:
    """Raises ConfigError, before anything is simulated, where the picture could not be drawn."""
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path}: cannot draw that; name a file of {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}")
    try:
        import_module("matplotlib")
    except ImportError:
        raise ConfigError("--plot needs matplotlib; pip install 'glet[plot]'") from None


def plot(results: Sequence[Result], interval_s: float, path: Path) -> None:
    """Violations and replicas over time, a line per policy (its first run), and bars over all.

    Bars are means over runs, with the standard deviation where there are several.
    """
    matplotlib = import_module("matplotlib")
    matplotlib.use("Agg")
    figures = import_module("matplotlib.figure")
    figure = figures.Figure(figsize=(11, 9), layout="constrained")
    timeline, held, violations, lost = figure.subplots(4, 1, height_ratios=(2, 2, 1.5, 1.5))
    first: dict[str, Result] = {}
    for result in results:
        first.setdefault(label(result), result)
    for name, result in first.items():
        violated = violation_by_interval(result.jobs)
        minutes = np.arange(len(violated)) * interval_s / 60.0
        timeline.plot(minutes, 100.0 * violated, label=name, linewidth=0.9)
        units = _units(result, interval_s)
        held.plot(np.arange(len(units)) * interval_s / 60.0, units, label=name, linewidth=0.9)
    timeline.set_ylabel("violations, %")
    timeline.legend(fontsize="small", ncols=4)
    held.set_ylabel("units wanted")
    held.set_xlabel("minutes")
    bars(violations, results, "cluster_violation", "cluster violation")
    bars(lost, results, "lost_utility", "lost utility")
    figure.savefig(path)


def label(result: Result) -> str:
    """The policy, and the size where runs have one of their own."""
    return f"{result.run.policy} {result.run.size}" if result.run.size else result.run.policy


def bars(axes: Any, results: Sequence[Result], field: str, title: str) -> None:
    """One bar per policy and size."""
    values: dict[str, list[float]] = {}
    for result in results:
        values.setdefault(label(result), []).append(float(result.report[field]))
    means = [float(np.mean(found)) for found in values.values()]
    spread = [float(np.std(found)) for found in values.values()]
    axes.bar(list(values), means, yerr=spread, capsize=3)
    axes.set_ylabel(title)
    axes.tick_params(axis="x", labelrotation=20)


def _units(result: Result, interval_s: float) -> Any:
    columns: Mapping[str, Any] = {name: job.ledger["unit_s"] for name, job in result.jobs.items()}
    longest = max(len(column) for column in columns.values())
    total = np.zeros(longest)
    for column in columns.values():
        total[: len(column)] += column
    return total / interval_s
