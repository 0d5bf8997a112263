"""Exact allocations against every allocation there is."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from glet.errors import ArgumentError
from glet.policy.fleet.allocate import allocate_fair_sum
from glet.policy.fleet.grouped import solve_grouped, split_quota
from glet.policy.fleet.objective import Objective, best_allocation, objective_value
from glet.policy.fleet.shrink import repaired, shrunk
from glet.policy.fleet.solve import SolverSettings, solve
from glet.policy.fleet.table import Demand, Model, utility_table
from glet.types.fleet import FleetJob

OBJECTIVES: tuple[Objective, ...] = ("sum", "fair", "even", "fair_sum")


def every(table: np.ndarray, units: np.ndarray, quota: int) -> list[np.ndarray]:
    choices = [np.flatnonzero(np.isfinite(row)) for row in table]
    found = (np.array(one) for one in itertools.product(*choices))
    return [one for one in found if one @ units <= quota]


@given(data=st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_allocations_are_optimal(data: st.DataObject) -> None:
    jobs, most = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    steps = data.draw(st.sampled_from((4, 10, 1000)))
    values = arrays.arrays(np.int64, (jobs, most + 1), elements=st.integers(0, steps))
    table = data.draw(values) / steps
    if data.draw(st.booleans()):
        table = np.sort(table, axis=1)
    least = np.array(data.draw(st.lists(st.integers(0, 1), min_size=jobs, max_size=jobs)))
    table[np.arange(most + 1) < least[:, None]] = -np.inf
    units = np.array(data.draw(st.lists(st.integers(1, 3), min_size=jobs, max_size=jobs)))
    weights = np.array(
        data.draw(st.lists(st.sampled_from((0.5, 1.0, 3.0)), min_size=jobs, max_size=jobs))
    )
    quota = int(least @ units) + data.draw(st.integers(0, 10))
    possible = every(table, units, quota)
    for objective in OBJECTIVES:
        found = best_allocation(objective, table, units, quota, weights)
        rows = np.arange(jobs)
        best = max(objective_value(objective, table[rows, one], weights) for one in possible)
        assert found.replicas @ units <= quota
        got = objective_value(objective, table[rows, found.replicas], weights)
        assert got == pytest.approx(best, abs=1e-7)
        assert found.value == pytest.approx(got, abs=1e-7)


def test_what_is_impossible_is_said() -> None:
    weights = np.ones(2)
    table = np.array([[-np.inf, 1.0], [-np.inf, 1.0]])
    with pytest.raises(ArgumentError, match="the least that all jobs need is 2 units, of 1"):
        best_allocation("sum", table, np.array([1, 1]), 1, weights)
    with pytest.raises(ArgumentError, match="job 1 has no number of replicas"):
        best_allocation("fair", np.array([[0.0], [-np.inf]]), np.array([1, 1]), 1, weights)
    with pytest.raises(ArgumentError, match="not a number"):
        best_allocation("fair_sum", np.array([[np.nan]]), np.array([1]), 1, weights)
    with pytest.raises(ArgumentError, match="fairness 3 for 2 jobs"):
        allocate_fair_sum(table, np.array([1, 1]), 2, weights, fairness=3.0)


def fleet(rates_rps: list[float], **more: int) -> tuple[list[FleetJob], Demand]:
    jobs = [
        FleetJob(model=f"m{at}", slo_ms=720.0, nominal_ms=180.0, **more)
        for at in range(len(rates_rps))
    ]
    count = len(jobs)
    rates = np.array(rates_rps)[:, None, None] * np.ones((1, 7, 1))
    return jobs, Demand(
        rates, np.ones(1), np.full(count, 0.18), np.zeros(7), np.ones(count, dtype=np.int64)
    )


DAY = [16.0, 8.3, 4.4, 18.2, 18.9, 7.7, 7.1, 10.0, 17.1, 1.7]


def test_cobyla_is_never_better_than_exact() -> None:
    jobs, demand = fleet(DAY[:3])
    for objective in OBJECTIVES:
        exact = solve(jobs, demand, 8, SolverSettings(objective=objective))
        published = solve(jobs, demand, 8, SolverSettings(objective=objective, solver="cobyla"))
        assert exact.replicas.sum() <= 8
        assert published.replicas.sum() <= 8
        # Shrinking may give up a ten-thousandth per replica.
        assert exact.value >= published.value - 8e-4


def test_shedding_enters_the_latency() -> None:
    jobs, demand = fleet([24.0, 24.0], min_replicas=4)
    inert = solve(jobs, demand, 8, SolverSettings(objective="penalty_sum", shed=False))
    shed = solve(jobs, demand, 8, SolverSettings(objective="penalty_sum"))
    assert inert.accept.tolist() == [1.0, 1.0]
    assert (shed.accept < 1.0).all()
    assert shed.value > inert.value + 0.1


def test_replicas_help_only_after_the_start() -> None:
    jobs, demand = fleet([16.0])
    cold = utility_table(jobs, demand._replace(cold=np.array([1.0] + [0.0] * 6)), 10)
    warm = utility_table(jobs, demand, 10)
    before = warm.values[0, 1]
    assert cold.values[0, 1] == before
    assert cold.values[0, 6] == pytest.approx((before + 6.0 * warm.values[0, 6]) / 7.0)


def test_tables_refuse_what_does_not_belong_together() -> None:
    jobs, demand = fleet([1.0])
    with pytest.raises(ArgumentError, match="one per step and one per case"):
        utility_table(jobs, demand._replace(cold=np.zeros(3)), 4)
    with pytest.raises(ArgumentError, match="negative or no number"):
        utility_table(jobs, demand._replace(rates_rps=-demand.rates_rps), 4)
    with pytest.raises(ArgumentError, match="processing time is not known"):
        utility_table(jobs, demand._replace(service_s=np.zeros(1)), 4, Model())


def test_groups_are_solved_like_the_whole() -> None:
    jobs, demand = fleet(DAY * 4)
    flat = solve(jobs, demand, 140, SolverSettings(group_jobs=0))
    grouped = solve_grouped(jobs, demand, 140, SolverSettings(group_jobs=10))
    assert grouped.replicas.sum() <= 140
    assert 0.97 * flat.value <= grouped.value <= flat.value + 1e-6


def test_quota_is_split_by_the_largest_remainder() -> None:
    wanted, least = np.array([5, 3, 2]), np.array([1, 1, 1])
    assert split_quota(wanted, least, 10).tolist() == [5, 3, 2]
    assert split_quota(wanted, least, 7).tolist() == [3, 2, 2]
    assert split_quota(least, least, 7).tolist() == [3, 2, 2]


def test_repair_takes_from_who_loses_least() -> None:
    def value(replicas: np.ndarray) -> float:
        return -np.inf if (replicas < 1).any() else float(np.minimum(replicas, [4, 2]).sum())

    units = np.array([1, 1])
    found = repaired(np.array([3.2, 2.5]), np.array([4, 2]), units, 6, value)
    assert found.tolist() == [4, 2]
    assert shrunk(np.array([4, 5]), units, value).tolist() == [4, 2]
    # What one does not need goes to another that it helps.
    assert shrunk(np.array([2, 4]), units, value).tolist() == [4, 2]
