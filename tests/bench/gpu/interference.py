"""How wrong each model of interference is on pairs, and on models, that it was not fitted on.

Beside the constant, on the measured pairs of a profile folder (profiles/README.md, "Interference").
Errors are in % of the measured latency.

  interference.py profiles/cpu-2core profiles/h200
"""

import argparse
from pathlib import Path

import numpy as np
from bed import (
    run_main,
)
from lines import emit

from glet.errors import ConfigError, ProfileError
from glet.profiles.files import device_profile, read_data
from glet.profiles.interference_report import choose, error_report

SEED = 0


def errors_of(folder: Path) -> None:
    """A line per model of interference and way of holding out."""
    data = read_data(folder)
    if not data.pairs:
        raise ConfigError(f"{folder}: has no pairs.csv; glet profile --pairs N measures pairs")
    profile = device_profile(data, str(folder / "latency.csv"))
    try:
        rows = error_report(data.pairs, profile, np.random.default_rng(SEED))
    except ProfileError as error:
        raise ProfileError(f"{folder}: {error}") from error
    chosen = choose(rows)
    constant = {row.held_out: row.mean_pct for row in rows if row.model == "constant"}
    for row in rows:
        emit(
            "interference",
            {"profile": profile.type, "held_out": row.held_out, "model": row.model},
            mean_pct=row.mean_pct,
            p90_pct=row.p90_pct,
            p95_pct=row.p95_pct,
            over_constant=row.mean_pct / constant[row.held_out],
            slowdowns=row.slowdowns,
            pairs=len(data.pairs),
            chosen=row.model == chosen,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    for folder in parser.parse_args().folders:
        errors_of(folder)


if __name__ == "__main__":
    run_main(main)
