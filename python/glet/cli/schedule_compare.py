"""Asks one planner or all of them the same question, and measures what comes back."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import msgspec
from rich.console import Console

from glet.cli.schedule_report import Planned
from glet.clock import Clock
from glet.errors import ArgumentError
from glet.plan.assess import assess
from glet.plan.bound import lower_bound
from glet.plan.make import PLANNERS, make_planner
from glet.plan.peak import peak_factor
from glet.plan.problem import Problem
from glet.plan.why import why_unmet

T = TypeVar("T")

OURS = "glet"
"""The planner that has the others' plans among its candidates; its peak is never below theirs."""

SLOW = "exhaustive"
"""The planner that is asked unbidden only where it answers within seconds."""

# (tasks, devices) up to which it is asked for a plan, and for the twenty that a peak takes.
SLOW_PLAN = (6, 4)
SLOW_PEAK = (4, 2)
SLOW_SHARES = 20


class Asking:
    """Asks planners about one problem. Progress goes to `console`, where it is a terminal."""

    def __init__(
        self, problem: Problem, clock: Clock, console: Console, effort: float = 1.0
    ) -> None:
        self._effort = effort
        self._problem = problem
        self._clock = clock
        self._console = console
        with self._shown("proving how many devices are needed"):
            self._bound = lower_bound(problem)

    def one(self, name: str, *, peak: bool) -> Planned:
        """That planner's answer. Raises ConfigError for its name, ArgumentError for its sizes."""
        planned = self._plan(name)
        if not peak:
            return planned
        others = [other for other in PLANNERS if name == OURS != other]
        peaks = [self._unbidden(other, SLOW_PEAK, self._peak) for other in others]
        found = self._peak(name, [factor for factor in peaks if factor is not None])
        return msgspec.structs.replace(planned, peak=found)

    def all(self, *, peak: bool) -> dict[str, Planned | None]:
        """Every planner's answer by name; None where the problem is too large for it."""
        answers = {name: self._unbidden(name, SLOW_PLAN, self._plan) for name in PLANNERS}
        if not peak:
            return answers
        peaks: dict[str, float] = {}
        # Ours last: it begins where the others ended.
        for name in sorted(PLANNERS, key=lambda name: name == OURS):
            probes = list(peaks.values()) if name == OURS else []
            found = self._unbidden(name, SLOW_PEAK, partial(self._peak, probes=probes))
            if found is not None:
                peaks[name] = found
        return {
            name: msgspec.structs.replace(planned, peak=peaks.get(name)) if planned else None
            for name, planned in answers.items()
        }

    def _plan(self, name: str) -> Planned:
        planner = make_planner(name, effort=self._effort)
        with self._shown(f"{name}: planning"):
            start_s = self._clock.now_s()
            plan = planner.plan(self._problem)
            seconds = self._clock.now_s() - start_s
        return Planned(
            planner=name,
            plan=plan,
            found=assess(self._problem, plan),
            seconds=seconds,
            bound=self._bound,
            why=why_unmet(self._problem, plan),
        )

    def _peak(self, name: str, probes: Sequence[float] = ()) -> float:
        with self._shown(f"{name}: looking for the peak"):
            return peak_factor(make_planner(name, effort=self._effort), self._problem, probes)

    def _unbidden(self, name: str, most: tuple[int, int], ask: Callable[[str], T]) -> T | None:
        """The answer, or None where the problem is too large for the planner."""
        size = (len(self._problem.tasks), len(self._problem.devices))
        fine = any(len(kind.shares) > SLOW_SHARES for kind in self._problem.types.values())
        if name == SLOW and (fine or size[0] > most[0] or size[1] > most[1]):
            return None
        try:
            return ask(name)
        except ArgumentError:
            return None

    @contextmanager
    def _shown(self, doing: str) -> Iterator[None]:
        if self._console.is_terminal:
            with self._console.status(doing):
                yield
        else:
            yield
