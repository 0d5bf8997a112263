"""Autoscalers over shares of devices: what they see there, and which rates the planner gets."""

import msgspec
import pytest

from glet.config.cluster import ControlConfig
from glet.control.loop import ControlLoop
from glet.control.make import autoscaler_of
from glet.errors import ConfigError, ProfileError
from glet.plan.problem import DeviceType
from glet.policy.fleet.make import default_settings, make_autoscaler
from glet.policy.fleet_policy import (
    FleetPolicy,
    FleetPolicySettings,
    batches_of,
    capacity_rps,
)
from glet.policy.headroom import padded_rps
from glet.policy.make import make_policy
from glet.policy.policy import let_in
from glet.profiles.device_profile import DeviceProfile, ModelProfile
from glet.types.fleet import FleetJob, FleetObservation, FleetTargets
from glet.types.observation import DeviceObservation, ModelObservation, Observation, Outcomes
from glet.types.plan import GpuletPlan, ModelShare, Plan

PROFILE = ModelProfile(
    "m", {s: {b: 2.0 + 200.0 * b / s for b in (1, 2, 4, 8)} for s in (20, 50, 100)}
)
BATCHES = batches_of(PROFILE, 10, 2)
SETTINGS = FleetPolicySettings(step_pct=10, interval_s=10.0)
DEVICE = DeviceObservation(device=0, name="d0", type="t", kind="profiled", alive=True)


def seen(now_s: float, rate_rps: float, devices: int = 2) -> Observation:
    share = ModelShare(model="m", batch=4, rate_rps=5.0)
    return Observation(
        now_s=now_s,
        span_s=1.0,
        models=(
            ModelObservation(
                model="m",
                slo_ms=200.0,
                offered_rps=rate_rps,
                mean_rps=rate_rps,
                outcomes=Outcomes(ok=90, late=6, full=4),
            ),
            ModelObservation(model="other", slo_ms=50.0, mean_rps=3.0),
        ),
        devices=(DEVICE,) * devices,
        plan=Plan(gpulets=(GpuletPlan(device=0, share_pct=40, models=(share,)),)),
    )


class Fixed:
    """Always the same number of units; remembers what it saw."""

    name = "fixed"
    interval_s = 2.0

    def __init__(self, units: int) -> None:
        self.units = units
        self.accept: dict[str, float] = {}
        self.saw: list[FleetObservation] = []

    def targets(self, observation: FleetObservation) -> FleetTargets:
        self.saw.append(observation)
        return FleetTargets(replicas={"m": self.units}, accept=self.accept)


def test_steps_of_share_and_whole_devices_are_units() -> None:
    by = {(one.replicas, one.batch): one.latency_ms for one in BATCHES}
    # Nothing was measured at 10 %.
    assert min(replicas for replicas, _ in by) == 2
    assert by[2, 4] == pytest.approx(PROFILE.latency_ms(20, 4))
    assert by[10, 8] == by[20, 16] == pytest.approx(PROFILE.latency_ms(100, 8))
    with pytest.raises(ProfileError, match="no share in steps of 100 %"):
        batches_of(ModelProfile("x", {20: {1: 1.0}}), 100, 1)


def test_capacity_grows_with_units_and_keeps_the_objective() -> None:
    job = FleetJob(model="m", slo_ms=200.0, batches=BATCHES)
    found = [capacity_rps(job, units) for units in range(21)]
    assert found[:2] == [0.0, 0.0]
    assert found == sorted(found)
    assert found[20] > 1.5 * found[10] > 3.0 * found[2] > 0.0


def test_the_planner_gets_the_rate_of_the_units() -> None:
    fixed = Fixed(6)
    policy = FleetPolicy(fixed, SETTINGS, {"m": BATCHES})
    targets = {one.model: one for one in policy.targets(seen(100.0, 30.0))}
    job = fixed.saw[0].jobs[0]
    assert targets["m"].rate_rps == capacity_rps(job, 6)
    assert targets["other"].rate_rps == padded_rps(3.0, 0.25, 0.99)
    assert (job.target, job.violated, job.dropped) == (4, 0.1, 0.04)
    assert fixed.saw[0].quota == 20


def test_rounds_that_come_late_do_not_make_the_autoscaler_later_and_later() -> None:
    fixed = Fixed(5)
    policy = FleetPolicy(fixed, SETTINGS, {"m": BATCHES})
    for number in range(22):
        policy.targets(seen(50.0 + 1.1 * number, 30.0))
    # Every 2 s: at the first round after 0, 2, 4, ... 22 s.
    assert [round(saw.now_s, 1) for saw in fixed.saw][-3:] == [18.7, 20.9, 22.0]
    # Missed turns are not made up for.
    policy.targets(seen(150.0, 30.0))
    policy.targets(seen(151.1, 30.0))
    assert fixed.saw[-1].now_s == 100.0


def test_what_is_let_in_is_passed_on_until_the_autoscaler_says_otherwise() -> None:
    fixed = Fixed(5)
    policy = FleetPolicy(fixed, SETTINGS, {"m": BATCHES})
    assert let_in(policy.targets(seen(100.0, 30.0))) == {}
    fixed.accept = {"m": 0.5}
    # Between two decisions of the autoscaler the last one holds.
    assert let_in(policy.targets(seen(101.0, 30.0))) == {}
    assert let_in(policy.targets(seen(102.0, 30.0))) == {"m": 0.5}
    fixed.accept = {}
    assert let_in(policy.targets(seen(104.0, 30.0))) == {"m": 0.5}
    assert fixed.saw[-1].jobs[0].accept == 0.5
    fixed.accept = {"m": 1.0}
    assert let_in(policy.targets(seen(106.0, 30.0))) == {}


def test_arrivals_are_counted_by_interval_and_lost_devices_are_no_quota() -> None:
    fixed = Fixed(5)
    policy = FleetPolicy(fixed, SETTINGS, {"m": BATCHES})
    for number in range(26):
        policy.targets(seen(50.0 + number, 30.0, devices=1 if number > 20 else 2))
    last = fixed.saw[-1]
    assert last.now_s == 24.0
    assert len(fixed.saw) == 13
    assert last.jobs[0].arrivals == pytest.approx((300.0, 300.0))
    assert last.jobs[0].so_far == pytest.approx(120.0)
    assert last.jobs[0].target == 5
    assert last.quota == 10


@pytest.mark.parametrize("name", ["glet", "faro", "sizing", "aiad", "fair_share"])
def test_every_kind_follows_the_load(name: str) -> None:
    made = make_autoscaler(default_settings(name))
    policy = FleetPolicy(made, SETTINGS, {"m": BATCHES})
    found = []
    for number in range(40):
        rate_rps = 10.0 if number < 20 else 60.0
        found.append(policy.targets(seen(10.0 * number, rate_rps))[0].rate_rps)
    assert all(rate > 0.0 for rate in found)
    assert policy.errors == ()
    if name in ("glet", "sizing"):
        assert found[-1] >= 60.0


def test_a_control_loop_plans_the_shares_that_an_autoscaler_wants() -> None:
    profile = DeviceProfile("t", {"m": PROFILE}, memory_mb=1e6, where="x")
    kind = DeviceType(profile=profile, shares=(20, 50, 100))
    config = ControlConfig(mode="fleet", autoscaler="sizing", unit_pct=10)
    loop = ControlLoop(config, {0: kind, 1: kind}, plan=Plan())
    planned = []
    for number in range(120):
        rate_rps = 5.0 if number < 60 else 300.0
        only = msgspec.structs.replace(seen(float(number), rate_rps), plan=loop.plan)
        only = msgspec.structs.replace(
            only,
            models=only.models[:1],
            devices=(DEVICE, msgspec.structs.replace(DEVICE, device=1)),
        )
        done = loop.on_observation(only)
        assert done is not None
        assert not done.errors
        planned.append(sum(s.rate_rps for g in loop.plan.gpulets for s in g.models))
    assert 5.0 <= 2.0 * planned[59] <= planned[-1]
    assert autoscaler_of(ControlConfig(mode="fleet", autoscaler="faro_penalty_sum")) is not None
    assert autoscaler_of(ControlConfig(mode="follow", autoscaler="nobody")) is None
    with pytest.raises(ConfigError, match="did you mean 'faro_penalty_sum'"):
        autoscaler_of(ControlConfig(mode="fleet", autoscaler="faro_penalty_som"))
    with pytest.raises(ConfigError, match="did you mean 'sizing'"):
        make_policy("fleet", ControlConfig(mode="fleet", autoscaler="sising"))
