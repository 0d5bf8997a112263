"""The control loop in virtual time: arrivals, plans that take effect, devices that are lost."""

import itertools
import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import pytest

from glet.actuate.timed import TimedActuator
from glet.clock import ManualClock
from glet.config.cluster import ControlConfig
from glet.control.loop import ControlLoop
from glet.control.replay import first_difference, replay
from glet.control.round import Round
from glet.plan.problem import DeviceType
from glet.profiles.device_profile import DeviceProfile, ModelProfile
from glet.profiles.interference import NoInterference
from glet.types.observation import (
    DeviceObservation,
    GpuletObservation,
    ModelObservation,
    Observation,
    Outcomes,
    TenantObservation,
)
from glet.types.plan import GpuletPlan, ModelShare, Plan, problems

SPAN_S = 1.0
STEP_S = 0.25
BATCHES = (1, 2, 4, 8, 16, 32)
SHARES = tuple(range(10, 101, 10))
Rate = Callable[[float], float | None]
"""Time in s -> requests/s; None while nobody knows of the model."""


def device_type(models: Sequence[str], shares: Sequence[int] = SHARES) -> DeviceType:
    """Every model takes 2 ms and 1 ms per item on the whole device, longer on a share."""
    latencies = {
        share: {batch: 2.0 + 1.0 * batch / (share / 100.0) for batch in BATCHES} for share in SHARES
    }
    profiles = {model: ModelProfile(model, latencies, memory_mb=100.0) for model in models}
    profile = DeviceProfile("gpu", profiles, memory_mb=20_000.0, where="gpu")
    return DeviceType(profile=profile, shares=tuple(shares), interference=NoInterference())


class World:
    """Models with rates, devices that may be lost, and the loop that is told of them.

    Requests are Poisson (`seed`) or, with None, exactly as many as the rate says. What a plan does
    not give is late; nothing waits from one step to the next.
    """

    def __init__(
        self,
        rates: dict[str, Rate],
        devices: int,
        config: ControlConfig,
        *,
        seed: int | None = 0,
        takes_s: float = 0.5,
        known: Sequence[str] | None = None,
    ) -> None:
        self.rates = rates
        self.kind = device_type(tuple(rates) if known is None else known)
        self.clock = ManualClock()
        self.actuator = TimedActuator(self.clock, takes_s)
        self.loop = ControlLoop(config, dict.fromkeys(range(devices), self.kind))
        self.lost: set[int] = set()
        self.devices = devices
        self.rounds: list[Round] = []
        self.served: list[tuple[float, str, float, float]] = []
        self.correction: dict[str, float] = {}
        self._config = config
        self._rng = None if seed is None else np.random.default_rng(seed)
        self._steps: dict[str, list[float]] = {model: [] for model in rates}
        self._mean: dict[str, float] = {}

    def run(self, until_s: float) -> list[Round]:
        """The rounds held until then."""
        first = len(self.rounds)
        while self.clock.now_s() < until_s - 1e-9:
            self.clock.sleep_s(STEP_S)
            done = self.loop.on_observation(self.observe())
            if done is None:
                continue
            self.rounds.append(done)
            if done.plan is not None:
                self.actuator.perform(done.plan, done.steps)
        return self.rounds[first:]

    def changes(self, since_s: float) -> list[Round]:
        return [r for r in self.rounds if r.plan is not None and r.now_s > since_s]

    def unmet_rps(self, model: str, since_s: float, until_s: float) -> float:
        """The largest shortfall of a model between two times."""
        return max(
            (max(0.0, asked - given) for at, name, asked, given in self.served
             if name == model and since_s < at <= until_s),
            default=0.0,
        )  # fmt: skip

    def observe(self) -> Observation:
        now_s = self.clock.now_s()
        plan = self.actuator.serving()
        models = []
        for name, rate in self.rates.items():
            asked_rps = rate(now_s - STEP_S / 2)
            if asked_rps is None:
                self._steps[name] = []
                self._mean.pop(name, None)
                continue
            models.append(self._model(name, asked_rps, plan))
        return Observation(
            now_s=now_s,
            span_s=SPAN_S,
            models=tuple(models),
            devices=tuple(self._device(number, plan) for number in range(self.devices)),
            plan=plan,
        )

    def _model(self, name: str, asked_rps: float, plan: Plan) -> ModelObservation:
        expected = asked_rps * STEP_S
        count = expected if self._rng is None else float(self._rng.poisson(expected))
        steps = self._steps[name]
        steps.append(count)
        whole = round(SPAN_S / STEP_S)
        offered_rps = sum(steps[-whole:]) / SPAN_S
        part = 1.0 - math.exp(-STEP_S / self._config.mean_s)
        mean = self._mean.get(name, offered_rps)
        self._mean[name] = mean + part * (count / STEP_S - mean)
        back = round(self._config.peak_s / STEP_S)
        spans = [
            sum(steps[end - whole : end]) / SPAN_S
            for end in range(max(whole, len(steps) - back), len(steps) + 1)
        ]
        given_rps = capacity_rps(plan, name, self.lost)
        self.served.append((self.clock.now_s(), name, asked_rps, given_rps))
        late = max(0.0, offered_rps - given_rps)
        return ModelObservation(
            model=name,
            slo_ms=100.0,
            max_batch=32,
            offered_rps=offered_rps,
            mean_rps=self._mean[name],
            peak_rps=max(spans, default=offered_rps),
            goodput_rps=offered_rps - late,
            outcomes=Outcomes(ok=round(offered_rps - late), late=round(late)),
            outstanding=round(late * SPAN_S),
        )

    def _device(self, number: int, plan: Plan) -> DeviceObservation:
        return DeviceObservation(
            device=number,
            name=f"device{number}",
            type="gpu",
            kind="profiled",
            alive=number not in self.lost,
            gpulets=tuple(
                self._gpulet(at, gpulet) for at, gpulet in enumerate(plan.on_device(number))
            ),
        )

    def _gpulet(self, at: int, gpulet: GpuletPlan) -> GpuletObservation:
        models = []
        for share in gpulet.models:
            table = ()
            if share.model in self.kind.profile.models():
                row = self.kind.profile.model(share.model).tables((gpulet.share_pct,))[0]
                table = tuple(enumerate(row.tolist(), start=1))
            models.append(
                TenantObservation(
                    model=share.model,
                    state="serving",
                    batch=share.batch,
                    mean_batch=1.0,
                    busy=0.3,
                    correction=self.correction.get(share.model, 1.0),
                    latency_ms=table,
                )
            )
        return GpuletObservation(
            gpulet=at,
            share_pct=gpulet.share_pct,
            given_pct=float(gpulet.share_pct),
            state="serving",
            busy=0.3,
            models=tuple(models),
        )


def capacity_rps(plan: Plan, model: str, lost: set[int]) -> float:
    """What a plan gives a model on the devices that are there."""
    return sum(
        share.rate_rps
        for gpulet in plan.gpulets
        if gpulet.device not in lost
        for share in gpulet.models
        if share.model == model
    )


def constant(rate_rps: float) -> Rate:
    return lambda _: rate_rps


def between(low: float, high: float, since_s: float, until_s: float) -> Rate:
    return lambda t: high if since_s <= t < until_s else low


FIVE: dict[str, Rate] = {
    name: constant(rate)
    for name, rate in zip("abcde", (200.0, 100.0, 50.0, 10.0, 400.0), strict=True)
}
FOLLOW = ControlConfig(mode="follow")


def structural(rounds: Sequence[Round]) -> list[Round]:
    """Rounds that change more than rates and batches."""
    return [r for r in rounds if any(step.kind != "switch" for step in r.steps)]


def test_at_a_constant_load_nothing_changes() -> None:
    world = World(FIVE, 4, FOLLOW, seed=None)
    world.run(120.0)
    assert world.rounds[0].trigger == "start"
    assert world.changes(40.0) == []
    assert all(world.unmet_rps(name, 10.0, 120.0) == 0.0 for name in FIVE)


@pytest.mark.parametrize("seed", range(2))
def test_chance_moves_hardly_anything(seed: int) -> None:
    world = World(FIVE, 4, FOLLOW, seed=seed)
    world.run(120.0)
    assert len(structural(world.changes(40.0))) <= 2
    assert max(world.unmet_rps(name, 40.0, 120.0) for name in FIVE) == 0.0


def test_a_rise_is_planned_within_an_epoch_and_a_fall_after_the_hold() -> None:
    world = World({"a": between(200.0, 900.0, 30.0, 60.0), "b": constant(100.0)}, 4, FOLLOW)
    world.run(100.0)
    took_s = FOLLOW.epoch_s + 1.0
    up = next(r for r in world.changes(30.0) if capacity_rps(r.plan or Plan(), "a", set()) >= 900.0)
    assert up.now_s <= 30.0 + took_s
    before = next(r for r in reversed(world.rounds) if r.now_s < 30.0)
    assert up.wanted > before.wanted
    fewer = [r for r in world.changes(60.0) if r.wanted < up.wanted]
    assert fewer[0].now_s >= 60.0 + FOLLOW.shrink_after_s
    assert fewer[0].now_s <= 60.0 + FOLLOW.shrink_after_s + FOLLOW.peak_s + 4.0
    assert world.rounds[-1].wanted == before.wanted
    assert world.rounds[-1].in_use == before.wanted


def test_a_burst_of_three_times_is_served_from_a_second_or_two_on() -> None:
    world = World({"a": between(200.0, 600.0, 30.0, 45.0), "b": constant(100.0)}, 4, FOLLOW)
    world.run(60.0)
    assert world.unmet_rps("a", 30.0, 31.0) > 0.0
    assert world.unmet_rps("a", 32.5, 60.0) == 0.0
    # Whoever did not change is served all along.
    assert world.unmet_rps("b", 20.0, 60.0) == 0.0


def test_a_model_that_appears_is_planned_at_once_and_one_that_goes_is_given_up() -> None:
    rates: dict[str, Rate] = {
        "a": constant(100.0),
        "new": lambda t: 80.0 if t >= 30.1 else None,
        "old": lambda t: None if t >= 50.1 else 80.0,
    }
    world = World(rates, 4, FOLLOW, seed=None)
    world.run(70.0)
    came = next(r for r in world.rounds if "new" in r.trigger)
    assert came.trigger == "model new appeared"
    assert came.now_s == 30.25
    assert came.plan is not None
    assert "new" in came.plan.models()
    gone = next(r for r in world.rounds if "old" in r.trigger and r.now_s > 40.0)
    assert gone.trigger == "model old went"
    assert "old" not in (gone.plan or Plan()).models()


def test_a_silent_model_keeps_what_is_needed_for_its_least_rate() -> None:
    world = World({"a": between(100.0, 0.0, 20.0, 1e9)}, 1, FOLLOW, seed=None)
    world.run(120.0)
    assert world.rounds[-1].targets[0].rate_rps == FOLLOW.min_rps
    assert capacity_rps(world.actuator.serving(), "a", set()) == pytest.approx(FOLLOW.min_rps)


def test_a_lost_device_is_planned_around_and_used_again() -> None:
    world = World({name: constant(400.0) for name in "abc"}, 3, FOLLOW, seed=None)
    world.run(20.0)
    assert world.rounds[-1].unmet == {}
    used = {gpulet.device for gpulet in world.loop.plan.gpulets}
    victim = min(used)
    world.lost = {victim}
    lost = world.run(20.25)[0]
    assert lost.trigger == f"device {victim} is lost"
    assert lost.plan is not None
    assert victim not in {gpulet.device for gpulet in lost.plan.gpulets}
    world.run(30.0)
    unmet_without = sum(world.loop.plan.unmet.values())
    world.lost = set()
    back = world.run(30.25)[0]
    assert back.trigger == f"device {victim} is there"
    assert sum(back.unmet.values()) <= unmet_without
    assert world.rounds[-1].errors == ()


def test_a_controller_that_starts_takes_over_what_serves() -> None:
    rates = {name: constant(300.0) for name in "abc"}
    before = World(rates, 3, FOLLOW, seed=None)
    before.run(40.0)
    plan = before.loop.plan
    assert len({gpulet.device for gpulet in plan.gpulets}) > 1
    after = World(rates, 3, FOLLOW, seed=None)
    after.actuator.perform(plan, ())
    after.clock.sleep_s(1.0)
    # Backends are heard one after the other, the first round hears of none.
    whole = after.observe()
    for heard in range(4):
        seen = msgspec.structs.replace(
            whole,
            now_s=1.0 + heard,
            devices=whole.devices[:heard],
            plan=Plan(gpulets=tuple(g for g in plan.gpulets if g.device < heard)),
        )
        done = after.loop.on_observation(seen)
        assert done is not None
        assert done.errors == ()
        assert heard or done.plan is None
    assert after.loop.plan.gpulets
    assert after.loop.plan.unmet == {}
    moved = {(g.device, s.model) for g in after.loop.plan.gpulets for s in g.models} - {
        (g.device, s.model) for g in plan.gpulets for s in g.models
    }
    # While a device was not heard, what it serves was planned elsewhere; never all of it anew.
    assert len(moved) <= 2


def test_what_does_not_fit_is_said_and_the_plan_rests() -> None:
    world = World({name: constant(900.0) for name in "abc"}, 1, FOLLOW, seed=None)
    world.run(100.0)
    assert sum(world.rounds[-1].unmet.values()) > 1000.0
    assert world.changes(40.0) == []
    served = sum(capacity_rps(world.actuator.serving(), name, set()) for name in "abc")
    assert served > 300.0
    # The queues grow all the time: that alone does not make it spin.
    assert len([r for r in world.rounds if r.now_s > 40.0]) <= 61


def test_the_same_again_decides_the_same() -> None:
    rates = FIVE | {"a": between(200.0, 700.0, 20.0, 35.0)}
    one, two = World(rates, 4, FOLLOW, seed=7), World(rates, 4, FOLLOW, seed=7)
    assert one.run(50.0) == two.run(50.0)
    types = dict.fromkeys(range(4), one.kind)
    assert first_difference(replay(one.rounds, ControlLoop(FOLLOW, types))) is None
    # What a record holds is enough: as JSON and back.
    told = msgspec.json.decode(msgspec.json.encode(one.rounds), type=list[Round])
    assert first_difference(replay(told, ControlLoop(FOLLOW, types))) is None
    other = ControlLoop(msgspec.structs.replace(FOLLOW, headroom_quantile=0.9), types)
    assert "targets was" in (first_difference(replay(told, other)) or "")


@pytest.mark.parametrize("planner", ["timeshare", "elastic", "selftuning", "edf"])
def test_every_planner_follows(planner: str) -> None:
    config = ControlConfig(mode="follow", planner=planner)
    world = World(
        {"a": between(100.0, 300.0, 20.0, 40.0), "b": constant(50.0)}, 4, config, seed=None
    )
    world.run(40.0)
    assert not any(r.errors for r in world.rounds)
    assert world.unmet_rps("a", 25.0, 40.0) == 0.0
    assert world.unmet_rps("b", 5.0, 40.0) == 0.0


def test_static_leaves_the_plan_alone_and_still_tells() -> None:
    world = World(FIVE, 2, ControlConfig(mode="static"))
    world.run(5.0)
    assert [r.plan for r in world.rounds] == [None] * len(world.rounds)
    assert {m.model for m in world.rounds[-1].observation.models} == set(FIVE)
    assert world.rounds[-1].why == "static: the plan stays as it is"


def test_the_published_cadence_can_be_said() -> None:
    config = ControlConfig(
        mode="published",
        planner="elastic",
        epoch_s=20.0,
        triggers=False,
        reorganise_s=10.0,
        mean_s=20.0,
        peak_s=20.0,
    )
    world = World({"a": between(100.0, 400.0, 50.0, 1e9)}, 2, config, seed=None)
    world.run(120.0)
    due = [r for r in world.rounds if r.plan is not None]
    # Decided every 20 s, given out 10 s later; between the two nothing is planned.
    assert {r.trigger for r in due} == {"plan due"}
    assert all(b.now_s - a.now_s >= 20.0 for a, b in itertools.pairwise(due))
    assert due[0].now_s == world.rounds[0].now_s + 10.0
    assert world.unmet_rps("a", 50.0, 70.0) == pytest.approx(400.0 - 150.0)
    assert world.unmet_rps("a", 110.0, 120.0) == 0.0


def test_a_failed_round_keeps_the_plan_counts_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World({"a": between(100.0, 500.0, 10.0, 20.0)}, 2, FOLLOW, seed=None)
    world.run(9.0)
    plan = world.loop.plan

    def fails(problem: object) -> Plan:
        raise ArithmeticError("no plan today")

    with monkeypatch.context() as patch:
        patch.setattr(world.loop._planner, "plan", fails)
        bad = [r for r in world.run(13.0) if r.errors]
    assert bad[0].errors == ("ArithmeticError: no plan today",)
    assert [r.failed for r in bad] == list(range(1, len(bad) + 1))
    assert all(r.plan is None for r in bad)
    assert world.rounds[-1].wanted == len({g.device for g in plan.gpulets})
    # As soon as it plans again, what was missed is done.
    world.run(16.0)
    assert world.rounds[-1].errors == ()
    assert capacity_rps(world.loop.plan, "a", set()) >= 500.0


def test_a_model_without_a_profile_stays_where_it_is() -> None:
    odd = GpuletPlan(device=0, share_pct=30, models=(ModelShare(model="odd", batch=2),))
    rates = {"a": between(50.0, 1100.0, 20.0, 40.0), "odd": constant(5.0)}
    world = World(rates, 2, FOLLOW, seed=None, known=("a",))
    world.actuator.perform(Plan(gpulets=(odd,)), ())
    world.clock.sleep_s(1.0)
    world.run(60.0)
    assert all(r.unplanned == ("odd",) for r in world.rounds)
    assert not any(r.errors for r in world.rounds)
    assert world.unmet_rps("a", 25.0, 40.0) == 0.0
    for done in world.changes(0.0):
        assert done.plan is not None
        assert problems(done.plan.gpulets) == []
        kept = [g for g in done.plan.gpulets if "odd" in {share.model for share in g.models}]
        assert [(g.device, g.share_pct, g.models) for g in kept] == [(0, 30, odd.models)]
    beside = [g for r in world.changes(0.0) for g in (r.plan or Plan()).on_device(0)]
    assert any(g.models and g.models[0].model == "a" for g in beside)


def test_latencies_are_planned_as_measured() -> None:
    world = World({"a": constant(150.0)}, 2, FOLLOW, seed=None)
    world.run(15.0)
    share_pct = sum(gpulet.share_pct for gpulet in world.loop.plan.gpulets)
    world.correction = {"a": 2.0}
    world.run(60.0)
    last = world.rounds[-1]
    assert [(c.model, c.device_type) for c in last.corrections] == [("a", "gpu")]
    assert 1.7 <= last.corrections[0].factor <= 2.0
    assert sum(gpulet.share_pct for gpulet in world.loop.plan.gpulets) > share_pct
    assert world.changes(40.0) == []
