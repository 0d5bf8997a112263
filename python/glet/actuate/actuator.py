"""What an actuator is: it makes a plan true."""

from collections.abc import Sequence
from typing import Protocol

from glet.plan.diff import PlanStep
from glet.types.plan import Plan


class Actuator(Protocol):
    """Brings devices from what serves to `plan`, now or later; it does not wait for that.

    The plan is absolute and counts; `steps` are how it differs from the plan before, for whoever
    performs them one at a time. The last plan replaces one that is still on its way. Calling it
    again with the same plan is harmless: nothing is done twice.
    """

    def perform(self, plan: Plan, steps: Sequence[PlanStep]) -> None: ...
