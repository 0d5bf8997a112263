"""How the core is told what a gpulet is: the one place that knows what it takes."""

import logging
import os
from typing import Any

from glet.native import core
from glet.types.units import Units
from glet.wire.messages import AddGpulet, ResizeGpulet

logger = logging.getLogger(__name__)


def engine_kinds() -> tuple[str, ...]:
    """The kinds of partition that the core of this build can host; `mps` needs nothing of it."""
    green = ("green",) if hasattr(core, "Placement") else ()
    return (*green, "mps", "cpu", "profiled")


def add_gpulet(engine: Any, step: AddGpulet) -> Any:
    """The core's PartitionReport: what the gpulet really got.

    Raises DeviceError when the partition cannot be had, ArgumentError for an unknown kind.
    """
    arguments = _arguments(step)
    if arguments.get("kind") == "green":
        arguments["priority"] = step.priority
    got = engine.add_gpulet(**arguments)
    if step.kind in ("green", "mps"):
        logger.info(
            "gpulet added gpulet=%d kind=%s share_pct=%d sms=%d",
            step.gpulet,
            step.kind,
            step.share_pct,
            got.sms,
        )
    return got


def resize_gpulet(engine: Any, step: ResizeGpulet) -> None:
    """The gpulet stays as it was when this raises; errors as add_gpulet()."""
    engine.resize_gpulet(**_arguments(step))


def _arguments(step: AddGpulet | ResizeGpulet) -> dict[str, Any]:
    made = {"gpulet": step.gpulet, "share_pct": step.share_pct}
    if step.kind == "mps":
        return made | _client_arguments()
    if step.units is not None:
        return made | _green_arguments(step.device, step.units)
    return made | {"kind": step.kind, "cores": list(step.cores)}


def _client_arguments() -> dict[str, Any]:
    """Under `mps` the process is the partition, and its one gpulet all that the process has.

    That is a green context of all units that the driver shows this process, or a thread on any
    core where the driver has none: what runs there uses the process's usual streams.
    """
    gpus = core.cuda_probe()["devices"] if "green" in engine_kinds() else []
    if gpus and gpus[0]["units"] > 0:
        units = Units(0, gpus[0]["units"], gpus[0]["remainder_sms"] > 0)
        return _green_arguments(0, units)
    return {"kind": "cpu", "cores": sorted(os.sched_getaffinity(0))}


def _green_arguments(device: int, units: Units) -> dict[str, Any]:
    placement = core.Placement(units.first, units.count, units.remainder)
    return {"kind": "green", "device": device, "placement": placement}
