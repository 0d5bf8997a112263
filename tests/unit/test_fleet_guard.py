"""Guard and arbiter: who may change what, and what is said when something is wrong."""

import msgspec
import pytest

from glet.errors import ConfigError
from glet.policy.fleet.arbiter import Arbiter, ArbiterSettings, Member
from glet.policy.fleet.guard import Guard, GuardSettings, with_bounds
from glet.types.fleet import FleetJob, FleetObservation, FleetTargets


class Says:
    """Says what it is told to, or raises it."""

    interval_s = 10.0

    def __init__(self, *said: dict[str, int] | Exception, name: str = "says") -> None:
        self.name = name
        self._said = list(said)
        self.saw: list[FleetObservation] = []

    def targets(self, observation: FleetObservation) -> FleetTargets:
        self.saw.append(observation)
        found = self._said.pop(0) if len(self._said) > 1 else self._said[0]
        if isinstance(found, Exception):
            raise found
        return FleetTargets(replicas=found)


def at(now_s: float, quota: int = 10, **targets: int) -> FleetObservation:
    jobs = (FleetJob(model=m, slo_ms=100.0, max_replicas=8, target=n) for m, n in targets.items())
    return FleetObservation(now_s=now_s, quota=quota, jobs=tuple(jobs))


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (RuntimeError("no\nidea"), "says: RuntimeError: no idea"),
        ({"a": 8, "b": 8}, "says: asks for 16 units of 10"),
        ({"a": 9}, "says: asks for 9 replicas of 'a'; valid is 1..8"),
        ({"a": -1}, "says: asks for -1 replicas of 'a'; valid is 1..8"),
        ({"c": 1}, "says: names 'c', which there is not"),
        ({"a": 1.5}, "says: asks for 1.5 replicas of 'a'; a whole number is valid"),
    ],
)
def test_what_cannot_be_followed_is_said_and_the_fallback_asked(
    said: dict[str, int] | Exception, error: str
) -> None:
    guard = Guard(Says(said), GuardSettings(), Says({"a": 3}, name="safe"))
    found = guard.targets(at(0.0, a=2, b=2))
    assert found.replicas == {"a": 3, "b": 2}
    assert found.errors == (error,)


def test_without_a_fallback_that_works_everything_stays() -> None:
    guard = Guard(Says(ValueError("x")), GuardSettings(), Says({"a": 99}, name="safe"))
    found = guard.targets(at(0.0, a=2, b=2))
    assert found.replicas == {"a": 2, "b": 2}
    assert len(found.errors) == 2
    assert "safe: asks for 99" in found.errors[1]


def run(settings: GuardSettings, said: list[int], step_s: float = 10.0) -> list[int]:
    guard = Guard(Says(*({"a": n} for n in said)), settings)
    target, found = 2, []
    for number in range(len(said)):
        target = guard.targets(at(number * step_s, a=target)).replicas["a"]
        found.append(target)
    return found


def test_pauses_debounce_and_bounds() -> None:
    assert run(GuardSettings(cooldown_s=20.0), [3, 4, 5, 5]) == [3, 3, 5, 5]
    assert run(GuardSettings(down_cooldown_s=30.0), [4, 2, 2, 2]) == [4, 4, 4, 2]
    assert run(GuardSettings(debounce=2), [3, 2, 3, 3]) == [2, 2, 2, 3]
    assert run(GuardSettings(least_change=2), [3, 4, 3]) == [2, 4, 4]
    assert run(GuardSettings(bounds={"a": (3, 4)}), [1, 8, 2]) == [3, 4, 3]


def test_what_is_held_is_named() -> None:
    found = Guard(Says({"a": 8}), GuardSettings(bounds={"a": (1, 3)})).targets(at(0.0, a=2))
    assert found.why == "held: a"
    # What b was to give up is held: a does not grow into it.
    settings = GuardSettings(bounds={"b": (5, 8)})
    found = Guard(Says({"a": 8, "b": 1}), settings).targets(at(0.0, a=5, b=5))
    assert found.replicas == {"a": 5, "b": 5}


def test_wrong_settings_are_said() -> None:
    for text in ("bounds = {a = [3, 1]}", "debounce = 0"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.toml.decode(text, type=GuardSettings)
    with pytest.raises(ConfigError, match="there is no such model"):
        with_bounds(GuardSettings(bounds={"x": (1, 2)}), at(0.0, a=1))
    with pytest.raises(ConfigError, match="bounds need 11 units, of 10"):
        with_bounds(GuardSettings(bounds={"a": (10, 10)}), at(0.0, a=1, b=1))


def member(name: str, said: dict[str, int], scope: str = "*", priority: int = 0) -> Member:
    return Member(name, Says(said, name=name), (scope,), priority)


def arbiter(rule: str, *members: Member, **more: object) -> Arbiter:
    settings = msgspec.convert({"rule": rule, "refuse_overlap": False, **more}, ArbiterSettings)
    made = Arbiter(settings, ("a", "b", "ab"))
    for one in members:
        made.admit(one)
    return made


def test_overlap_is_refused_when_it_is_admitted() -> None:
    made = Arbiter(ArbiterSettings(), ("a", "b", "ab"))
    assert made.admit(member("first", {}, "a*")) == ()
    with pytest.raises(ConfigError, match="'second' overlaps 'first' on ab; give them priorities"):
        made.admit(member("second", {}, "*b"))
    with pytest.raises(ConfigError, match="there is a policy 'first' already"):
        made.admit(member("first", {}, "b"))
    with pytest.raises(ConfigError, match="has no scope"):
        made.admit(Member("empty", Says({}), ()))
    # With another priority it is decided.
    found = made.admit(member("third", {}, "*b", priority=1))
    assert [(one.first, one.models) for one in found] == [("first", ("ab",))]
    made.dismiss("first")
    assert made.admit(member("fourth", {}, "a")) == ()


@pytest.mark.parametrize(
    ("rule", "wanted"), [("priority", 7), ("newest_loses", 3), ("fair_share", 5)]
)
def test_who_decides_about_the_same_model(rule: str, wanted: int) -> None:
    made = arbiter(rule, member("old", {"a": 3}), member("new", {"a": 7}, priority=1))
    assert made.targets(at(0.0, a=1)).replicas == {"a": wanted}


def grown(made: Arbiter) -> dict[str, int]:
    found = made.targets(at(0.0, a=2, b=2))
    assert found.why.startswith("cut to what there is")
    return dict(found.replicas)


def test_who_gets_what_there_is() -> None:
    def pair(priority: int) -> list[Member]:
        return [member("old", {"a": 8}, "a"), member("new", {"b": 8}, "b", priority)]

    assert grown(arbiter("priority", *pair(1))) == {"a": 2, "b": 8}
    assert grown(arbiter("newest_loses", *pair(1))) == {"a": 8, "b": 2}
    assert grown(arbiter("fair_share", *pair(0))) == {"a": 5, "b": 5}


def test_what_one_gives_up_another_gets() -> None:
    made = arbiter("priority", member("x", {"a": 8}, "a"), member("y", {"b": 2}, "b"))
    assert made.targets(at(0.0, a=5, b=5)).replicas == {"a": 8, "b": 2}


def test_members_see_their_scope_at_their_interval_and_fail_alone() -> None:
    good, bad = Says({"a": 3}, name="good"), Says(KeyError("oops"), name="bad")
    made = arbiter("priority", Member("good", good, ("a",)), Member("bad", bad, ("b",)))
    found = made.targets(at(0.0, a=1, b=1))
    assert found.replicas == {"a": 3}
    assert found.errors == ("bad: KeyError: 'oops'",)
    assert [job.model for job in good.saw[0].jobs] == ["a"]
    made.targets(at(5.0, a=3, b=1))
    assert len(good.saw) == 1


def test_oscillation_is_said_and_calmed() -> None:
    made = arbiter("priority", Member("x", Says(*({"a": n} for n in (4, 2) * 8)), ("a",)))
    target, errors, held = 2, [], []
    for number in range(8):
        found = made.targets(at(10.0 * number, a=target))
        target = found.replicas["a"]
        held.append(target)
        errors += found.errors
    assert errors[0] == "'a' turned 4 times in 300 s: it does not shrink for 300 s"
    assert held[4:] == [4, 4, 4, 4]
