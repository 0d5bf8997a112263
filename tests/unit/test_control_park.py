"""From observations to problems: shares, what is reserved, margins, triggers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glet.control.park import Park, unit_shares
from glet.control.reserve import cut, real, seen
from glet.control.trigger import TEXTS, signals, trigger_kind, why
from glet.plan.problem import DeviceType
from glet.policy.policy import Target
from glet.profiles.correction import Corrections
from glet.profiles.device_profile import DeviceProfile, ModelProfile
from glet.profiles.interference import ConstantInterference, NoInterference
from glet.types.observation import DeviceObservation, ModelObservation, Observation, Outcomes
from glet.types.plan import GpuletPlan, ModelShare, Plan, problems

SHARES = tuple(range(5, 101, 5))


def device_type(low_pct: int = 5) -> DeviceType:
    points = {share: {1: 100.0 / share, 8: 500.0 / share} for share in (low_pct, 50, 100)}
    profile = DeviceProfile("gpu", {"a": ModelProfile("a", points)}, memory_mb=0.0, where="gpu")
    return DeviceType(profile=profile, shares=SHARES, interference=NoInterference())


def observation(kind: str = "profiled", granularity_pct: float = 1.0) -> Observation:
    device = DeviceObservation(
        device=0, name="d", type="gpu", kind=kind, alive=True, granularity_pct=granularity_pct
    )
    return Observation(now_s=0.0, span_s=1.0, devices=(device,))


def target(model: str, slo_ms: float = 100.0) -> Target:
    return Target(model=model, rate_rps=10.0, slo_ms=slo_ms)


def test_shares_are_those_that_the_device_gives_and_the_profile_knows() -> None:
    assert unit_shares(2) == (50, 100)
    assert unit_shares(7) == (15, 29, 43, 58, 72, 86, 100)
    assert unit_shares(7, (2, 7)) == (15, 43, 58, 72, 86)
    for units in (1, 3, 6, 16, 66):
        # The units that a share of p % gives, rounded down, are as many as asked for.
        assert [p * units // 100 for p in unit_shares(units)] == list(range(1, units + 1))

    def shares(kind: str, granularity_pct: float, low_pct: int) -> tuple[int, ...]:
        park = Park({0: device_type(low_pct)}, 0.0, 0.0)
        seen_now = observation(kind, granularity_pct)
        asked = park.ask(seen_now, (target("a"),), Plan(), Corrections())
        return asked.problem.types[asked.problem.devices[0].type].shares

    assert shares("profiled", 1.0, 5) == SHARES
    assert shares("profiled", 1.0, 30) == SHARES[5:]
    assert shares("cpu", 25.0, 5) == (25, 50, 75, 100)
    assert shares("cpu", 25.0, 30) == (50, 75, 100)


def test_a_margin_is_kept_free_of_each_objective_but_never_most_of_it() -> None:
    park = Park({0: device_type()}, 4.0, 0.0)
    asked = park.ask(observation(), (target("a", 100.0),), Plan(), Corrections())
    assert asked.problem.tasks[0].slo_ms == 96.0
    asked = park.ask(observation(), (target("a", 5.0),), Plan(), Corrections())
    assert asked.problem.tasks[0].slo_ms == 2.5


def test_the_same_devices_and_profiles_are_the_same_question() -> None:
    park = Park({0: device_type()}, 0.0, 0.0)
    targets = (target("a"),)
    one = park.ask(observation(), targets, Plan(), Corrections())
    two = park.ask(observation(), targets, Plan(), Corrections())
    assert one.key == two.key
    name = one.problem.devices[0].type
    assert one.problem.types[name].profile is two.problem.types[name].profile
    gone = Observation(now_s=0.0, span_s=1.0)
    assert park.ask(gone, targets, Plan(), Corrections()).key != one.key


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    reserved_pct=st.integers(1, 100), units=st.sampled_from((0, 1, 2, 7, 16, 66)), data=st.data()
)
def test_what_fits_beside_what_is_reserved_fits_on_the_device(
    reserved_pct: int, units: int, data: st.DataObject
) -> None:
    whole = device_type()
    if units:
        whole = DeviceType(profile=whole.profile, shares=unit_shares(units))
    made = cut(whole, reserved_pct)
    if made is None:
        assert min(whole.shares) > 100 - reserved_pct
        return
    gpulets: list[GpuletPlan] = []
    left = 100
    while options := [share for share in made.type.shares if share <= left]:
        share_pct = data.draw(st.sampled_from(options))
        left -= share_pct
        same = sum(gpulet.share_pct == share_pct for gpulet in gpulets)
        gpulets.append(GpuletPlan(device=0, share_pct=share_pct, dedup=same))
    there = real(gpulets, made)
    assert all(gpulet.share_pct in whole.shares for gpulet in there)
    assert sum(gpulet.share_pct for gpulet in there) + reserved_pct <= 100
    assert seen(there, made) == gpulets
    for gpulet, inside in zip(there, gpulets, strict=True):
        if gpulet.share_pct >= 5:
            mine = made.type.profile.model("a").latency_ms(inside.share_pct, 8)
            assert mine == pytest.approx(whole.profile.model("a").latency_ms(gpulet.share_pct, 8))


def test_interference_beside_what_is_reserved_is_that_of_the_real_shares() -> None:
    whole = DeviceType(
        profile=device_type().profile, shares=SHARES, interference=ConstantInterference(1.3)
    )
    made = cut(whole, 50)
    assert made is not None
    assert made.type.interference.name == "constant"
    assert made.shares[100] == 50


def test_a_gpulet_with_a_model_that_has_no_profile_is_reserved_without_the_others() -> None:
    park = Park({0: device_type()}, 0.0, 0.0)
    both = (ModelShare(model="a", batch=4, rate_rps=5.0), ModelShare(model="odd", batch=2))
    plan = Plan(
        gpulets=(
            GpuletPlan(device=0, share_pct=60, models=both),
            GpuletPlan(device=3, share_pct=60, models=both),
        )
    )
    asked = park.ask(observation(), (target("a"), target("odd")), plan, Corrections())
    assert asked.unplanned == ("odd",)
    assert [task.model for task in asked.problem.tasks] == ["a"]
    assert [(g.device, [s.model for s in g.models]) for g in asked.reserved] == [
        (0, ["odd"]),
        (3, ["a", "odd"]),  # nothing is known of that device
    ]
    assert asked.inside(plan).gpulets == ()
    outside = asked.outside(Plan(gpulets=(GpuletPlan(device=0, share_pct=100, models=both[:1]),)))
    assert problems(outside.gpulets) == []
    assert [(g.device, g.share_pct) for g in outside.gpulets] == [(0, 60), (0, 40), (3, 60)]


def test_what_is_new_makes_a_round() -> None:
    def seen_now(alive: bool = True, names: str = "a", **more: int) -> Observation:
        device = DeviceObservation(device=2, name="d", type="gpu", kind="cpu", alive=alive)
        outcomes = Outcomes(ok=100, late=more.get("late", 0))
        waiting = more.get("waiting", 0)
        models = tuple(
            ModelObservation(model=name, slo_ms=100.0, outstanding=waiting, outcomes=outcomes)
            for name in names
        )
        return Observation(now_s=0.0, span_s=1.0, models=models, devices=(device,))

    def new(before: Observation, now: Observation, planned_rps: float = 50.0) -> str:
        rates = {"a": planned_rps, "b": planned_rps}
        return why(signals(before, rates), signals(now, rates))

    usual = seen_now()
    assert new(usual, usual) == ""
    assert new(usual, seen_now(alive=False)) == "device 2 is lost"
    assert new(seen_now(alive=False), usual) == "device 2 is there"
    assert new(usual, seen_now(names="ab")) == "model b appeared"
    assert new(seen_now(names="ab"), usual) == "model b went"
    assert new(usual, seen_now(late=3)) == "queue of a grows"
    assert new(usual, seen_now(late=2)) == ""
    # 50 requests/s within 100 ms are 5 on average; 17 are no chance.
    assert new(usual, seen_now(waiting=10)) == ""
    assert new(usual, seen_now(waiting=17)) == "queue of a grows"
    assert new(usual, seen_now(waiting=17), planned_rps=500.0) == ""
    # Nothing new: it was so in the round before.
    assert new(seen_now(waiting=17), seen_now(waiting=30)) == ""


def test_every_trigger_has_a_kind_without_names() -> None:
    for kind, text in TEXTS.items():
        assert trigger_kind(text.format("a, b")) == kind
    assert trigger_kind("epoch") == "epoch"
