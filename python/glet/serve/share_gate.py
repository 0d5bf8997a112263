"""Shares of a GPU on which `glet doctor` found wrong numbers: kept, so that nobody plans them.

A file in the cache folder by product and driver: another driver has other kernels, and is trusted
until it was looked at.
"""

import logging
import re
from pathlib import Path

import msgspec

from glet.serve.compile_cache import default_cache

logger = logging.getLogger(__name__)

FOLDER = "gpu-shares"


class ShareGate(msgspec.Struct, frozen=True, kw_only=True):
    """What was found on a product under a driver: counts of units whose results are wrong."""

    device: str
    driver: str
    unit_sms: int
    bad_units: tuple[int, ...]


def gate_file(device: str, driver: str) -> Path:
    """Where it is kept."""
    words = re.findall(r"[a-z0-9.]+", f"{device} cuda {driver}".lower())
    return default_cache() / FOLDER / f"{'-'.join(words)}.json"


def write_gate(gate: ShareGate) -> None:
    """In place of what was found before. Raises OSError."""
    file = gate_file(gate.device, gate.driver)
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".draft")
    draft.write_bytes(msgspec.json.encode(gate))
    draft.replace(file)


def bad_units(device: str, driver: str, unit_sms: int) -> tuple[int, ...]:
    """Ascending; none where nobody looked, or the device was cut in another way then."""
    file = gate_file(device, driver)
    try:
        gate = msgspec.json.decode(file.read_bytes(), type=ShareGate)
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.DecodeError) as error:
        logger.warning("%s is left aside, run glet doctor again: %s", file, error)
        return ()
    return tuple(sorted(set(gate.bad_units))) if gate.unit_sms == unit_sms else ()
