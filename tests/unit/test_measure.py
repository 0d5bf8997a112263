"""Latency tables from a measuring function, within a time budget."""

import pytest

from glet.clock import ManualClock
from glet.serve.measure import capacity_rps, extended, latency_at, measure_latency


class Machine:
    """Takes `base_ms + item_ms * batch`, and moves the clock by it."""

    def __init__(self, base_ms: float, item_ms: float) -> None:
        self.clock = ManualClock()
        self.batches: list[int] = []
        self._base_ms = base_ms
        self._item_ms = item_ms

    def run(self, batch: int, repeats: int) -> list[int]:
        self.batches.append(batch)
        took_ms = self._base_ms + self._item_ms * batch
        self.clock.sleep_s(repeats * took_ms / 1000.0)
        return [round(took_ms * 1e6)] * repeats


def test_a_quick_model_is_measured_at_all_doublings_and_the_largest() -> None:
    machine = Machine(0.01, 0.001)
    points = measure_latency(machine.run, 12, machine.clock)
    assert [batch for batch, _ in points] == [1, 2, 4, 8, 12]
    assert points[-1][1] == pytest.approx(0.022)
    assert machine.clock.now_s() < 1.5


def test_a_slow_model_is_extended_linearly() -> None:
    machine = Machine(50.0, 50.0)
    points = measure_latency(machine.run, 64, machine.clock)
    assert points[-1] == (64, pytest.approx(50.0 + 64 * 50.0))
    assert 64 not in machine.batches
    assert machine.clock.now_s() < 2.5


def test_a_very_slow_model_is_measured_once() -> None:
    machine = Machine(4000.0, 0.0)
    points = measure_latency(machine.run, 8, machine.clock)
    assert points == ((1, 4000.0), (8, 32000.0))


def test_a_disturbed_small_batch_is_not_slower_than_a_larger_one() -> None:
    took_ns = {1: 5_000_000, 2: 3_000_000, 4: 8_000_000}
    points = measure_latency(lambda b, n: [took_ns[b]] * n, 4, ManualClock())
    assert points == ((1, 3.0), (2, 3.0), (4, 8.0))


def test_a_single_batch() -> None:
    machine = Machine(1.0, 1.0)
    assert measure_latency(machine.run, 1, machine.clock) == ((1, 2.0),)


def test_reading_between_points() -> None:
    points = ((1, 2.0), (4, 5.0))
    assert [latency_at(points, batch) for batch in (1, 2, 4, 9)] == [2.0, 3.0, 5.0, 5.0]
    assert extended(points, 6) == ((1, 2.0), (4, 5.0), (6, 7.0))
    assert capacity_rps(points, 2) == pytest.approx(2000.0 / 3.0)
    assert capacity_rps(((1, 1.0), (8, 100.0)), 8) == pytest.approx(1000.0)
