"""What a policy is: it says for which rate each model should be planned."""

from typing import Protocol

import msgspec

from glet.types.observation import Observation


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The rate that a model shall be planned for, and within what time each answer is due.

    `accept` is the part of its requests that frontends let in, 0..1.
    """

    model: str
    rate_rps: float
    slo_ms: float
    accept: float = 1.0


Targets = tuple[Target, ...]
"""One per model of the observation, by name."""


def let_in(targets: Targets) -> dict[str, float]:
    """The part of its requests by model, of those of which not all are let in."""
    return {target.model: target.accept for target in targets if target.accept < 1.0}


class Policy(Protocol):
    """Observation -> targets. It remembers what it saw, and takes the time from the observation.

    The same observations in the same order give the same targets.
    """

    @property
    def name(self) -> str: ...

    @property
    def plans(self) -> bool:
        """Whether anything is to be planned for these targets; False: the plan stays as it is."""

    def targets(self, observation: Observation) -> Targets:
        """Call it once per control round, with observations in the order of time."""
