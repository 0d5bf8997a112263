"""`sched-config.json` of the published gpulet tools: devices to plan for, and rules."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import field

from glet.config.load import decode_json, read_text
from glet.errors import ConfigError

MOST_DEVICES = 100_000
WHOLE = 100
# Of the published tools; the largest of them name no others.
SHARES = (20, 40, 50, 60, 80, 100)
LEAST_RATIO, MOST_RATIO = 1e-3, 1e3


class GpuCount(msgspec.Struct, frozen=True, kw_only=True):
    """So many devices of one type."""

    type: str = field(name="Type")
    count: int = field(name="Num")


class SchedConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The file's keys. Flags are 0 or 1.

    `part` 0: whole devices only. `latency_ratio` times the profiled latencies are planned with, and
    `slo_ratio` times the tasks' objectives. `incremental` and `no_check` change how the published
    search goes about it, not what it may answer; they have no effect here.
    """

    gpus: tuple[GpuCount, ...] = field(name="GPUs")
    max_models: int = field(name="Max Model", default=3)
    part: int = field(name="Part", default=1)
    latency_ratio: float = field(name="Latency Ratio", default=1.1)
    slo_ratio: float = field(name="SLO Ratio", default=1.0)
    interference: int = field(name="Interference", default=0)
    avail_parts: tuple[int, ...] = field(name="Avail_Parts", default=SHARES)
    incremental: int = field(name="Incremental", default=0)
    self_tuning: int = field(name="Self Tuning", default=0)
    no_check: int = field(name="No Check", default=0)

    @property
    def shares(self) -> tuple[int, ...]:
        """The percentages that a gpulet can have."""
        return self.avail_parts if self.part else (WHOLE,)

    @property
    def planner(self) -> str | None:
        """The published algorithm that the file asks for by its flags; None without such a flag."""
        if not self.part:
            return "timeshare"
        return "selftuning" if self.self_tuning else None


def read(path: Path) -> SchedConfig:
    """The file. Raises ConfigError that says file, place and what would be valid."""
    return parse(read_text(path), str(path))


def parse(text: str, where: str) -> SchedConfig:
    """Like read(), for text; `where` names its origin in errors."""
    config = decode_json(text, SchedConfig, where)
    fault = _fault(config)
    if fault is not None:
        raise ConfigError(f"{where}: {fault}")
    return config


def share_fault(shares: Sequence[int]) -> str | None:
    """What is wrong with these as the shares that a device can give, or None."""
    if not shares:
        return "there is no share; valid are 1..100, ascending"
    for before, share in zip((0, *shares), shares, strict=False):
        if not 1 <= share <= WHOLE:
            return f"share {share} is not in 1..100 percent"
        if share <= before:
            return f"share {share} comes after {before}; valid are shares that ascend"
    return None


def _fault(config: SchedConfig) -> str | None:
    for name, flag in (
        ("Part", config.part),
        ("Interference", config.interference),
        ("Incremental", config.incremental),
        ("Self Tuning", config.self_tuning),
        ("No Check", config.no_check),
    ):
        if flag not in (0, 1):
            return f"{name}: is {flag}; valid are 0 and 1"
    for name, ratio in (
        ("Latency Ratio", config.latency_ratio),
        ("SLO Ratio", config.slo_ratio),
    ):
        if not LEAST_RATIO <= ratio <= MOST_RATIO:
            return f"{name}: is {ratio:g}; valid is {LEAST_RATIO:g}..{MOST_RATIO:g}"
    if config.max_models < 1:
        return f"Max Model: is {config.max_models}; valid is 1 or more"
    shares = share_fault(config.avail_parts)
    return f"Avail_Parts: {shares}" if shares else _count_fault(config.gpus)


def _count_fault(gpus: Sequence[GpuCount]) -> str | None:
    if not gpus:
        return "GPUs: is empty; valid is a list of {Type, Num}"
    for index, gpu in enumerate(gpus):
        if not 1 <= gpu.count <= MOST_DEVICES:
            return f"GPUs[{index}].Num: is {gpu.count}; valid is 1..{MOST_DEVICES}"
    total = sum(gpu.count for gpu in gpus)
    if total > MOST_DEVICES:
        return f"GPUs: are {total} devices; at most {MOST_DEVICES} are valid"
    return None
