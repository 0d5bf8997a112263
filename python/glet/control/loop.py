"""The control loop: observe -> policy -> planner -> diff -> round."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from glet.clock import Clock, ManualClock
from glet.config.cluster import ControlConfig
from glet.control.park import Park
from glet.control.round import Round
from glet.control.trigger import Signals, signals, why
from glet.plan.assess import assess
from glet.plan.diff import PlanStep, diff
from glet.plan.glet import FEW_MODELS, GletPlanner
from glet.plan.keep import Repair, stayed
from glet.plan.make import make_planner
from glet.plan.moves import moves
from glet.plan.problem import DeviceType, Problem, check_problem
from glet.policy.fleet.make import AutoscalerSettings
from glet.policy.make import make_policy
from glet.policy.policy import Targets
from glet.profiles.correction import Corrections
from glet.types.observation import Observation
from glet.types.plan import Plan

# Parts of all models' rates, added up: less is not worth a change.
LEAST_GAIN = 1e-3
# Epochs for which shrinking targets are collected before devices are given up.
SETTLING = 2.0
START, EPOCH, GIVEN = "start", "epoch", "plan due"


class _Decision(NamedTuple):
    """The plan that should serve, None for none other, and why."""

    plan: Plan | None
    why: str
    unplanned: tuple[str, ...] = ()


class ControlLoop:
    """Decides what shall serve. Pure: time comes with the observation, the clock only measures.

    A plan is changed when it pays: something unmet can be served, devices can be given up for less
    than the moves cost, or the plan that serves does not fit the targets any more. First the plan
    that serves is tried at the new rates; only when it does not carry them, or when targets shrank,
    the planner is asked, with that plan as the current one. The same question is not asked twice.
    """

    def __init__(
        self,
        config: ControlConfig,
        types: Mapping[int, DeviceType],
        *,
        plan: Plan | None = None,
        margin_ms: float = 0.0,
        clock: Clock | None = None,
        autoscaler: AutoscalerSettings | None = None,
    ) -> None:
        """`types` by device number is what profiles say; `plan` what serves, None: as observed.

        `config.mode` names the policy; `auto` has to be decided by then. `autoscaler` is for mode
        `fleet`; None: the one that `config` names, without a file. Raises ConfigError for a
        policy or planner that there is not.
        """
        self._config = config
        profiles = {number: kind.profile for number, kind in types.items()}
        self._policy = make_policy(config.mode, config, profiles, autoscaler)
        self._planner = make_planner(config.planner)
        self._park = Park(types, margin_ms, config.move_cost)
        self._clock = clock or ManualClock()
        self._repair = Repair()
        self._corrections = Corrections()
        self._plan = plan
        self._coming: tuple[float, Plan] | None = None
        self._before: Signals | None = None
        self._asked: tuple[object, Targets] | None = None
        self._shrunk_at_s: float | None = None
        self._last_s = 0.0
        self._number = self._failed = 0
        self._device_s = 0.0
        self._times_ms: dict[str, float] = {}

    @property
    def plan(self) -> Plan:
        """What shall serve: the last plan that was given out."""
        return self._plan or Plan()

    def on_observation(self, observation: Observation) -> Round | None:
        """One round, or None when none is due. Observations come in the order of time."""
        if self._plan is None:
            self._plan = observation.plan
        now = signals(observation, _rates(self._plan) if self._policy.plans else {})
        trigger = self._trigger(observation.now_s, now)
        if trigger is None:
            return None
        if self._before is not None:
            used = sum(device.in_use for device in observation.devices)
            self._device_s += used * (observation.now_s - self._last_s)
        self._adopt(observation, now.alive - (self._before.alive if self._before else set()))
        self._before, self._last_s = now, observation.now_s
        self._number += 1
        self._times_ms = {}
        return self._round(observation, trigger)

    def _adopt(self, observation: Observation, appeared: AbstractSet[int]) -> None:
        """Takes what a device that appeared serves for planned, where nothing else is there.

        Backends are not all heard at once; who is heard later has been serving as long.
        """
        mine = {gpulet.device for gpulet in self.plan.gpulets}
        found = [
            gpulet
            for gpulet in observation.plan.gpulets
            if gpulet.device in appeared and gpulet.device not in mine
        ]
        if found:
            self._plan = Plan(gpulets=(*self.plan.gpulets, *found), unmet=self.plan.unmet)

    def _trigger(self, now_s: float, now: Signals) -> str | None:
        if self._before is None:
            return START
        since_s = now_s - self._last_s
        if self._coming is not None and now_s >= self._coming[0]:
            return GIVEN
        new = why(self._before, now) if self._config.triggers else ""
        if since_s >= self._config.epoch_s - 1e-9:
            return new or EPOCH
        return new or None if since_s >= self._config.min_gap_s else None

    def _round(self, observation: Observation, trigger: str) -> Round:
        before = self.plan
        targets: Targets = ()
        steps: tuple[PlanStep, ...] = ()
        decision = _Decision(None, "")
        errors: tuple[str, ...] = ()
        try:
            targets = self._targets(observation)
            decision = self._decide(observation, targets)
            if decision.plan is not None:
                with self._timed("diff"):
                    steps = _steps(before, decision.plan)
                self._plan = decision.plan
        except Exception as error:  # noqa: BLE001 - whatever it is, the last plan keeps serving
            errors = (f"{type(error).__name__}: {error}",)
            decision = _Decision(None, "failed: the plan stays as it is")
            self._failed += 1
            self._asked = None
        plan = self.plan
        return Round(
            number=self._number,
            now_s=observation.now_s,
            trigger=trigger,
            observation=observation,
            targets=targets,
            why=decision.why,
            plan=decision.plan,
            steps=steps,
            moves=sum(step.kind == "load" for step in steps),
            wanted=len({gpulet.device for gpulet in plan.gpulets if gpulet.models}),
            in_use=sum(device.in_use for device in observation.devices),
            device_s=self._device_s,
            cost=self._device_s * self._config.cost_per_device_s,
            unmet=dict(plan.unmet),
            unplanned=decision.unplanned,
            corrections=self._corrections.notes(),
            errors=errors,
            failed=self._failed,
            times_ms=self._times_ms,
        )

    def _targets(self, observation: Observation) -> Targets:
        with self._timed("policy"):
            if self._config.correct:
                base = {n: k.interference for n, k in self._park.interferences().items()}
                samples = self._park.samples(observation)
                self._corrections = self._corrections.observed(observation.now_s, samples, base)
            return self._policy.targets(observation)

    def _decide(self, observation: Observation, targets: Targets) -> _Decision:
        if not self._policy.plans:
            return _Decision(None, f"{self._policy.name}: the plan stays as it is")
        if self._coming is not None:
            if observation.now_s < self._coming[0]:
                return _Decision(None, "a plan is on its way")
            plan, self._coming = self._coming[1], None
            return _Decision(plan, "the plan is due")
        decision = self._planned(observation, targets)
        if decision.plan is not None and self._config.reorganise_s > 0.0:
            self._coming = observation.now_s + self._config.reorganise_s, decision.plan
            return decision._replace(plan=None, why=f"{decision.why}; on its way")
        return decision

    def _planned(self, observation: Observation, targets: Targets) -> _Decision:
        current = self.plan
        with self._timed("problem"):
            asked = self._park.ask(observation, targets, current, self._corrections)
        if not asked.problem.devices:
            # Nobody could do otherwise, and whoever is back is asked what it serves.
            return _Decision(None, "no device can be planned", asked.unplanned)
        question = (asked.key, targets)
        consolidate = self._may_shrink(observation.now_s, targets)
        if question == self._asked and not consolidate:
            return _Decision(None, "nothing changed", asked.unplanned)
        recheck = self._asked is None or self._asked[0] != asked.key
        inside = asked.inside(current)
        problem = msgspec.structs.replace(asked.problem, current=inside)
        check_problem(problem)
        with self._timed("stay"):
            stay = stayed(problem, inside, recheck=recheck)
        best, reason = stay, "fits, at new rates"
        if stay.unmet or consolidate:
            with self._timed("plan"):
                best, reason = self._better(problem, stay, consolidate=consolidate)
        if consolidate:
            self._shrunk_at_s = None
        self._asked = question
        plan = asked.outside(best)
        if plan == current:
            return _Decision(None, "fits", asked.unplanned)
        return _Decision(plan, reason, asked.unplanned)

    def _may_shrink(self, now_s: float, targets: Targets) -> bool:
        """Whether targets shrank since the planner was last asked, and long enough ago.

        Models shrink one after the other; those of a while are looked at together, of a longer one
        where there are many, because then it takes longer.
        """
        few = len(targets) <= FEW_MODELS
        settling_s = self._config.epoch_s * SETTLING if few else self._config.shrink_after_s
        if self._number == 1:
            # What served before the loop began may be more than is needed.
            self._shrunk_at_s = now_s + self._config.shrink_after_s
        elif self._asked is not None and _any_less(self._asked[1], targets):
            self._shrunk_at_s = now_s if self._shrunk_at_s is None else self._shrunk_at_s
        if self._shrunk_at_s is None:
            return False
        return now_s - self._shrunk_at_s >= settling_s

    def _wanted(self, problem: Problem, *, consolidate: bool) -> Plan:
        """The planner's plan; for many models and `glet`, a repair where that is enough.

        A search over all of them takes longer than an epoch should, for the sake of a few.
        """
        many = len(problem.tasks) > FEW_MODELS and isinstance(self._planner, GletPlanner)
        if many and not consolidate and problem.current is not None and problem.current.gpulets:
            wanted = self._repair.plan(problem, problem.current)
            if not wanted.unmet:
                return wanted
        return self._planner.plan(problem)

    def _better(self, problem: Problem, stay: Plan, *, consolidate: bool) -> tuple[Plan, str]:
        """The planner's plan if it pays against staying."""
        wanted = self._wanted(problem, consolidate=consolidate)
        fault = _fault(problem, wanted, stay)
        if fault is not None:
            return stay, f"the planner's plan does not hold: {fault}"
        gain = _unmet(problem, stay) - _unmet(problem, wanted)
        # Where not everything fits, serving others is no end in itself.
        moved = moves(problem.current or Plan(), wanted) if wanted.unmet else 0
        if gain > LEAST_GAIN + problem.move_cost * moved:
            return wanted, "serves what was unmet"
        saved = _cost(problem, stay) - _cost(problem, wanted)
        if gain > -LEAST_GAIN and saved > 1e-9 and _devices(wanted) < _devices(stay):
            return wanted, "gives up devices"
        return stay, "no plan is better" if stay.unmet else "fits, at new rates"

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start_s = self._clock.now_s()
        yield
        self._times_ms[part] = (self._clock.now_s() - start_s) * 1000.0


def _rates(plan: Plan) -> dict[str, float]:
    rates: dict[str, float] = defaultdict(float)
    for gpulet in plan.gpulets:
        for share in gpulet.models:
            rates[share.model] += share.rate_rps
    return rates


def _any_less(before: Targets, now: Targets) -> bool:
    """Whether something is wanted less, or not at all any more."""
    rates = {target.model: target.rate_rps for target in now}
    return any(rates.get(target.model, 0.0) < target.rate_rps for target in before)


def _steps(current: Plan, wanted: Plan) -> tuple[PlanStep, ...]:
    """The steps on devices that change; the others need none."""
    have, want = _by_device(current), _by_device(wanted)
    same = {number for number, gpulets in want.items() if have.get(number) == gpulets}
    return diff(_without(current, same), _without(wanted, same))


def _by_device(plan: Plan) -> dict[int, list[object]]:
    found: dict[int, list[object]] = defaultdict(list)
    for gpulet in plan.gpulets:
        found[gpulet.device].append(gpulet)
    return dict(found)


def _fault(problem: Problem, wanted: Plan, stay: Plan) -> str | None:
    """What does not hold on devices that are not as in `stay`, or None."""
    have, want = _by_device(stay), _by_device(wanted)
    part = _without(wanted, {number for number, found in want.items() if have.get(number) == found})
    rates = _rates(part)
    tasks = (
        msgspec.structs.replace(task, rate_rps=rates[task.model])
        for task in problem.tasks
        if task.model in rates
    )
    faults = assess(msgspec.structs.replace(problem, tasks=tuple(tasks)), part).faults
    return faults[0] if faults else None


def _without(plan: Plan, devices: set[int]) -> Plan:
    return Plan(gpulets=tuple(g for g in plan.gpulets if g.device not in devices))


def _unmet(problem: Problem, plan: Plan) -> float:
    """Each model's part of its rate that is unmet, added up."""
    return sum(plan.unmet[t.model] / t.rate_rps for t in problem.tasks if t.model in plan.unmet)


def _devices(plan: Plan) -> int:
    return len({gpulet.device for gpulet in plan.gpulets if gpulet.models})


def _cost(problem: Problem, plan: Plan) -> float:
    moved = moves(problem.current or Plan(), plan)
    return _devices(plan) + problem.move_cost * moved
