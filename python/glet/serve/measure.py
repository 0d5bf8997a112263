"""Latency of a loaded model by batch size, measured where it will run."""

from collections.abc import Callable
from itertools import pairwise
from statistics import median

from glet.clock import Clock

MOST_REPEATS = 15
WARM_UPS = 2

Points = tuple[tuple[int, float], ...]


def measure_latency(
    run: Callable[[int, int], list[int]], max_batch: int, clock: Clock, budget_s: float = 1.5
) -> Points:
    """Points (batch, latency_ms) from 1 to `max_batch`, never decreasing.

    `run(batch, repeats)` runs that often and returns each duration in nanoseconds. Batches double;
    what the time budget does not reach is extended linearly from the last two points.
    """
    start_s = clock.now_s()
    run(1, WARM_UPS)
    points: list[tuple[int, float]] = []
    for batch in batches_up_to(max_batch):
        left_s = budget_s - (clock.now_s() - start_s)
        if points and 2.0 * _expected_s(points, batch) > left_s:
            break
        first_ns = run(batch, 1)[0]
        # An equal part of what is left for each batch size to come.
        part_s = max(0.0, left_s) / (max_batch.bit_length() - batch.bit_length() + 2)
        repeats = min(MOST_REPEATS, int(part_s * 1e9 / max(first_ns, 1)))
        took_ns = run(batch, repeats) if repeats > 0 else [first_ns]
        points.append((batch, max(median(took_ns), 1.0) / 1e6))
    return _never_decreasing(extended(tuple(points), max_batch))


def extended(points: Points, max_batch: int) -> Points:
    """The same up to `max_batch`: on the line of the last two points, never falling."""
    batch, latency_ms = points[-1]
    if batch >= max_batch:
        return points
    slope_ms = latency_ms / batch
    if len(points) > 1:
        before, before_ms = points[-2]
        slope_ms = max(0.0, (latency_ms - before_ms) / (batch - before))
    return (*points, (max_batch, latency_ms + slope_ms * (max_batch - batch)))


def latency_at(points: Points, batch: int) -> float:
    """Milliseconds of a batch: linear between the points, flat outside them."""
    if batch <= points[0][0]:
        return points[0][1]
    for (low, low_ms), (high, high_ms) in pairwise(points):
        if batch <= high:
            return low_ms + (high_ms - low_ms) * (batch - low) / (high - low)
    return points[-1][1]


def capacity_rps(points: Points, batch: int) -> float:
    """Most requests per second that back-to-back batches of at most `batch` serve."""
    sizes = {size for size, _ in points if size <= batch} | {batch}
    return max(1000.0 * size / latency_at(points, size) for size in sizes)


def batches_up_to(max_batch: int) -> list[int]:
    """1, 2, 4, ... and `max_batch`."""
    doubling = [1 << power for power in range(max_batch.bit_length())]
    return doubling if doubling[-1] == max_batch else [*doubling, max_batch]


def _expected_s(points: list[tuple[int, float]], batch: int) -> float:
    return extended(tuple(points), batch)[-1][1] / 1000.0


def _never_decreasing(points: Points) -> Points:
    # Disturbances only ever add time, and a smaller batch cannot take longer than a larger one.
    quickest_ms = float("inf")
    falling = []
    for batch, latency_ms in reversed(points):
        quickest_ms = min(quickest_ms, latency_ms)
        falling.append((batch, quickest_ms))
    return tuple(reversed(falling))
