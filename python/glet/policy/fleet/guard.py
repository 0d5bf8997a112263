"""Bounds, pauses and a fallback around any autoscaler."""

from collections.abc import Mapping

import msgspec

from glet.errors import ConfigError
from glet.policy.fleet.numbers import Count, NotNegative
from glet.types.fleet import Autoscaler, FleetJob, FleetObservation, FleetTargets


class GuardSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`bounds` by model are [least, most] replicas inside which a wish is followed.

    A model that changed is left alone for `cooldown_s`, and does not shrink for `down_cooldown_s`
    after it grew. A wish has to be there `debounce` times in a row, in the same direction, before
    it is followed, and to be at least `least_change` replicas.
    """

    bounds: dict[str, tuple[int, int]] = {}
    cooldown_s: NotNegative = 0.0
    down_cooldown_s: NotNegative = 0.0
    debounce: Count = 1
    least_change: Count = 1

    def __post_init__(self) -> None:
        for model, (least, most) in self.bounds.items():
            if not 0 <= least <= most:
                raise ValueError(f"bounds of {model!r} are {least}..{most}; 0 <= least <= most")
        if self.debounce < 1 or self.least_change < 1:
            raise ValueError("debounce and least_change are 1 or more")


class Guard:
    """Asks `inner`, and follows it where that is safe.

    When it raises, or names replicas below 0, unknown models or more than exists, nothing of what
    it said is used: `fallback` is asked instead, and where that fails too everything stays; the
    targets say so in `errors`. What pauses and bounds hold back is named in `why`. Shapes as in Ray
    Serve, where bounds and delays are wrapped around any policy; time is that of the observation.
    """

    def __init__(
        self,
        inner: Autoscaler,
        settings: GuardSettings,
        fallback: Autoscaler | None = None,
    ) -> None:
        self._inner, self._settings, self._fallback = inner, settings, fallback
        self.name = inner.name
        self.interval_s = inner.interval_s
        self._changed_s: dict[str, float] = {}
        self._grew_s: dict[str, float] = {}
        self._wished: dict[str, tuple[int, int]] = {}

    def targets(self, observation: FleetObservation) -> FleetTargets:
        found, errors = self._asked(observation)
        held: list[str] = []
        replicas: dict[str, int] = {}
        for job in observation.jobs:
            wanted = found.replicas.get(job.model, job.target)
            allowed = self._allowed(job, wanted, observation.now_s)
            if allowed != wanted:
                held.append(job.model)
            replicas[job.model] = allowed
        over = _used(observation, replicas) > observation.quota
        if over and _used(observation, {}) <= observation.quota:
            # What another was to give up is held: nobody grows now.
            replicas = {j.model: min(replicas[j.model], j.target) for j in observation.jobs}
            held = [*held, "what would not fit beside them"]
        self._note(observation, replicas)
        why = found.why
        if held:
            why = f"{why}; held: {', '.join(held)}".lstrip("; ")
        return FleetTargets(
            replicas=replicas, accept=found.accept, why=why, errors=(*found.errors, *errors)
        )

    def _asked(self, observation: FleetObservation) -> tuple[FleetTargets, tuple[str, ...]]:
        """What may be followed, and what went wrong on the way."""
        errors: list[str] = []
        for one in (self._inner, self._fallback):
            if one is None:
                continue
            try:
                found = one.targets(observation)
            # Whatever somebody's policy raises must not stop what serves.
            except Exception as error:  # noqa: BLE001
                errors.append(f"{one.name}: {type(error).__name__}: {_line(error)}")
                continue
            wrong = problem(observation, found)
            if not wrong:
                return found, tuple(errors)
            errors.append(f"{one.name}: {wrong}")
        return FleetTargets(why="stays as it is"), tuple(errors)

    def _allowed(self, job: FleetJob, wanted: int, now_s: float) -> int:
        settings = self._settings
        least, most = settings.bounds.get(job.model, (0, wanted))
        bound = min(max(wanted, least), most)
        move = bound - job.target
        way = (move > 0) - (move < 0)
        before, times = self._wished.get(job.model, (0, 0))
        times = times + 1 if way == before else 1
        self._wished[job.model] = (way, times)
        outside = not least <= job.target <= most and job.model in settings.bounds
        if not way or outside:
            return bound
        paused = now_s - self._changed_s.get(job.model, -1e18) < settings.cooldown_s
        grew = now_s - self._grew_s.get(job.model, -1e18) < settings.down_cooldown_s
        small = abs(move) < settings.least_change or times < settings.debounce
        return job.target if paused or small or (way < 0 and grew) else bound

    def _note(self, observation: FleetObservation, replicas: Mapping[str, int]) -> None:
        for job in observation.jobs:
            if replicas[job.model] != job.target:
                self._changed_s[job.model] = observation.now_s
                self._wished.pop(job.model, None)
            if replicas[job.model] > job.target:
                self._grew_s[job.model] = observation.now_s


def problem(observation: FleetObservation, targets: FleetTargets) -> str:
    """Why these targets cannot be followed, in one line; empty when they can."""
    jobs = {job.model: job for job in observation.jobs}
    for model, count in targets.replicas.items():
        if model not in jobs:
            return f"names {model!r}, which there is not"
        job = jobs[model]
        if isinstance(count, bool) or not isinstance(count, int):
            return f"asks for {count!r} replicas of {model!r}; a whole number is valid"
        if count != job.target and not job.min_replicas <= count <= job.max_replicas:
            limits = f"{job.min_replicas}..{job.max_replicas}"
            return f"asks for {count} replicas of {model!r}; valid is {limits}"
    for model, part in targets.accept.items():
        if model not in jobs or not 0.0 <= part <= 1.0:
            return f"lets in {part:g} of {model!r}; 0..1 of a known model is valid"
    used = _used(observation, targets.replicas)
    if used > observation.quota and used > _used(observation, {}):
        return f"asks for {used} units of {observation.quota}"
    return ""


def with_bounds(settings: GuardSettings, observation: FleetObservation) -> None:
    """Raises ConfigError when bounds name a model that there is not, or need more than exists."""
    jobs = {job.model: job for job in observation.jobs}
    for model in settings.bounds:
        if model not in jobs:
            raise ConfigError(f"bounds of {model!r}: there is no such model")
    least = sum(
        job.units * settings.bounds.get(name, (job.min_replicas, 0))[0]
        for name, job in jobs.items()
    )
    if least > observation.quota:
        raise ConfigError(f"bounds need {least} units, of {observation.quota}")


def _used(observation: FleetObservation, replicas: Mapping[str, int]) -> int:
    return sum(job.units * replicas.get(job.model, job.target) for job in observation.jobs)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
