"""The largest factor on all rates at which everything still fits on the devices there are."""

import math
from collections.abc import Callable, Iterable, Sequence

import msgspec

from glet.plan.assess import assess
from glet.plan.problem import Planner, Problem, Task

# The factor is found to half a percent.
PRECISION = 1.005
# A problem that does not fit at a millionth of its rates does not fit for another reason.
LEAST_FACTOR = 1e-6
MOST_RPS = 1e9


def scale(problem: Problem, factor: float) -> Problem:
    """The same problem with all rates `factor` times as high."""
    tasks = tuple(
        Task(model=task.model, rate_rps=task.rate_rps * factor, slo_ms=task.slo_ms)
        for task in problem.tasks
    )
    return msgspec.structs.replace(problem, tasks=tasks)


def peak_factor(
    planner: Planner,
    problem: Problem,
    probes: Iterable[float] = (),
    scaled: Callable[[Problem, float], Problem] = scale,
) -> float:
    """The peak: 0 when nothing fits at any rate, infinite without tasks.

    Doubles or halves from where it fits, then bisects down to 0.5 %. The largest of `probes`
    that fits is where it begins: a planner that contains others is never below their peaks. The
    answer is a factor at which the planner did place everything. What serves now (`current`) does
    not matter to what would fit. `scaled` says what is planned for at a factor.
    """
    if not problem.tasks:
        return math.inf
    problem = msgspec.structs.replace(problem, current=None)
    limit = math.nextafter(MOST_RPS / max(task.rate_rps for task in problem.tasks), 0.0)

    def fits(factor: float) -> bool:
        asked = scaled(problem, factor)
        return assess(asked, planner.plan(asked)).feasible

    low, high = _bracket(fits, [probe for probe in probes if 0.0 < probe < limit], limit)
    while low > 0.0 and high > low * PRECISION:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _bracket(
    fits: Callable[[float], bool], probes: Sequence[float], limit: float
) -> tuple[float, float]:
    """(a factor that fits, a larger one that does not); (0, 0) when none fits.

    At the limit of what a rate may be both are the limit.
    """
    start = next((probe for probe in sorted(probes, reverse=True) if fits(probe)), None)
    factor = min(1.0, limit) if start is None else start
    if start is None and not fits(factor):
        while factor > LEAST_FACTOR:
            factor /= 2.0
            if fits(factor):
                return factor, factor * 2.0
        return 0.0, 0.0
    while factor < limit:
        larger = min(factor * 2.0, limit)
        if not fits(larger):
            return factor, larger
        factor = larger
    return factor, factor
