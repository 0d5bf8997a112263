"""Interference as numbers in files: our `interference.toml`, the published INT_MODEL_CONSTANT.CSV.

A toml has `kind` and the numbers of that kind; what tenants demand is in the profile beside it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import msgspec

from glet.config.load import load
from glet.config.model import quoted
from glet.errors import ArgumentError, ConfigError
from glet.profiles.csv_table import number, read_table, write_text
from glet.profiles.device_profile import DeviceProfile
from glet.profiles.interference import (
    MOST_COEFFICIENT,
    BandwidthInterference,
    ConstantInterference,
    Interference,
    LinearInterference,
    NoInterference,
    demands_of,
    draws_of,
)

COLUMNS = ("l2_util_m1", "l2_util_m2", "dram_util_m1", "dram_util_m2", "constant")
COEFFICIENT = number(-MOST_COEFFICIENT, MOST_COEFFICIENT)

Constants = tuple[float, float, float, float, float]
"""c1 to c5 of the published model: L2 of the victim, of the neighbour, DRAM likewise, constant."""


class _Numbers(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """What a file has of one kind."""


class NoNumbers(_Numbers, frozen=True, tag="none"):
    """For NoInterference."""


class ConstantNumbers(_Numbers, frozen=True, kw_only=True, tag="constant"):
    """For ConstantInterference."""

    factor: float


class LinearNumbers(_Numbers, frozen=True, kw_only=True, tag="linear"):
    """For LinearInterference: c1 to c5 by what they multiply."""

    l2_victim: float
    l2_neighbour: float
    dram_victim: float
    dram_neighbour: float
    constant: float

    @property
    def constants(self) -> Constants:
        return (
            self.l2_victim,
            self.l2_neighbour,
            self.dram_victim,
            self.dram_neighbour,
            self.constant,
        )


class BandwidthNumbers(_Numbers, frozen=True, kw_only=True, tag="bandwidth"):
    """For BandwidthInterference; `sensitivities` by model, `sensitivity` for all others."""

    capacity: float
    sensitivity: float
    sensitivities: dict[str, float] = {}


Numbers = NoNumbers | ConstantNumbers | LinearNumbers | BandwidthNumbers


def make_interference(numbers: Numbers, profile: DeviceProfile) -> Interference:
    """The model of these numbers. Raises ArgumentError for a number out of bounds."""
    match numbers:
        case NoNumbers():
            return NoInterference()
        case ConstantNumbers():
            return ConstantInterference(numbers.factor)
        case LinearNumbers():
            return LinearInterference(numbers.constants, demands_of(profile))
        case BandwidthNumbers():
            return BandwidthInterference(
                numbers.capacity, numbers.sensitivity, draws_of(profile), numbers.sensitivities
            )


def linear_from_gpulet(constants: Constants, profile: DeviceProfile) -> LinearInterference:
    """The published model on a profile with `UTIL.CSV`'s demands."""
    return LinearInterference(constants, demands_of(profile))


def read_numbers(path: Path) -> Numbers:
    """The content of an `interference.toml`. Raises ConfigError with file and field."""
    numbers = load(path, cast(type[Numbers], Numbers))
    try:
        make_interference(numbers, DeviceProfile("", {}, memory_mb=0.0, where=str(path)))
    except ArgumentError as error:
        raise ConfigError(f"{path}: {error}") from error
    return numbers


def read_interference(path: Path, profile: DeviceProfile) -> Interference:
    """The model in an `interference.toml`. Raises ConfigError with file and field."""
    return make_interference(read_numbers(path), profile)


def write_numbers(path: Path, numbers: Numbers, comments: Sequence[str] = ()) -> None:
    """The file that read_numbers() reads back equal; `comments` are its first lines.

    Whole or not at all. Raises ConfigError when it cannot be written.
    """
    lines = [f"# {' '.join(comment.split())}".rstrip() for comment in comments]
    for name, value in msgspec.to_builtins(numbers).items():
        match value:
            case dict():
                lines += ["", f"[{name}]"]
                lines += [f"{quoted(key)} = {float(own)!r}" for key, own in sorted(value.items())]
            case str():
                lines.append(f"{name} = {quoted(value)}")
            case _:
                lines.append(f"{name} = {float(value)!r}")
    write_text(path, "\n".join(lines) + "\n")


def read_constants(path: Path) -> Constants:
    """c1 to c5 of an INT_MODEL_CONSTANT.CSV. Raises ConfigError `file:line: what is wrong`."""
    rows = read_table(path, dict.fromkeys(COLUMNS, COEFFICIENT))
    if len(rows) != 1:
        at = rows[1].at if rows else path
        raise ConfigError(f"{at}: has {len(rows)} lines of numbers; valid is 1")
    return cast(Constants, tuple(rows[0].values[column] for column in COLUMNS))


def emulated_interference(profile_file: Path, profile: DeviceProfile) -> Interference:
    """What the `interference.toml` of a profile folder says; none without. Raises ConfigError."""
    file = profile_file / "interference.toml"
    return read_interference(file, profile) if file.is_file() else NoInterference()
