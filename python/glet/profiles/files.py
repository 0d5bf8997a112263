"""A profile on disk: the folder `profiles/<device type>/`, file by file in `profiles/README.md`."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from glet.config.load import decode, nearest
from glet.config.model import quoted
from glet.errors import ConfigError
from glet.profiles.csv_table import (
    BATCH,
    LATENCY_MS,
    MEMORY_MB,
    MOST_MB,
    SAMPLES,
    SHARE,
    Parse,
    Row,
    check_once,
    name,
    number,
    parse_table,
    read_sized,
    render_table,
    write_text,
)
from glet.profiles.device_profile import Demand, DeviceProfile, model_profiles
from glet.profiles.pairs import MeasuredPair, parse_pairs, render_pairs

DEVICE, LATENCY, MODELS = "device.toml", "latency.csv", "models.csv"
DEMAND, PAIRS = "demand.csv", "pairs.csv"
REQUIRED = (DEVICE, LATENCY, MODELS)

LATENCY_COLUMNS: dict[str, Parse] = {
    "model": name,
    "share_pct": SHARE,
    "batch": BATCH,
    "p50_ms": LATENCY_MS,
    "p99_ms": LATENCY_MS,
    "samples": SAMPLES,
}
MODEL_COLUMNS: dict[str, Parse] = {"model": name, "memory_mb": MEMORY_MB}
FRACTION = number(0.0, 1.0)
DEMAND_COLUMNS: dict[str, Parse] = {
    "model": name,
    "batch": BATCH,
    "l2": FRACTION,
    "dram": FRACTION,
}

Quantile = Literal["p50", "p99"]
"""Which of a batch's latencies: the median, or what one batch in a hundred exceeds."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """How the numbers came to be. `date` is ISO 8601; `repeats` is the least per latency."""

    command: str = ""
    date: str = ""
    machine: str = ""
    versions: dict[str, str] = {}
    repeats: Annotated[int, msgspec.Meta(ge=0)] = 0


class DeviceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`device.toml`. `kind` is what was measured; `profiled` is a device that exists only here.

    `shares` are the percentages that a gpulet can have, ascending; empty: those in `latency.csv`.
    `memory_mb` is 0 where it is not known.
    """

    type: str
    kind: Literal["cpu", "gpu", "profiled"]
    memory_mb: float = 0.0
    shares: tuple[int, ...] = ()
    note: str = ""
    origin: Origin | None = None

    def __post_init__(self) -> None:
        name(self.type)
        if not (math.isfinite(self.memory_mb) and 0.0 <= self.memory_mb <= MOST_MB):
            raise ValueError(f"memory_mb is {self.memory_mb}; valid is 0..{MOST_MB:g}")
        if any(not 1 <= share <= 100 for share in self.shares):
            raise ValueError(f"shares are {list(self.shares)}; valid are 1..100 percent")
        if list(self.shares) != sorted(set(self.shares)):
            raise ValueError(f"shares are {list(self.shares)}; each must be above the one before")


class MeasuredLatency(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `latency.csv`: how long batches of a model took at a share, of so many samples.

    `samples` is 0 where the number was computed.
    """

    model: str
    share_pct: int
    batch: int
    p50_ms: float
    p99_ms: float
    samples: int


class MeasuredDemand(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `demand.csv`: what a batch alone uses of the whole device, fractions 0..1."""

    model: str
    batch: int
    l2: float
    dram: float


class ProfileData(msgspec.Struct, frozen=True, kw_only=True):
    """Everything in a profile folder but `interference.toml`. `memory_mb` by model, 0 if unknown.

    `pairs` is None where the folder has no `pairs.csv`.
    """

    device: DeviceFacts
    latencies: tuple[MeasuredLatency, ...]
    memory_mb: dict[str, float]
    demands: tuple[MeasuredDemand, ...] = ()
    pairs: tuple[MeasuredPair, ...] | None = None


def read_profile(folder: Path, quantile: Quantile = "p50") -> DeviceProfile:
    """The profile in a folder. Raises ConfigError `file:line: what is wrong; what is valid`."""
    return device_profile(read_data(folder), str(folder / LATENCY), quantile)


def read_data(folder: Path) -> ProfileData:
    """Like read_profile(), with all that is written beside the latencies."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is no folder; a profile is a folder with {DEVICE}, {LATENCY}")
    files = [*REQUIRED, *(file for file in (DEMAND, PAIRS) if (folder / file).exists())]
    return parse_profile({file: read_sized(folder / file) for file in files}, folder)


def parse_profile(texts: Mapping[str, str], folder: Path) -> ProfileData:
    """Like read_data(), for the texts of the files by name; `folder` is theirs in errors."""
    device = decode(texts[DEVICE], DeviceFacts, str(folder / DEVICE))
    latencies = parse_table(texts[LATENCY], str(folder / LATENCY), LATENCY_COLUMNS)
    if not latencies:
        raise ConfigError(f"{folder / LATENCY}: has no latencies under its header")
    check_once(latencies, ("model", "share_pct", "batch"))
    for row in latencies:
        if row.values["p99_ms"] < row.values["p50_ms"]:
            raise ConfigError(f"{row.at}: p99_ms is below p50_ms; valid is at least as much")
    known = {row.values["model"] for row in latencies}
    demands: list[Row] = []
    if DEMAND in texts:
        demands = parse_table(texts[DEMAND], str(folder / DEMAND), DEMAND_COLUMNS)
        check_once(demands, ("model", "batch"))
        _check_known(demands, known)
    return ProfileData(
        device=device,
        latencies=tuple(MeasuredLatency(**row.values) for row in latencies),
        memory_mb=_memory(texts[MODELS], str(folder / MODELS), known),
        demands=tuple(MeasuredDemand(**row.values) for row in demands),
        pairs=parse_pairs(texts[PAIRS], str(folder / PAIRS)) if PAIRS in texts else None,
    )


def write_profile(folder: Path, data: ProfileData) -> None:
    """Writes a folder that read_data() reads back as `data`, each file whole or not at all.

    `interference.toml` stays as it is. Raises ConfigError for data that would not be read back,
    before anything is written, and when something cannot be written.
    """
    texts = render_profile(data)
    parse_profile(texts, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for absent in {DEMAND, PAIRS} - texts.keys():
            (folder / absent).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror}") from error
    for file, text in texts.items():
        write_text(folder / file, text)


def render_profile(data: ProfileData) -> dict[str, str]:
    """The text of each file of the folder, by its name."""
    texts = {
        DEVICE: _device_toml(data.device),
        LATENCY: _render(LATENCY_COLUMNS, data.latencies),
        MODELS: render_table(MODEL_COLUMNS, sorted(data.memory_mb.items())),
    }
    if data.demands:
        texts[DEMAND] = _render(DEMAND_COLUMNS, data.demands)
    if data.pairs is not None:
        texts[PAIRS] = render_pairs(data.pairs)
    return texts


def device_profile(data: ProfileData, where: str, quantile: Quantile = "p50") -> DeviceProfile:
    """The data as planners ask it; `where` names in errors the file that holds the models."""
    latencies: dict[str, dict[int, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for point in data.latencies:
        latency_ms = point.p50_ms if quantile == "p50" else point.p99_ms
        latencies[point.model][point.share_pct][point.batch] = latency_ms
    demands: dict[str, dict[int, Demand]] = defaultdict(dict)
    for use in data.demands:
        demands[use.model][use.batch] = Demand(l2=use.l2, dram=use.dram)
    models = model_profiles(latencies, data.memory_mb, demands)
    device = data.device
    return DeviceProfile(
        device.type, models, memory_mb=device.memory_mb, where=where, shares=device.shares
    )


def _memory(text: str, where: str, known: set[str]) -> dict[str, float]:
    rows = parse_table(text, where, MODEL_COLUMNS)
    check_once(rows, ("model",))
    _check_known(rows, known)
    memory_mb = {row.values["model"]: row.values["memory_mb"] for row in rows}
    for model in sorted(known - memory_mb.keys()):
        raise ConfigError(f"{where}: has no model {model!r}, of which {LATENCY} has latencies")
    return memory_mb


def _check_known(rows: Iterable[Row], known: set[str]) -> None:
    for row in rows:
        model = row.values["model"]
        if model not in known:
            raise ConfigError(
                f"{row.at}: {LATENCY} has no model {model!r}; {nearest(model, known)}"
            )


def _render(columns: dict[str, Parse], rows: Sequence[msgspec.Struct]) -> str:
    return render_table(columns, ([getattr(row, column) for column in columns] for row in rows))


def _device_toml(device: DeviceFacts) -> str:
    lines = [f"type = {quoted(device.type)}", f"kind = {quoted(device.kind)}"]
    lines.append(f"memory_mb = {device.memory_mb!r}")
    if device.shares:
        lines.append(f"shares = {list(device.shares)}")
    if device.note:
        lines.append(f"note = {quoted(device.note)}")
    if device.origin is not None:
        origin = device.origin
        said = {key: getattr(origin, key) for key in ("command", "date", "machine")}
        lines += ["", "[origin]"]
        lines += [f"{key} = {quoted(text)}" for key, text in said.items() if text]
        lines += [f"repeats = {origin.repeats}"] if origin.repeats else []
        if origin.versions:
            lines += ["", "[origin.versions]"]
            pairs = sorted(origin.versions.items())
            lines += [f"{quoted(key)} = {quoted(value)}" for key, value in pairs]
    return "".join(f"{line}\n" for line in lines)
