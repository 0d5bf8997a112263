"""What cannot be asked, and what is left of rates."""

import pytest

from glet.errors import ArgumentError
from glet.plan.problem import Device, DeviceType, Problem, Task, check_problem, unmet
from glet.profiles.device_profile import DeviceProfile, ModelProfile

TYPE = DeviceType(
    profile=DeviceProfile(
        "t", {"a": ModelProfile("a", {100: {1: 1.0}})}, memory_mb=0.0, where="here"
    ),
    shares=(100,),
)


def problem(*tasks: Task, devices: tuple[Device, ...] = (Device(number=4, type="t"),)) -> Problem:
    return Problem(tasks=tasks, devices=devices, types={"t": TYPE})


def task(model: str = "a", rate_rps: float = 10.0, slo_ms: float = 5.0) -> Task:
    return Task(model=model, rate_rps=rate_rps, slo_ms=slo_ms)


def test_lookups() -> None:
    asked = problem(task("a"), task("b", rate_rps=3.0))
    check_problem(asked)
    assert asked.task("b").rate_rps == 3.0
    assert asked.type_of(4) is TYPE
    assert TYPE.name == "t"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (problem(task(), task()), "model a is there twice"),
        (problem(devices=(Device(number=1, type="t"),) * 2), "device 1 is there twice"),
        (problem(task(rate_rps=0.0)), "task 'a': rate 0 rps, SLO 5 ms; both are above 0"),
        (problem(task(rate_rps=-1.0)), "task 'a': rate -1 rps"),
        (problem(task(slo_ms=0.0)), "SLO 0 ms"),
        (problem(task(slo_ms=float("nan"))), "SLO nan ms"),
        (problem(task(rate_rps=1e9)), "below 1e9"),
        (problem(devices=(Device(number=1, type="tt"),)), "device 1: type 'tt' is unknown; "),
    ],
)
def test_what_cannot_be_asked(asked: Problem, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        check_problem(asked)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unmet_is_what_is_left() -> None:
    asked = problem(task("b", rate_rps=30.0), task("a", rate_rps=10.0), task("c", rate_rps=7.0))
    left = unmet(asked, [("a", 4.0), ("a", 1.0), ("b", 30.0 * (1.0 - 1e-8))])
    assert left == {"a": 5.0, "c": 7.0}
    assert list(left) == ["a", "c"]
    assert unmet(problem(), []) == {}
