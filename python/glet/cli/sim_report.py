"""What `glet sim` prints and writes: tables, and every interval as CSV."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy.stats import t

from glet.cli.table import new_table, number
from glet.errors import ConfigError
from glet.sim.metrics import effective_utility, utility
from glet.sim.run import Result

MEASURES = {
    "request violation": "request_violation",
    "cluster violation": "cluster_violation",
    "lost utility": "lost_utility",
    "lost effective": "lost_effective_utility",
    "used replicas": "used_replicas",
}
JOB_COLUMNS = {
    "requests": "requests",
    "refused": "refused",
    "violation": "violation",
    "mean ms": "mean_ms",
    "longest ms": "longest_ms",
    "SLO ms": "slo_ms",
    "lost utility": "lost_utility",
    "replicas": "used_replicas",
}
CSV_COLUMNS = (
    "offered",
    "within",
    "answered",
    "refused",
    "p50_ms",
    "p90_ms",
    "p95_ms",
    "p99_ms",
    "objective_ms",
    "unit_s",
)


def policy_table(results: Sequence[Result], *, rewarded: bool) -> Table:
    """A row per policy and size: means over seeds, with the half width of 95 % confidence."""
    columns = MEASURES | ({"reward": "reward"} if rewarded else {})
    table = Table(box=SIMPLE_HEAD, padding=0)
    table.add_column("policy", no_wrap=True)
    for name in ("size", "seeds", *columns, "requests/s"):
        table.add_column(name, justify="right", no_wrap=True)
    groups: dict[tuple[str, int], list[Result]] = {}
    for result in results:
        groups.setdefault((result.run.policy, int(result.report["size"])), []).append(result)
    for (policy, size), found in groups.items():
        cells = [spread([float(one.report[field]) for one in found]) for field in columns.values()]
        speed = np.mean([one.report["requests"] / one.report["wall_s"] for one in found])
        table.add_row(policy, str(size), str(len(found)), *cells, f"{speed:,.0f}")
    return table


def spread(values: Sequence[float], digits: int = 4) -> str:
    """`mean` or `mean +- half width` of the 95 % confidence interval (Student's t)."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.{digits}f}"
    half = float(t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1))
    return f"{mean:.{digits}f} +-{half / math.sqrt(len(values)):.{digits}f}"


def job_table(result: Result) -> Table:
    """A row per job of one run."""
    report = result.report
    title = f"{report['policy']}, seed {report['seed']}: {report['seconds_simulated']:g} s"
    table = new_table(title)
    for heading in JOB_COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, job in report["jobs"].items():
        table.add_row(name, *(number(job[field]) for field in JOB_COLUMNS.values()))
    return table


def write_csv(path: Path, results: Sequence[Result], interval_s: float) -> None:
    """Every interval of every job of every run. Raises ConfigError where it cannot be written."""
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(
                ("policy", "size", "seed", "job", "start_s", *CSV_COLUMNS, "utility", "effective")
            )
            for result in results:
                _write_run(writer, result, interval_s)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


def _write_run(writer: Any, result: Result, interval_s: float) -> None:
    start = (result.run.policy, result.report["size"], result.run.seed)
    for name, job in result.jobs.items():
        columns = [job.ledger[column] for column in CSV_COLUMNS]
        columns += [utility(job, idle=1.0), effective_utility(job, idle=1.0)]
        for index, row in enumerate(zip(*columns, strict=True)):
            cells = (f"{value:.10g}" if math.isfinite(value) else str(value) for value in row)
            writer.writerow((*start, name, index * interval_s, *cells))
