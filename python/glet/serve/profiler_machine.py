"""What is written down of the machine beside numbers that were measured on it."""

import os
import platform
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import glet
from glet.errors import DeviceError
from glet.serve.torch_path import find_torch
from glet.types.device import DeviceInfo


def machine_of(device: DeviceInfo) -> str:
    """One line: processor, cores that may be used or GPU and its SMs, memory."""
    if device.emulated:
        return "emulated"
    memory_gb = round(device.memory_mb / 1000)
    return f"{_processor()}, {device.says}, {memory_gb} GB"


def versions() -> dict[str, str]:
    """Of everything that latencies depend on, by name."""
    found = {
        "glet": glet.__version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
    }
    with suppress(DeviceError):
        found["torch"] = find_torch().version
    return found


def now() -> str:
    """Date and time, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def load_average() -> float:
    """Runnable processes, average of the last minute: above 0 somebody else was busy here."""
    return round(os.getloadavg()[0], 2)


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return " ".join(value.split())
    return platform.machine()
