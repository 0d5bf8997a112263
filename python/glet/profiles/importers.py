"""Profiles out of the files of the published gpulet tools, and out of tables of MIG instances."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, field

from glet.config.load import decode_json
from glet.errors import ArgumentError, ConfigError
from glet.profiles.csv_table import (
    BATCH,
    MOST_MB,
    Parse,
    Row,
    cell_value,
    cells_of,
    check_once,
    name,
    number,
    numbered_lines,
    read_sized,
    read_table,
    whole,
)
from glet.profiles.device_profile import Demand, DeviceProfile, model_profiles
from glet.profiles.latency_csv import COLUMNS, Measured, parse_latencies

# UTIL.CSV names some models otherwise than the tools' other files, which have six equal lenets.
UTIL_NAMES = {
    "lenet": ("lenet", "lenet1", "lenet2", "lenet3", "lenet4", "lenet5", "lenet6"),
    "ssd": ("ssd-mobilenetv1",),
}
# Column -> what it may be called once units, spaces and capitals are gone.
UTIL_COLUMNS = {
    "model": ("model", "bench"),
    "batch": ("batch",),
    "l2": ("l2_util",),
    "dram": ("mem_util", "dram_util"),
}
UTIL_CELLS: dict[str, Parse] = {
    "model": name,
    "batch": BATCH,
    "l2": number(0.0, 100.0),
    "dram": number(0.0, 100.0),
}

MIG_SHARES = {1: 14, 2: 28, 3: 42, 4: 57, 7: 100}
"""Slices of seven that an instance has -> percent of the device, rounded down."""


def _instance(cell: str) -> int:
    if cell not in map(str, MIG_SHARES):
        raise ValueError(f"one of {', '.join(map(str, MIG_SHARES))} slices of seven")
    return int(cell)


MIG_COLUMNS: dict[str, Parse] = {
    "Mig instance": _instance,
    "Batch size": BATCH,
    "Workload Number": whole(1, 100),
    "Throughput": number(0.0, 1e9),
    "Latency": number(0.0, 1e6),
}
# Latencies are in seconds with three decimals.
MIG_ROUNDING_MS = 0.5 + 1e-6

_Megabytes = Annotated[float, Meta(ge=0.0, le=MOST_MB)]
_Text = Annotated[str, Meta(min_length=1)]


class DeviceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A device type of `device-config.json`; its paths are those of files that may be missing."""

    type: str
    memory_mb: float
    latency_csv: Path
    constants_csv: Path | None
    util_csv: Path | None


class _Spec(msgspec.Struct, frozen=True, kw_only=True):
    type: _Text
    mem_mb: _Megabytes
    latency_prof_file: _Text
    interference_const_file: str = ""
    interference_util_file: str = ""


class _DeviceConfig(msgspec.Struct, frozen=True, kw_only=True):
    device_specs: tuple[_Spec, ...]


class _Model(msgspec.Struct, frozen=True, kw_only=True):
    name: _Text
    memory_mb: _Megabytes = field(name="mem")


class _MemConfig(msgspec.Struct, frozen=True, kw_only=True):
    models: tuple[_Model, ...]


def read_device_config(path: Path) -> tuple[DeviceSpec, ...]:
    """The types in a `device-config.json`; paths in it are relative to it. Raises ConfigError."""
    config = decode_json(read_sized(path), _DeviceConfig, str(path))
    if not config.device_specs:
        raise ConfigError(f"{path}: device_specs is empty; valid is a table per device type")
    _check_names(path, "device_specs", "type", [spec.type for spec in config.device_specs])
    return tuple(
        DeviceSpec(
            type=spec.type,
            memory_mb=spec.mem_mb,
            latency_csv=path.parent / spec.latency_prof_file,
            constants_csv=_beside(path, spec.interference_const_file),
            util_csv=_beside(path, spec.interference_util_file),
        )
        for spec in config.device_specs
    )


def read_mem_config(path: Path) -> dict[str, float]:
    """The models of a `mem-config.json` with their memory in MB. Raises ConfigError."""
    config = decode_json(read_sized(path), _MemConfig, str(path))
    _check_names(path, "models", "name", [model.name for model in config.models])
    return {model.name: model.memory_mb for model in config.models}


def import_gpulet(device_config: Path, mem_config: Path | None) -> dict[str, DeviceProfile]:
    """Profiles by type, out of the files that a `device-config.json` names.

    Without `mem_config` no model's memory is known. Raises ConfigError; a `latency_prof_file` that
    is not there is one, because the published tools come without any.
    """
    memory_mb = read_mem_config(mem_config) if mem_config is not None else {}
    return {
        spec.type: import_spec(spec, memory_mb, f"{device_config}: device_specs[{index}]")
        for index, spec in enumerate(read_device_config(device_config))
    }


def import_spec(spec: DeviceSpec, memory_mb: Mapping[str, float], where: str) -> DeviceProfile:
    """The profile of one type, out of its files; `memory_mb` by model.

    `where` names the type's place in errors. Raises ConfigError.
    """
    if not spec.latency_csv.is_file():
        raise ConfigError(
            f"{where}: latency_prof_file names {spec.latency_csv}, a file that is not there; "
            f"it would hold lines {COLUMNS}"
        )
    measured = parse_latencies(read_sized(spec.latency_csv), str(spec.latency_csv))
    demands: Mapping[str, dict[int, Demand]] = {}
    if spec.util_csv is not None:
        if not spec.util_csv.is_file():
            raise ConfigError(
                f"{where}: interference_util_file names {spec.util_csv}, a file that is not "
                "there; it would hold l2_util and mem_util in percent by model and batch"
            )
        demands = read_util(spec.util_csv)
    return DeviceProfile(
        spec.type,
        model_profiles(measured, memory_mb, demands),
        memory_mb=spec.memory_mb,
        where=str(spec.latency_csv),
    )


def read_util(path: Path) -> dict[str, dict[int, Demand]]:
    """Demands by model and batch out of a `UTIL.CSV`, which has them in percent.

    Its other columns are ignored: the duration was taken under a profiler and is no latency of a
    served batch. `lenet` stands for lenet1 to lenet6, `ssd` for ssd-mobilenetv1. ConfigError.
    """
    rows = _util_rows(read_sized(path), str(path))
    check_once(rows, ("model", "batch"))
    found: dict[str, dict[int, Demand]] = defaultdict(dict)
    for row in rows:
        demand = Demand(l2=row.values["l2"] / 100.0, dram=row.values["dram"] / 100.0)
        found[row.values["model"]][row.values["batch"]] = demand
    demands = {
        other: by_batch
        for model, by_batch in found.items()
        for other in UTIL_NAMES.get(model, (model,))
    }
    # What a model's own rows say goes before what its family's say.
    return {**demands, **{model: found[model] for model in found if model in demands}}


def import_mig(
    folder: Path, type_name: str, memory_mb: float, *, workload: int = 1
) -> DeviceProfile:
    """A profile out of a folder with a table MODEL.csv for each model (as ParvaGPU's, SC 2024).

    Columns `Mig instance,Batch size,Workload Number,Throughput,Latency`: slices of seven, batch,
    processes on that instance, requests/s of one of them, seconds. A gpulet is an instance with
    `workload` processes; rows of zeros did not run. Memory of the models is not known. Raises
    ConfigError, and ArgumentError for a number of processes that no table has.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is no folder; valid is one with a table MODEL.csv per model")
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise ConfigError(f"{folder}: has no tables; valid is a file MODEL.csv per model")
    measured: Measured = {}
    for file in files:
        points = _mig_points(file, workload)
        if points:
            measured[file.stem] = points
    if not measured:
        raise ArgumentError(f"{folder}: nothing ran with {workload} processes on an instance")
    return DeviceProfile(
        type_name,
        model_profiles(measured, {}, {}),
        memory_mb=memory_mb,
        where=str(folder / "<model>.csv"),
        shares=tuple(MIG_SHARES.values()),
    )


def _mig_points(file: Path, workload: int) -> dict[int, dict[int, float]]:
    rows = read_table(file, MIG_COLUMNS)
    check_once(rows, ("Mig instance", "Batch size", "Workload Number"))
    points: dict[int, dict[int, float]] = defaultdict(dict)
    for row in rows:
        values = row.values
        if (values["Throughput"] > 0) != (values["Latency"] > 0):
            raise ConfigError(f"{row.at}: Throughput and Latency are both 0 or both above it")
        if values["Workload Number"] != workload or values["Latency"] == 0:
            continue
        share_pct = MIG_SHARES[values["Mig instance"]]
        points[share_pct][values["Batch size"]] = _mig_latency_ms(values)
    return points


def _mig_latency_ms(values: Mapping[str, float]) -> float:
    latency_ms = 1000.0 * values["Latency"]
    # One batch after the other: the rate says the same, with more digits, unless it disagrees.
    by_rate_ms = 1000.0 * values["Batch size"] / values["Throughput"]
    return (
        by_rate_ms if math.isclose(by_rate_ms, latency_ms, abs_tol=MIG_ROUNDING_MS) else latency_ms
    )


def _util_rows(text: str, where: str) -> list[Row]:
    lines = numbered_lines(text)
    if len(lines) < 2:
        raise ConfigError(f"{where}: is empty; valid is a header and a line per model and batch")
    header_number, header = lines[0]
    places = _util_places(header, f"{where}:{header_number}")
    rows = []
    for line_number, line in lines[1:]:
        at = f"{where}:{line_number}"
        cells = cells_of(line)
        if len(cells) <= max(places.values()):
            needed = max(places.values()) + 1
            raise ConfigError(f"{at}: has {len(cells)} cells; at least {needed} are needed")
        values = {
            column: cell_value(cells[place], column, at, UTIL_CELLS[column])
            for column, place in places.items()
        }
        rows.append(Row(at, values))
    return rows


def _util_places(header: str, at: str) -> dict[str, int]:
    names = [re.sub(r"\(.*\)|\s", "", cell).lower() for cell in cells_of(header)]
    places = {}
    for column, spellings in UTIL_COLUMNS.items():
        found = [place for place, spelling in enumerate(names) if spelling in spellings]
        if len(found) != 1:
            how = "more than one column" if found else "no column"
            raise ConfigError(f"{at}: has {how} {' or '.join(spellings)}")
        places[column] = found[0]
    return places


def _check_names(path: Path, table: str, key: str, names: Iterable[str]) -> None:
    seen: dict[str, int] = {}
    for index, given in enumerate(names):
        if given in seen:
            raise ConfigError(
                f"{path}: {table}[{index}].{key}: {given!r} is there twice, "
                f"first in {table}[{seen[given]}]"
            )
        seen[given] = index


def _beside(path: Path, file: str) -> Path | None:
    return path.parent / file if file else None
