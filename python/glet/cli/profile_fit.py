"""Interference from a profile's measured pairs: the models' errors, and the best one's numbers."""

from pathlib import Path

import msgspec
import numpy as np

from glet.errors import ConfigError, ProfileError
from glet.profiles.files import LATENCY, PAIRS, ProfileData, device_profile, read_data
from glet.profiles.interference_files import Numbers, write_numbers
from glet.profiles.interference_fit import FITS
from glet.profiles.interference_report import ErrorRow, choose, error_report

INTERFERENCE = "interference.toml"
SEED = 0


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the pairs: errors of every model, and which one was written down."""

    folder: str
    pairs: int
    chosen: str
    numbers: Numbers
    errors: tuple[ErrorRow, ...]


def fit_folder(folder: Path) -> Fit:
    """Fits again. Raises ConfigError, and ProfileError when there are too few pairs."""
    return fit_pairs(folder, read_data(folder))


def fit_pairs(folder: Path, data: ProfileData) -> Fit:
    """Writes `interference.toml` beside the data.

    Raises ProfileError for too few pairs, ConfigError when it cannot be written.
    """
    if not data.pairs:
        raise ProfileError(f"{folder}: has no {PAIRS}; glet profile --pairs N measures pairs")
    profile = device_profile(data, str(folder / LATENCY))
    try:
        errors = error_report(data.pairs, profile, np.random.default_rng(SEED))
    except ProfileError as error:
        raise ProfileError(f"{folder / PAIRS}: {error}") from error
    chosen = choose(errors)
    # Held out no more: the numbers that are used come from all pairs.
    numbers = FITS[chosen](data.pairs, profile)
    comments = [f"fitted to the {len(data.pairs)} pairs of {PAIRS} by glet profile"]
    comments += [line_of(row) for row in errors]
    try:
        write_numbers(folder / INTERFERENCE, numbers, comments)
    except OSError as error:
        where = folder / INTERFERENCE
        raise ConfigError(f"{where}: cannot be written: {error.strerror}") from error
    return Fit(
        folder=str(folder),
        pairs=len(data.pairs),
        chosen=chosen,
        numbers=numbers,
        errors=errors,
    )


def line_of(row: ErrorRow) -> str:
    """A row of the report as a sentence."""
    return (
        f"{row.model} on held-out {row.held_out}: error {row.mean_pct:.1f} % on average, "
        f"p90 {row.p90_pct:.1f} %, p95 {row.p95_pct:.1f} %, of {row.slowdowns} slowdowns"
    )
