"""How an app's objective is split over its stages, and which tasks for models that makes.

Shen et al., "Nexus", SOSP 2019, section 6.2: the split that needs the least of the devices, by
dynamic programming over time. For a stage u with the stages v that follow it, and a time t,

    f(u, t) = min over t' <= t of  g(u, t') + sum over v of f(v, t - t')

where g(u, t') is the part of a device that the stage's requests need when each is due within t'.
Nexus takes the throughput of the largest batch with 2 L(b) <= t'. Here a stage may be n requests
that arrive together (an axis that was split), r times a second; on a share p batches of b take

    k = ceil(n / b) batches:   (k + 1) L(b) <= t'    (L(1) for n = b = 1: no batch to wait for)
    m = ceil(b / n) - 1 more app requests to fill it:    L(b) + m / r <= t'

and needs r n p L(b) / b of a device. g is the least of that over types, shares and batches.

The recursion is exact where every stage follows one other at most (a tree). A stage that joins
several is planned by levels (longest way from the start): all stages of a level get the same time.
Time that no stage of a way needs is given to its stages in equal parts. Splitting the objective
into equal parts by levels is a candidate, so the result is never worse than that.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glet.errors import ProfileError
from glet.plan.problem import DeviceType, Rules, Task
from glet.types.app import AppSpec

STEPS = 240
"""Into so many parts an objective is cut: divisible by 2, 3, 4, 5, 6, 8, 10 and 12."""


class Measured(NamedTuple):
    """Latency of a batch on a share of some device."""

    share_pct: float
    batch: int
    latency_ms: float


class AppSplit(NamedTuple):
    """Budgets in ms by stage, in the app's order; no way through the app is longer than its SLO.

    `devices` is the part of devices that all stages need together; infinite when a stage cannot
    be done in time: then budgets are in proportion to the least that each takes.
    """

    budgets_ms: tuple[float, ...]
    devices: float


class Option(NamedTuple):
    """With so much time a stage needs so many devices."""

    time_ms: float
    devices: float


def split_slo(
    app: AppSpec,
    rate_rps: float,
    measured: Mapping[str, Iterable[Measured]],
    *,
    slo_ms: float | None = None,
) -> AppSplit:
    """The split for `rate_rps` app requests per second (may be infinite: batches always fill).

    `measured` by model. Without any for one of the models: equal parts. `slo_ms` replaces the
    app's own.
    """
    total_ms = app.slo_ms if slo_ms is None else slo_ms
    options = [stage_options(measured.get(s.model, ()), s.fan_out, rate_rps) for s in app.stages]
    levels = levels_of(app)
    even_ms = total_ms / (max(levels) + 1)
    even = AppSplit((even_ms,) * len(options), cost(options, (even_ms,) * len(options)))
    if not all(options):
        return even._replace(devices=math.inf, budgets_ms=_filled(app, even.budgets_ms, total_ms))
    step_ms = total_ms / STEPS
    own = [_steps(each, step_ms) for each in options]
    follow = followers(app)
    joins = any(len(stage.needs) > 1 for stage in app.stages)
    steps = _by_levels(own, levels) if joins else _by_tree(own, levels, follow)
    if steps is None and math.isinf(even.devices):
        least = tuple(min(option.time_ms for option in each) for each in options)
        return AppSplit(_filled(app, least, total_ms), math.inf)
    found = [even.budgets_ms]
    if steps is not None:
        # First: where equal parts cost the same, it knows what each stage needs.
        found.insert(0, tuple(step * step_ms for step in steps))
    splits = [_filled(app, budgets, total_ms) for budgets in found]
    best = min(splits, key=lambda budgets: cost(options, budgets))
    return AppSplit(best, cost(options, best))


def stage_options(measured: Iterable[Measured], fan_out: int, rate_rps: float) -> list[Option]:
    """What more time saves: options with rising times and falling needs. Formula: the module's."""
    rate = 1.0 if math.isinf(rate_rps) else rate_rps
    options = []
    for share_pct, batch, latency_ms in measured:
        batches = -(-fan_out // batch)
        waits = batches + 1 if fan_out * batch > 1 else 1
        more = -(-batch // fan_out) - 1
        fills_ms = 0.0 if math.isinf(rate_rps) else more * 1000.0 / rate_rps
        time_ms = max(waits * latency_ms, latency_ms + fills_ms)
        busy_s = rate * fan_out * latency_ms / 1000.0 / batch
        options.append(Option(time_ms, share_pct / 100.0 * busy_s))
    best: list[Option] = []
    for option in sorted(options):
        if not best or option.devices < best[-1].devices:
            best.append(option)
    return best


def cost(options: Sequence[Sequence[Option]], budgets_ms: Sequence[float]) -> float:
    """Devices that all stages need with these budgets; infinite when one cannot be in time."""
    total = 0.0
    for each, budget_ms in zip(options, budgets_ms, strict=True):
        fits = [o.devices for o in each if o.time_ms <= budget_ms * (1.0 + 1e-9)]
        total += min(fits, default=math.inf)
    return total


def levels_of(app: AppSpec) -> list[int]:
    """By stage: how many stages are before it on the longest way."""
    level: dict[str, int] = {}
    for stage in app.stages:
        level[stage.name] = max((level[name] + 1 for name in stage.needs), default=0)
    return [level[stage.name] for stage in app.stages]


def followers(app: AppSpec) -> list[list[int]]:
    """By stage: the indices of those that take from it."""
    return [
        [index for index, later in enumerate(app.stages) if stage.name in later.needs]
        for stage in app.stages
    ]


def _steps(options: Sequence[Option], step_ms: float) -> NDArray[np.float64]:
    """What a stage needs with 0, 1, ... STEPS parts of the objective."""
    needs = np.full(STEPS + 1, np.inf)
    for option in options:
        at = math.ceil(option.time_ms / step_ms - 1e-9)
        if at <= STEPS:
            needs[at:] = np.minimum(needs[at:], option.devices)
    return needs


def _plus(own: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """By total time: own at t' and after at the rest, at the best t'."""
    return np.array([(own[: t + 1] + after[t::-1]).min() for t in range(STEPS + 1)])


def _first(own: NDArray[np.float64], after: NDArray[np.float64], total: int) -> int | None:
    """The least t' that is best within `total`; None when nothing is possible."""
    sums = own[: total + 1] + after[total::-1]
    at = int(np.argmin(sums))
    return at if math.isfinite(sums[at]) else None


def _by_tree(
    own: Sequence[NDArray[np.float64]], levels: Sequence[int], follow: Sequence[Sequence[int]]
) -> list[int] | None:
    """Steps by stage, exact where no stage follows two."""
    after: dict[int, NDArray[np.float64]] = {}
    best: dict[int, NDArray[np.float64]] = {}
    # Stages are in order, so those that follow come later.
    for stage in range(len(own) - 1, -1, -1):
        after[stage] = sum((best[v] for v in follow[stage]), np.zeros(STEPS + 1))
        best[stage] = _plus(own[stage], after[stage])
    left = {stage: STEPS for stage, level in enumerate(levels) if level == 0}
    steps = []
    for stage in range(len(own)):
        given = _first(own[stage], after[stage], left[stage])
        if given is None:
            return None
        steps.append(given)
        left |= dict.fromkeys(follow[stage], left[stage] - given)
    return steps


def _by_levels(own: Sequence[NDArray[np.float64]], levels: Sequence[int]) -> list[int] | None:
    """Steps by stage, the same for all stages of a level."""
    count = max(levels) + 1
    needs = [np.zeros(STEPS + 1) for _ in range(count)]
    for stage, level in enumerate(levels):
        needs[level] = needs[level] + own[stage]
    after = [np.zeros(STEPS + 1)]
    for level in range(count - 1, 0, -1):
        after.insert(0, _plus(needs[level], after[0]))
    left = STEPS
    given = []
    for level in range(count):
        step = _first(needs[level], after[level], left)
        if step is None:
            return None
        given.append(step)
        left -= step
    return [given[level] for level in levels]


def _filled(app: AppSpec, budgets_ms: Sequence[float], total_ms: float) -> tuple[float, ...]:
    """Budgets so much longer, or shorter, that the longest way through each stage is `total_ms`.

    What is over goes to the stages of a way in equal parts: a stage that needs next to nothing has
    to bear its neighbours' batches and the way there like any other. The rest in proportion.
    """
    longest, stages = _longest(app, budgets_ms), _longest(app, [1.0] * len(budgets_ms))
    more = [
        budget_ms + max(0.0, total_ms - long_ms) / count
        for budget_ms, long_ms, count in zip(budgets_ms, longest, stages, strict=True)
    ]
    longest = _longest(app, more)
    return tuple(ms * total_ms / long_ms for ms, long_ms in zip(more, longest, strict=True))


def _longest(app: AppSpec, lengths: Sequence[float]) -> list[float]:
    """By stage: the longest way through it, from the start to the end of the app."""
    until: dict[str, float] = {}
    for stage, length in zip(app.stages, lengths, strict=True):
        until[stage.name] = length + max((until[name] for name in stage.needs), default=0.0)
    after = [0.0] * len(app.stages)
    follow = followers(app)
    for index in range(len(after) - 1, -1, -1):
        after[index] = max((after[v] + lengths[v] for v in follow[index]), default=0.0)
    return [until[stage.name] + rest for stage, rest in zip(app.stages, after, strict=True)]


def profiled(
    models: Iterable[str], types: Iterable[DeviceType], rules: Rules
) -> dict[str, list[Measured]]:
    """Every share and batch that a model was profiled at on these types, as planners see them."""
    found: dict[str, list[Measured]] = {}
    for device in types:
        for model in models:
            try:
                tables = device.profile.model(model).tables(device.shares) * rules.latency_ratio
            except ProfileError:
                continue
            found.setdefault(model, []).extend(
                Measured(share, batch, float(latency_ms))
                for share, row in zip(device.shares, tables, strict=True)
                for batch, latency_ms in enumerate(row, start=1)
            )
    return found


def app_tasks(
    app: AppSpec,
    rate_rps: float,
    types: Iterable[DeviceType],
    rules: Rules | None = None,
    *,
    slo_ms: float | None = None,
) -> tuple[Task, ...]:
    """What an app at that rate asks of its models: rate times fan-out, each due within its budget.

    One task per model, by name; a model of several stages has the sum of the rates and the least
    of the budgets. `slo_ms` replaces the app's own.
    """
    known = profiled(app.models(), types, rules or Rules())
    split = split_slo(app, rate_rps, known, slo_ms=slo_ms)
    return merged(
        Task(model=stage.model, rate_rps=rate_rps * stage.fan_out, slo_ms=budget_ms)
        for stage, budget_ms in zip(app.stages, split.budgets_ms, strict=True)
    )


def merged(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """One task per model, by name: rates add up, the tightest objective holds for all."""
    by_model: dict[str, Task] = {}
    for task in tasks:
        before = by_model.get(task.model)
        by_model[task.model] = (
            task
            if before is None
            else Task(
                model=task.model,
                rate_rps=before.rate_rps + task.rate_rps,
                slo_ms=min(before.slo_ms, task.slo_ms),
            )
        )
    return tuple(by_model[name] for name in sorted(by_model))


def tightened(tasks: Iterable[Task], of_apps: Iterable[Task]) -> tuple[Task, ...]:
    """The same tasks and rates, no objective longer than an app leaves its model.

    For rates that were measured at the models: they hold the requests of apps already.
    """
    least = {task.model: task.slo_ms for task in merged(of_apps)}
    return tuple(
        Task(
            model=task.model,
            rate_rps=task.rate_rps,
            slo_ms=min(task.slo_ms, least.get(task.model, task.slo_ms)),
        )
        for task in tasks
    )
