"""The peak factor: a planner that places up to a known limit, and one that does so erratically."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glet.plan.peak import peak_factor
from glet.plan.problem import Device, DeviceType, Problem, Task
from glet.profiles.device_profile import DeviceProfile, ModelProfile
from glet.types.plan import GpuletPlan, ModelShare, Plan

# One request at a time in 1 ms, 1.1 ms as planned.
PROFILE = DeviceProfile(
    "d", {"m": ModelProfile("m", {100: {1: 1.0}})}, memory_mb=0.0, where="latency.csv"
)
MOST_RPS = 1000.0 / 1.1


def problem(rate_rps: float) -> Problem:
    return Problem(
        tasks=(Task(model="m", rate_rps=rate_rps, slo_ms=5.0),),
        devices=(Device(number=0, type="d"),),
        types={"d": DeviceType(profile=PROFILE, shares=(100,))},
    )


class Limited:
    """Places all of a rate up to `limit_rps`, nothing of one in a gap, and counts its plans."""

    name = "limited"

    def __init__(self, limit_rps: float, gap: tuple[float, float] = (0.0, 0.0)) -> None:
        self.limit_rps = limit_rps
        self.gap = gap
        self.asked: list[float] = []

    def plan(self, problem: Problem) -> Plan:
        (task,) = problem.tasks
        self.asked.append(task.rate_rps)
        low, high = self.gap
        if task.rate_rps > self.limit_rps or low < task.rate_rps < high:
            return Plan(unmet={"m": task.rate_rps})
        duty_ms = 1000.0 / task.rate_rps
        share = ModelShare(model="m", batch=1, rate_rps=task.rate_rps, duty_cycle_ms=duty_ms)
        return Plan(gpulets=(GpuletPlan(device=0, share_pct=100, models=(share,)),))


@given(st.floats(0.01, 900.0), st.floats(0.01, 900.0))
def test_it_is_within_half_a_percent_below_the_limit(limit_rps: float, rate_rps: float) -> None:
    planner = Limited(limit_rps)
    peak = peak_factor(planner, problem(rate_rps))
    limit = limit_rps / rate_rps
    if limit < 1e-6:
        assert peak == 0.0
    else:
        assert limit / 1.005 * (1 - 1e-12) <= peak <= limit
    assert len(planner.asked) < 60


def test_a_plan_that_does_not_hold_counts_as_none() -> None:
    peak = peak_factor(Limited(1e6), problem(1.0))
    assert MOST_RPS / 1.006 <= peak <= MOST_RPS * 1.001


def test_nothing_ever_fits() -> None:
    assert peak_factor(Limited(0.0), problem(10.0)) == 0.0


def test_it_is_not_below_a_probe_that_fits() -> None:
    erratic = (20.0, 700.0)
    assert peak_factor(Limited(800.0, erratic), problem(10.0)) == pytest.approx(2.0, rel=0.01)
    probed = peak_factor(Limited(800.0, erratic), problem(10.0), probes=[1.0, 75.0, 99.0])
    assert probed == pytest.approx(80.0, rel=0.01)


def test_probes_that_do_not_fit_change_nothing() -> None:
    without = peak_factor(Limited(100.0), problem(10.0))
    assert peak_factor(Limited(100.0), problem(10.0), probes=[50.0, math.inf, -1.0]) == without


def test_no_tasks_fit_at_any_rate() -> None:
    empty = Problem(tasks=(), devices=(), types={})
    assert peak_factor(Limited(1.0), empty) == math.inf
