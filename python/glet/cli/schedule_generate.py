"""`glet-schedule --generate`: tasks files of the published workloads."""

import argparse
import math
import os
import shutil
from pathlib import Path

from glet.errors import ConfigError
from glet.plan import tasks
from glet.plan.problem import Task
from glet.profiles.csv_table import write_text
from glet.workload.scenarios import Workload, combinations, scenario

COMBINATIONS = "combinations"
FORM = "combinations:RATE,RATE,...:MODEL,MODEL,..."


def generate(args: argparse.Namespace) -> int:
    """Writes a tasks file, or for combinations a folder of them, to --output."""
    if args.output is None:
        raise ConfigError("--generate writes a tasks file; say --output FILE")
    kind, _, rest = args.generate.partition(":")
    if kind == COMBINATIONS:
        if args.rate is not None:
            raise ConfigError(f"--rate is for one scenario; valid is {FORM}")
        _write_folder(args.output, _combinations(rest))
        return 0
    if args.rate is None or not (math.isfinite(args.rate) and 0.0 < args.rate < tasks.MOST / 2.0):
        raise ConfigError(
            f"--generate {args.generate} needs --rate RPS, above 0 and below {tasks.MOST / 2.0:g}"
        )
    write_text(args.output, _text(scenario(args.generate, args.rate)))
    print(f"wrote {args.output}")
    return 0


def _combinations(text: str) -> tuple[Workload, ...]:
    rates, colon, models = text.partition(":")
    try:
        rates_rps = [float(rate) for rate in rates.split(",")]
    except ValueError:
        rates_rps = [math.nan]
    if not colon or not all(0.0 <= rate_rps < tasks.MOST for rate_rps in rates_rps):
        raise ConfigError(f"--generate combinations:{text}; valid is {FORM}, rates of 0 or more")
    return combinations(rates_rps, models.split(","))


def _text(workload: Workload) -> str:
    return tasks.render(
        Task(model=wanted.model, rate_rps=wanted.rate_rps, slo_ms=wanted.slo_ms)
        for wanted in workload
    )


def _write_folder(folder: Path, workloads: tuple[Workload, ...]) -> None:
    """`0-config.csv`, `1-config.csv`, ... as the prototype names them: all of them or none."""
    if folder.exists():
        raise ConfigError(f"{folder}: exists already; name a new folder")
    made = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        made.mkdir()
        for number, workload in enumerate(workloads):
            (made / f"{number}-config.csv").write_text(_text(workload), encoding="utf-8")
        made.replace(folder)
    except OSError as error:
        shutil.rmtree(made, ignore_errors=True)
        raise ConfigError(f"{folder}: cannot be written: {error.strerror}") from error
    print(f"wrote {len(workloads)} files to {folder}")
