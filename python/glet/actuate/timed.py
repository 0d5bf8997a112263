"""An actuator without devices: plans take effect when so much time went by."""

from collections.abc import Sequence

from glet.clock import Clock
from glet.plan.diff import PlanStep
from glet.types.plan import Plan


class TimedActuator:
    """Holds what serves. A plan serves `takes_s` after it was given, at once where that is 0."""

    def __init__(self, clock: Clock, takes_s: float = 0.0, plan: Plan | None = None) -> None:
        self._clock = clock
        self._takes_s = takes_s
        self._serving = plan or Plan()
        self._coming: tuple[float, Plan] | None = None

    def perform(self, plan: Plan, steps: Sequence[PlanStep]) -> None:
        if self._coming is not None and self._coming[1] == plan:
            return
        if self._coming is None and self._serving == plan:
            return
        self._coming = self._clock.now_s() + self._takes_s, plan

    def serving(self) -> Plan:
        """The plan that serves now."""
        if self._coming is not None and self._coming[0] <= self._clock.now_s():
            self._serving, self._coming = self._coming[1], None
        return self._serving
