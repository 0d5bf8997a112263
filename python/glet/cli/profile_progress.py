"""How far `glet profile` is: a bar with the time left on a terminal, else a line per point."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from glet.cli.table import number
from glet.clock import Clock
from glet.profiles.interference import Tenant
from glet.serve.profiler import Step
from glet.serve.profiler_pairs import PROBE
from glet.serve.profiler_task import PairDone, PointDone

# Before so much of it is done, the measured pace says nothing.
PACE_AFTER_S = 3.0


class ProfileProgress:
    """A context; show() takes every step."""

    def __init__(self, total_s: float, console: Console, clock: Clock) -> None:
        """`total_s` is what the steps are foreseen to take."""
        self._console = console
        self._clock = clock
        self._start_s = clock.now_s()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=total_s or 1.0, left="")

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def show(self, step: Step) -> None:
        """A job began or a point was measured."""
        left = duration(left_s(step, self._clock.now_s() - self._start_s))
        what = " beside ".join(described(tenant) for tenant in step.tenants)
        if self._console.is_terminal:
            self._bar.update(
                self._task, description=what, completed=step.spent_s, left=f"{left} left"
            )
        elif step.done is not None:
            line = f"{what}: {found(step.done)}; about {left} left"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def left_s(step: Step, elapsed_s: float) -> float:
    """What was foreseen of the rest, at the pace so far."""
    pace = elapsed_s / step.spent_s if step.spent_s >= PACE_AFTER_S else 1.0
    return (step.total_s - step.spent_s) * pace


def described(tenant: Tenant) -> str:
    """A model on a gpulet, for people."""
    if tenant.model == PROBE:
        return f"the memory probe on {tenant.share_pct} %"
    return f"{tenant.model} batch {tenant.batch} on {tenant.share_pct} %"


def found(done: PointDone | PairDone) -> str:
    """What was measured, for people."""
    if isinstance(done, PointDone):
        point = done.measured
        unsteady = "" if point.steady else ", not settled"
        return f"{number(point.p50_ms)} ms ({point.samples} samples{unsteady})"
    slowdowns = [side.beside.p50_ms / side.alone.p50_ms for side in done.sides]
    unsteady = "" if done.steady else " (not settled)"
    times = " and ".join(f"{slowdown:.2f}" for slowdown in slowdowns)
    return f"{times} times as long as alone{unsteady}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 90.0:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 5400.0:
        return f"{seconds / 60.0:.0f} min"
    return f"{seconds / 3600.0:.1f} h"
