"""Why a rate is unmet: each reason with its numbers."""

import pytest

from glet.plan.problem import Device, DeviceType, Problem, Task
from glet.plan.why import never_served, why_unmet
from glet.profiles.device_profile import DeviceProfile, ModelProfile
from glet.types.plan import GpuletPlan, ModelShare, Plan


def problem(slo_ms: float = 100.0, *, devices: int = 1, memory_mb: float = 0.0) -> Problem:
    """`bert` and `vgg16` take 1.1 ms on a device, inversely as long on a part, and 500 MB each."""
    latencies = {share: {batch: (1.0 + 0.1 * batch) * 100.0 / share for batch in (1, 32)}
                 for share in (5, 100)}  # fmt: skip
    models = {name: ModelProfile(name, latencies, memory_mb=500.0) for name in ("bert", "vgg16")}
    profile = DeviceProfile("tiny", models, memory_mb=memory_mb, where="tiny/latency.csv")
    return Problem(
        tasks=(
            Task(model="bert", rate_rps=10.0, slo_ms=slo_ms),
            Task(model="vgg16", rate_rps=10.0, slo_ms=100.0),
        ),
        devices=tuple(Device(number=i, type="tiny") for i in range(devices)),
        types={"tiny": DeviceType(profile=profile, shares=tuple(range(5, 101, 5)))},
    )


def why(asked: Problem, *shares: int) -> str:
    """Why 10 rps of bert are unmet while device i has a gpulet of shares[i] with vgg16."""
    vgg16 = ModelShare(model="vgg16", batch=1, rate_rps=1.0, duty_cycle_ms=1000.0)
    gpulets = tuple(
        GpuletPlan(device=device, share_pct=share_pct, models=(vgg16,))
        for device, share_pct in enumerate(shares)
    )
    return why_unmet(asked, Plan(gpulets=gpulets, unmet={"bert": 10.0}))["bert"]


def test_memory_of_the_whole_device() -> None:
    assert why(problem(memory_mb=1900.0)) == ("memory: needs 1730 MB, of 'tiny' 1710 MB are usable")


def test_memory_that_is_left() -> None:
    assert why(problem(memory_mb=3000.0), 20) == (
        "memory: needs 1730 MB, 970 MB are left on device 0, the most where a share of 5 % is free"
    )


@pytest.mark.parametrize(
    ("shares", "free"),
    [
        ((70, 65), "the largest free share is 35 % (device 1)"),
        ((100, 100), "no device has any share free"),
    ],
)
def test_shares_that_are_left(shares: tuple[int, ...], free: str) -> None:
    assert why(problem(3.0, devices=2), *shares) == (
        f"no room: needs a gpulet of 45 % or more, {free}; "
        "what is left takes 0.0048 of a device that serves 2098 rps of it alone"
    )


def test_room_that_was_not_found() -> None:
    said = why(problem(), 40)
    assert said.startswith("no room found, though 60 % of device 0 are free: what is left takes")


def test_an_objective_below_the_fastest_latency() -> None:
    assert why(problem(1.0)) == (
        "SLO 1 ms of 'bert' is 0.210 ms below its fastest possible latency, "
        "1.210 ms on 100 % of 'tiny'"
    )


def test_a_model_without_profile_names_the_file() -> None:
    said = never_served(problem(), Task(model="bart", rate_rps=1.0, slo_ms=9.0))
    assert said == "tiny/latency.csv: has no model 'bart'; did you mean 'bert'?"
    assert never_served(problem(), problem().tasks[0]) is None
