"""What green contexts cost, and how many gpulets run side by side: one JSON object.

`python tests/gpu/probe.py`, on a machine with a GPU and a torch for it.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from glet.errors import GletError
from glet.native import core
from glet.serve.capture_torch import TorchGpu
from glet.serve.doctor_gpu_work import Parts, load_kernel, overlap_ms
from glet.serve.engine_partition import add_gpulet, resize_gpulet
from glet.types.units import Units
from glet.wire.messages import AddGpulet, ResizeGpulet

ROUNDS = 100


def took_us(action: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    action()
    return (time.perf_counter() - start_s) * 1e6


def spread(samples: list[float]) -> dict[str, float]:
    """Microseconds."""
    ordered = sorted(samples)
    return {
        "count": len(ordered),
        "p50_us": statistics.median(ordered),
        "least_us": ordered[0],
        "most_us": ordered[-1],
    }


def placements(units: int) -> list[Units]:
    return [Units(first, n) for n in range(1, units + 1) for first in range(units - n + 1)]


def contexts(gpu: TorchGpu, grid: dict[str, Any]) -> dict[str, Any]:
    """Times of a gpulet whose context is new, of a resize to one that is there, and of the end."""
    made: list[float] = []
    reused: list[float] = []
    places = placements(grid["units"])[:ROUNDS]
    free = [gpu.free_bytes()]
    engine: Any = core.Engine()
    for number, units in enumerate(places):
        step = AddGpulet(step=0, gpulet=number, kind="green", share_pct=1, cores=(), units=units)
        made.append(took_us(lambda step=step: add_gpulet(engine, step)))
        free.append(gpu.free_bytes())
    counts = engine.green_counts(0)
    for turn in range(ROUNDS if len(places) > 1 else 0):
        resized = ResizeGpulet(
            step=0, gpulet=0, kind="green", share_pct=1, cores=(), units=places[1 - turn % 2]
        )
        reused.append(took_us(lambda step=resized: resize_gpulet(engine, step)))
    end_us = took_us(engine.close)
    return {
        "gpulet_with_new_context": spread(made),
        "resize_to_known_context": spread(reused) if reused else None,
        "end_us_per_gpulet": end_us / len(places),
        "contexts": counts["created"],
        "first_bytes": free[0] - free[1],
        "bytes_per_context": (free[1] - free[-1]) / max(1, len(places) - 1),
        "bytes_left_behind": free[0] - gpu.free_bytes(),
    }


def side_by_side(gpu: TorchGpu, grid: dict[str, Any]) -> dict[int, dict[str, float]]:
    """By number of gpulets: one of them busy, and all of them."""
    found = {}
    kernel = load_kernel()
    with core.Engine() as engine:
        parts = Parts(gpu, engine, grid)
        for gpulets in range(2, grid["units"] + 1):
            alone_ms, together_ms = overlap_ms(parts, kernel, gpulets)
            found[gpulets] = {"alone_ms": alone_ms, "together_ms": together_ms}
    return found


def main() -> None:
    probe = core.cuda_probe()
    if not probe["available"]:
        raise SystemExit(f"no GPU that can be split: {probe['why']}")
    grid = probe["devices"][0]
    try:
        gpu = TorchGpu()
        found = {"contexts": contexts(gpu, grid), "side_by_side": side_by_side(gpu, grid)}
    except GletError as error:
        raise SystemExit(f"error: {error}") from None
    json.dump({"device": grid, "driver": probe["driver"], **found}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
