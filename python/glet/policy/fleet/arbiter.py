"""Several autoscalers on one quota: who decides about which model, and who gets what is left."""

from collections import defaultdict, deque
from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Literal, NamedTuple

import msgspec

from glet.errors import ConfigError
from glet.policy.fleet.guard import problem
from glet.policy.fleet.numbers import Count, NotNegative, Positive
from glet.types.fleet import Autoscaler, FleetObservation, FleetTargets

Rule = Literal["priority", "newest_loses", "fair_share"]


class Member(NamedTuple):
    """An autoscaler for the models whose names fit one of `scope` (as file names do)."""

    name: str
    autoscaler: Autoscaler
    scope: tuple[str, ...]
    priority: int = 0


class Overlap(NamedTuple):
    """Two members that would decide about the same models."""

    first: str
    second: str
    models: tuple[str, ...]


class ArbiterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How it is resolved when members want the same: the higher priority, whoever was there first,
    or the mean of what they want. With `refuse_overlap` members that overlap are not let in.

    A model whose target turned `turns` times within `turns_s` oscillates: it keeps the larger
    number for `hold_s`, and the targets say so.
    """

    rule: Rule = "priority"
    refuse_overlap: bool = True
    turns: Count = 4
    turns_s: Positive = 300.0
    hold_s: NotNegative = 300.0


class Arbiter:
    """The only owner of capacity: members propose, it grants.

    Each member sees the models of its scope and the whole quota, and answers when its own interval
    has passed. Together they may want more than there is: first comes what is given up, then growth
    in the order of the rule (`fair_share`: one replica at a time to who has least by weight).
    A member that fails is left out of this round, said in `errors`.
    """

    name = "arbiter"

    def __init__(self, settings: ArbiterSettings, models: Sequence[str] = ()) -> None:
        """`models` are those that are known when members are admitted."""
        self._settings = settings
        self._models = tuple(models)
        self._members: list[Member] = []
        self._asked_s: dict[str, float] = {}
        self._ways: dict[str, deque[tuple[float, int]]] = defaultdict(deque)
        self._held_until_s: dict[str, float] = {}

    @property
    def interval_s(self) -> float:
        return min((member.autoscaler.interval_s for member in self._members), default=10.0)

    def admit(self, member: Member) -> tuple[Overlap, ...]:
        """Lets a member in and says with whom it overlaps; the newest is last.

        Raises ConfigError for a name that is taken, an empty scope, and, with `refuse_overlap`, for
        a scope that overlaps another's at the same priority: then the priorities decide nothing.
        """
        if any(member.name == other.name for other in self._members):
            raise ConfigError(f"there is a policy {member.name!r} already")
        if not member.scope:
            raise ConfigError(f"policy {member.name!r} has no scope; name models, or '*'")
        found = []
        for other in self._members:
            both = self._both(other, member)
            if not both:
                continue
            found.append(Overlap(other.name, member.name, both))
            decided = self._settings.rule == "priority" and other.priority != member.priority
            if self._settings.refuse_overlap and not decided:
                raise ConfigError(
                    f"policy {member.name!r} overlaps {other.name!r} on {', '.join(both)}; "
                    "give them priorities, or scopes apart"
                )
        self._members.append(member)
        return tuple(found)

    def dismiss(self, name: str) -> None:
        """Its models stay as they are, unless another member decides about them."""
        self._members = [member for member in self._members if member.name != name]
        self._asked_s.pop(name, None)

    def targets(self, observation: FleetObservation) -> FleetTargets:
        wishes: dict[str, list[tuple[Member, int]]] = defaultdict(list)
        accept: dict[str, float] = {}
        errors: list[str] = []
        for member in self._ordered():
            said, error = self._proposed(member, observation)
            errors += [error] if error else []
            for model, count in said.replicas.items():
                wishes[model].append((member, count))
            accept |= {m: part for m, part in said.accept.items() if m not in accept}
            errors += [f"{member.name}: {one}" for one in said.errors]
        wanted = {model: self._one(found) for model, found in wishes.items()}
        errors += self._calmed(observation, wanted)
        owner = {model: found[0][0] for model, found in wishes.items()}
        granted, cut = self._granted(observation, wanted, owner)
        why = f"cut to what there is: {', '.join(cut)}" if cut else ""
        return FleetTargets(replicas=granted, accept=accept, why=why, errors=tuple(errors))

    def _ordered(self) -> list[Member]:
        """Who comes first; sorting keeps the order of admission."""
        if self._settings.rule == "priority":
            return sorted(self._members, key=lambda member: -member.priority)
        return list(self._members)

    def _proposed(self, member: Member, observation: FleetObservation) -> tuple[FleetTargets, str]:
        last_s = self._asked_s.get(member.name)
        if last_s is not None and observation.now_s < last_s + member.autoscaler.interval_s - 1e-6:
            return FleetTargets(), ""
        self._asked_s[member.name] = observation.now_s
        jobs = tuple(job for job in observation.jobs if _fits(member, job.model))
        seen = msgspec.structs.replace(observation, jobs=jobs)
        try:
            said = member.autoscaler.targets(seen)
        # Whatever somebody's policy raises must not stop the others.
        except Exception as error:  # noqa: BLE001
            text = " ".join(str(error).split())
            return FleetTargets(), f"{member.name}: {type(error).__name__}: {text}"
        wrong = problem(seen, said)
        return (FleetTargets(), f"{member.name}: {wrong}") if wrong else (said, "")

    def _one(self, found: list[tuple[Member, int]]) -> int:
        if self._settings.rule == "fair_share":
            return round(sum(count for _, count in found) / len(found))
        return found[0][1]

    def _calmed(self, observation: FleetObservation, wanted: dict[str, int]) -> list[str]:
        """Holds models that oscillate at the larger number; says which."""
        settings, now_s = self._settings, observation.now_s
        errors = []
        for job in observation.jobs:
            move = wanted.get(job.model, job.target) - job.target
            ways = self._ways[job.model]
            while ways and ways[0][0] < now_s - settings.turns_s:
                ways.popleft()
            if move:
                ways.append((now_s, 1 if move > 0 else -1))
            signs = [way for _, way in ways]
            turned = sum(a != b for a, b in pairwise(signs))
            if turned >= settings.turns:
                self._held_until_s[job.model] = now_s + settings.hold_s
                ways.clear()
                errors.append(
                    f"{job.model!r} turned {turned} times in {settings.turns_s:g} s: "
                    f"it does not shrink for {settings.hold_s:g} s"
                )
            if move < 0 and now_s < self._held_until_s.get(job.model, -1e18):
                wanted[job.model] = job.target
        return errors

    def _granted(
        self, observation: FleetObservation, wanted: dict[str, int], owner: dict[str, Member]
    ) -> tuple[dict[str, int], list[str]]:
        """Targets within the quota, and the models that got less than was wanted."""
        granted = {
            job.model: min(wanted[job.model], job.target)
            for job in observation.jobs
            if job.model in wanted
        }
        free = observation.quota - sum(
            job.units * granted.get(job.model, job.target) for job in observation.jobs
        )
        growing = [job for job in observation.jobs if wanted.get(job.model, 0) > job.target]
        rank = {member.name: at for at, member in enumerate(self._ordered())}
        growing.sort(key=lambda job: rank[owner[job.model].name])
        while growing:
            job = growing[0]
            if self._settings.rule == "fair_share":
                job = min(growing, key=lambda one: granted[one.model] * one.units / one.weight)
            if granted[job.model] >= wanted[job.model] or job.units > free:
                growing.remove(job)
                continue
            granted[job.model] += 1
            free -= job.units
        return granted, [model for model, count in granted.items() if count < wanted[model]]

    def _both(self, first: Member, second: Member) -> tuple[str, ...]:
        """Models that both decide about; of unknown ones, patterns that are the same."""
        known = tuple(m for m in self._models if _fits(first, m) and _fits(second, m))
        return known or tuple(
            one
            for one in first.scope
            for other in second.scope
            if fnmatchcase(one, other) or fnmatchcase(other, one)
        )


def _fits(member: Member, model: str) -> bool:
    return any(fnmatchcase(model, pattern) for pattern in member.scope)
