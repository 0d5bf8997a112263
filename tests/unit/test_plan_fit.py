"""Fits by hand, and the demand test against schedules that are played out."""

import heapq
from collections.abc import Sequence

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from glet.plan.fit import (
    Fit,
    Job,
    Want,
    deadlines_hold,
    demand_fits,
    fit,
    fit_deadlines,
    fit_turns,
    job_of,
    lone_rate_rps,
    most_rate_rps,
    roomier,
    shortest_cycle,
    turns_hold,
)


def table(floor_ms: float, work_ms: float, largest: int = 32) -> list[float]:
    return [floor_ms + work_ms * batch for batch in range(1, largest + 1)]


def want(rate_rps: float, slo_ms: float, latencies: Sequence[float], model: str = "m") -> Want:
    return Want(model, rate_rps, slo_ms, latencies)


def test_cycle_of_one_model() -> None:
    # 0.5 requests per ms: in 3 ms come 2, which take 4 ms; in 4 ms come 2 again.
    assert shortest_cycle([want(500, 8, table(2, 1))]) == (4.0, (2,))
    assert fit_turns([want(500, 8, table(2, 1))]) == Fit("turns", (2,), (4.0,))
    assert fit_turns([want(500, 7.9, table(2, 1))]) is None


def test_cycle_of_two_models() -> None:
    # 9 ms: 3 and 1 come and take 5 + 6; 11 ms: 3 and 2, 5 + 8; 13 ms: 4 and 2, 6 + 8 = 14 ms.
    short, long = want(250, 20, table(2, 1)), want(100, 22, table(4, 2))
    assert shortest_cycle([short, long]) == (14.0, (4, 2))
    assert fit_turns([short, long]) == Fit("turns", (4, 2), (14.0, 14.0))
    assert fit_turns([short._replace(slo_ms=19.9), long]) is None
    assert fit_turns([short, long._replace(slo_ms=21.9)]) is None


def test_no_cycle() -> None:
    assert shortest_cycle([want(1000, 1e6, table(2, 1))]) is None  # 1 ms of work per ms
    assert shortest_cycle([want(500, 100, table(2, 1, largest=1))]) is None  # needs a batch of 2
    assert shortest_cycle([want(250, 13.9, table(2, 1)), want(100, 99, table(4, 2))]) is None


@given(
    rates=st.lists(st.floats(1, 400), min_size=1, max_size=4),
    slo_ms=st.floats(5, 500),
    factor=st.sampled_from([1.25, 1.5, 2.0]),
)
def test_factor_is_tables_times_factor(rates: list[float], slo_ms: float, factor: float) -> None:
    rows = [table(1 + i, 0.5 + i / 4) for i in range(len(rates))]
    asked = [want(rate, slo_ms, row) for rate, row in zip(rates, rows, strict=True)]
    slow = [w._replace(table=[ms * factor for ms in w.table]) for w in asked]
    found, expected = fit(asked, factor), fit(slow)
    assert (found and (found.way, found.batches)) == (expected and (expected.way, expected.batches))


def test_one_at_a_time_nobody_waits() -> None:
    # Two batches do not fit in 10 ms, but every 10 ms one request does.
    assert fit_turns([want(100, 10, [10.0])]) == Fit("turns", (1,), (10.0,))
    assert fit_turns([want(101, 10, [10.0])]) is None
    assert fit_turns([want(100, 9.9, [10.0])]) is None
    assert fit_turns([want(50, 10, [10.0])]) == Fit("turns", (1,), (20.0,))
    # With company there is waiting.
    assert fit_turns([want(10, 10, [10.0]), want(1, 1000, [1.0])]) is None


def test_deadlines_where_turns_fail() -> None:
    # A cycle is 3.8 ms, and the urgent model would need 4.8 of its 4 ms. Its deadline is kept when
    # it goes first: behind one batch of 6 that has just begun, 2.8 ms, it is done after 3.8 ms.
    urgent, patient = want(100, 4, table(0, 1)), want(1500, 21, table(1, 0.3))
    assert fit_turns([urgent, patient]) is None
    assert fit([urgent, patient]) == fit_deadlines([urgent, patient])
    found = fit([urgent, patient])
    assert found is not None
    assert (found.way, found.batches) == ("deadlines", (1, 6))
    assert found.duty_ms == pytest.approx((10.0, 4.0))
    assert not deadlines_hold([urgent._replace(slo_ms=3.7), patient], (1, 6))
    assert fit([want(400, 4, table(0, 1)), patient]) is None  # 1.1 of the time


def test_job_of_whole_batches() -> None:
    # The first of 4 requests at 200 rps has waited 15 ms when the last comes.
    assert job_of(want(200, 40, table(2, 1)), 4, 1.5) == Job(20.0, 9.0, 25.0)


def test_demand_by_hand() -> None:
    # At 4: own 1, and a batch of 3 that has just begun.
    assert demand_fits([Job(10, 1, 4), Job(6, 3, 20)])
    assert not demand_fits([Job(10, 1, 3.9), Job(6, 3, 20)])
    # At 8: two jobs of 2 (due 3 and 8), one of 3 that is due then.
    assert demand_fits([Job(5, 2, 5), Job(20, 3, 8)])
    assert not demand_fits([Job(5, 2, 3), Job(20, 3.1, 7)])
    assert not demand_fits([Job(2, 1, 50), Job(2, 1, 50)])  # all of the time: no bound
    assert not demand_fits([Job(9, 5, 4.9)])


JOBS = st.lists(
    st.tuples(st.integers(2, 24), st.integers(1, 9), st.integers(1, 40)), min_size=1, max_size=4
)


def misses(jobs: Sequence[tuple[int, int, int]], releases: Sequence[int], until: int) -> bool:
    """Plays non-preemptive EDF from these first releases; whether any job ends after its due."""
    coming = [(release, index) for index, release in enumerate(releases)]
    heapq.heapify(coming)
    waiting: list[tuple[int, int]] = []
    now = 0
    while coming[0][0] < until or waiting:
        if not waiting:
            now = max(now, coming[0][0])
        while coming[0][0] <= now:
            release, index = heapq.heappop(coming)
            period, _, due = jobs[index]
            heapq.heappush(waiting, (release + due, index))
            heapq.heappush(coming, (release + period, index))
        due_at, index = heapq.heappop(waiting)
        now += jobs[index][1]
        if now > due_at:
            return True
    return False


@settings(max_examples=300)
@given(jobs=JOBS)
def test_demand_is_exact_for_the_worst_releases(jobs: list[tuple[int, int, int]]) -> None:
    """All come at once, just after one of them, or none, has begun."""
    assume(sum(length / period for period, length, _ in jobs) < 0.9)
    # In ticks of a thousandth, so that "just after" is little.
    ticks = [(period * 1000, length * 1000, due * 1000) for period, length, due in jobs]
    worst = [[1] * len(jobs)]
    worst += [[int(i != first) for i in range(len(jobs))] for first in range(len(jobs))]
    late = any(misses(ticks, releases, 1_000_000) for releases in worst)
    assert demand_fits([Job(*map(float, job)) for job in jobs]) is not late


@settings(max_examples=200)
@given(jobs=JOBS, phases=st.lists(st.integers(0, 30), min_size=4, max_size=4))
def test_demand_holds_for_any_releases(jobs: list[tuple[int, int, int]], phases: list[int]) -> None:
    assume(demand_fits([Job(*map(float, job)) for job in jobs]))
    assert not misses(jobs, phases[: len(jobs)], 2000)


def test_lone_rate() -> None:
    # 2 L(8) = 20.
    assert lone_rate_rps(table(2, 1), 20.0) == pytest.approx(800.0)
    assert lone_rate_rps(table(2, 1), 20.0, factor=2.0) == pytest.approx(300.0)
    assert lone_rate_rps(table(2, 1), 5.9) == pytest.approx(1000.0 / 3.0)  # one at a time
    assert lone_rate_rps(table(2, 1), 2.9) == 0.0
    assert lone_rate_rps([4.0, 9.0], 100.0) == pytest.approx(250.0)  # batches gain nothing


@given(
    floor_ms=st.floats(0.01, 20),
    work_ms=st.floats(0.01, 5),
    slo_ms=st.floats(0.1, 400),
    factor=st.floats(1, 2),
)
# Twice the latency of 24 is the objective but for a rounding.
@example(floor_ms=0.010000000000000002, work_ms=0.010000000000000002, slo_ms=0.5, factor=1.0)
def test_lone_rate_is_what_fits(
    floor_ms: float, work_ms: float, slo_ms: float, factor: float
) -> None:
    row = table(floor_ms, work_ms)
    most_rps = lone_rate_rps(row, slo_ms, factor)
    if most_rps > 0:
        assert fit([want(most_rps, slo_ms, row)], factor) is not None
    assert fit([want(most_rps * 1.001 + 1e-3, slo_ms, row)], factor) is None


def test_most_rate_beside_others() -> None:
    row = table(2, 1)
    assert most_rate_rps(want(5000, 20, row), []) == lone_rate_rps(row, 20.0)
    assert most_rate_rps(want(70, 20, row), []) == 70
    other = want(100, 30, table(4, 2))
    most_rps = most_rate_rps(want(5000, 20, row), [other])
    assert fit([want(most_rps, 20, row), other]) is not None
    assert fit([want(most_rps * 1.001, 20, row), other]) is None
    assert most_rate_rps(want(70, 20, row), [other]) == 70
    assert most_rate_rps(want(5000, 5, row), [other]) == 0.0


def test_roomier_batches_are_as_large_as_objectives_allow() -> None:
    # 2 + b and 4 + 2 b ms, due in 40 and 60: the cycle and the own batch.
    wants = [
        Want("a", 100, 40, [2.0 + b for b in range(1, 33)]),
        Want("b", 50, 60, [4.0 + 2.0 * b for b in range(1, 33)]),
    ]
    tight = fit_turns(wants)
    assert tight is not None
    wide = roomier(wants, tight)
    assert wide.way == "turns"
    assert all(w >= t for w, t in zip(wide.batches, tight.batches, strict=True))
    assert sum(wide.batches) > sum(tight.batches)
    assert turns_hold(wants, wide.batches)
    for place in range(2):
        larger = [batch + (at == place) for at, batch in enumerate(wide.batches)]
        assert not turns_hold(wants, larger)
    assert set(wide.duty_ms) == {
        sum(want.table[b - 1] for want, b in zip(wants, wide.batches, strict=True))
    }


def test_roomier_leaves_alone_what_has_no_room() -> None:
    one_at_a_time = [Want("a", 100, 5.0, [4.0, 5.0])]
    found = fit_turns(one_at_a_time)
    assert found is not None
    assert roomier(one_at_a_time, found) == found
