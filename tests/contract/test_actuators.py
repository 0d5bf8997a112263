"""What every actuator owes: the last plan given serves in the end, calling twice is harmless."""

from collections.abc import Callable

import pytest

from glet.actuate.timed import TimedActuator
from glet.clock import ManualClock
from glet.plan.diff import diff
from glet.types.plan import GpuletPlan, ModelShare, Plan

Make = Callable[[ManualClock], TimedActuator]
# How an actuator is made, and how long its plans take at most. One more is a line here.
ACTUATORS: dict[str, tuple[Make, float]] = {
    "at once": (lambda clock: TimedActuator(clock), 0.0),
    "timed": (lambda clock: TimedActuator(clock, 2.0), 2.0),
}


def plan(share_pct: int) -> Plan:
    models = (ModelShare(model="a", batch=4, rate_rps=10.0),)
    return Plan(gpulets=(GpuletPlan(device=0, share_pct=share_pct, models=models),))


@pytest.fixture(params=ACTUATORS)
def made(request: pytest.FixtureRequest) -> tuple[TimedActuator, ManualClock, float]:
    clock = ManualClock()
    make, takes_s = ACTUATORS[request.param]
    return make(clock), clock, takes_s


def test_a_plan_serves_in_the_end(made: tuple[TimedActuator, ManualClock, float]) -> None:
    actuator, clock, takes_s = made
    assert actuator.serving() == Plan()
    actuator.perform(plan(50), diff(Plan(), plan(50)))
    clock.sleep_s(takes_s)
    assert actuator.serving() == plan(50)


def test_the_same_plan_again_changes_nothing(
    made: tuple[TimedActuator, ManualClock, float],
) -> None:
    actuator, clock, takes_s = made
    steps = diff(Plan(), plan(50))
    actuator.perform(plan(50), steps)
    clock.sleep_s(takes_s / 2)
    # On its way: it does not begin anew.
    actuator.perform(plan(50), steps)
    clock.sleep_s(takes_s / 2)
    assert actuator.serving() == plan(50)
    actuator.perform(plan(50), steps)
    assert actuator.serving() == plan(50)


def test_the_last_plan_replaces_one_on_its_way(
    made: tuple[TimedActuator, ManualClock, float],
) -> None:
    actuator, clock, takes_s = made
    actuator.perform(plan(50), diff(Plan(), plan(50)))
    actuator.perform(plan(70), diff(Plan(), plan(70)))
    clock.sleep_s(takes_s)
    assert actuator.serving() == plan(70)
    actuator.perform(Plan(), diff(plan(70), Plan()))
    clock.sleep_s(takes_s)
    assert actuator.serving() == Plan()
