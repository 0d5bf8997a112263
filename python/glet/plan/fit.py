"""Whether models can share one gpulet, at which batches, and how long a request then takes at most.

Two ways to share, by what glet's queues do (csrc/glet/batch/gpulet_queue.h). Arrivals are evenly
spaced; a batch is never interrupted.

Turns. Each model in turn runs what waits, at most its batch. With a cycle c so long that one batch
of every model fits in it, sum L_i(b_i) <= c, and batches so large that a cycle's requests fit in
one, b_i >= r_i c, a request waits for one cycle at most and then runs: c + L_i(b_i) <= SLO_i. The
least such c is found by iteration; less load makes it shorter, so it holds below the planned rate
too. For one model it is the published 2 L(b) <= SLO (Choi et al., ATC 2022, section 4), for several
a squishy bin (Shen et al., SOSP 2019, section 6.1) whose duty cycle is as short as it can be.

Deadlines. Each model collects whole batches: a job of L_i(b_i) every b_i / r_i, due SLO_i less the
(b_i - 1) / r_i that its first request waited for the last. Non-preemptive earliest deadline first
serves all jobs in time when for every t the jobs that come and are due within t, and the longest
batch that may have just begun, fit in t (Jeffay, Stanat and Martel, RTSS 1991; George, Rivierre and
Spuri, INRIA RR-2966, 1996). For models whose objectives differ much, which take turns badly.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

Table = Sequence[float]
"""Latency in ms of batch 1, 2, ... at one share."""

# Relative slack for sums of floating-point times.
EPSILON = 1e-9
MOST_ROUNDS = 200
GROWTHS = 7
BUSY_ROUNDS = 30
MOST_POINTS = 100
FULL = 1.0 - 1e-6
# Duty cycles closer than this are one: a ModelList has six digits.
ALIKE = 1e-4
# Parts of an objective that a batch may take to collect and run; larger batches use less time.
STRETCHES = (1.0, 0.75, 0.5, 0.3)


class Want(NamedTuple):
    """A model on a gpulet: its part of the rate, its objective, its latencies at that share."""

    model: str
    rate_rps: float
    slo_ms: float
    table: Table


class Fit(NamedTuple):
    """How models share a gpulet: per model, in order, the batch and how often it is collected."""

    way: Literal["turns", "deadlines"]
    batches: tuple[int, ...]
    duty_ms: tuple[float, ...]


def fit(wants: Sequence[Want], factor: float = 1.0) -> Fit | None:
    """The way that serves all, turns before deadlines; None when there is none.

    `factor` times the tables is how long batches take: interference.
    """
    return fit_turns(wants, factor) or (fit_deadlines(wants, factor) if len(wants) > 1 else None)


def fit_turns(wants: Sequence[Want], factor: float = 1.0) -> Fit | None:
    """The shortest cycle in which every model has its turn; None when one would be late."""
    found = shortest_cycle(wants, factor)
    if found is not None:
        cycle_ms, batches = found
        if all(
            cycle_ms + want.table[batch - 1] * factor <= want.slo_ms * (1.0 + EPSILON)
            for want, batch in zip(wants, batches, strict=True)
        ):
            return Fit("turns", batches, (cycle_ms,) * len(wants))
    if len(wants) == 1:
        # One at a time, each done before the next comes: nobody waits.
        (want,) = wants
        alone_ms = want.table[0] * factor
        in_time = alone_ms <= want.slo_ms * (1.0 + EPSILON)
        if in_time and want.rate_rps * alone_ms <= 1000.0 * (1.0 + EPSILON):
            return Fit("turns", (1,), (1000.0 / want.rate_rps,))
    return None


def shortest_cycle(
    wants: Sequence[Want], factor: float = 1.0
) -> tuple[float, tuple[int, ...]] | None:
    """(cycle in ms, batches); None when batches would have to be larger than any in the tables.

    Each round takes the batches that the last cycle's arrivals make; cycles only grow.
    """
    cycle_ms = 0.0
    for want in wants:
        cycle_ms += want.table[0]
    cycle_ms *= factor
    longest_ms = min([want.slo_ms for want in wants])
    for _ in range(MOST_ROUNDS):
        if cycle_ms > longest_ms:
            return None
        batches = []
        needed_ms = 0.0
        for want in wants:
            batch = math.ceil(want.rate_rps * cycle_ms / 1000.0 - EPSILON) or 1
            if batch > len(want.table):
                return None
            batches.append(batch)
            needed_ms += want.table[batch - 1]
        needed_ms *= factor
        if needed_ms <= cycle_ms * (1.0 + EPSILON):
            return cycle_ms, tuple(batches)
        cycle_ms = needed_ms
    return None


def turns_hold(wants: Sequence[Want], batches: Sequence[int], factor: float = 1.0) -> bool:
    """Whether every model has its turn in time when all batches are as large as these."""
    lengths_ms = [w.table[b - 1] * factor for w, b in zip(wants, batches, strict=True)]
    cycle_ms = sum(lengths_ms)
    return all(
        want.rate_rps * cycle_ms <= 1000.0 * batch * (1.0 + EPSILON)
        and cycle_ms + length_ms <= want.slo_ms * (1.0 + EPSILON)
        for want, batch, length_ms in zip(wants, batches, lengths_ms, strict=True)
    )


def roomier(wants: Sequence[Want], found: Fit) -> Fit:
    """The same turns with batches as large as objectives allow: a burst needs less time in them.

    All grow together as far as they can, then each by itself. At the planned rates nothing changes:
    batches are as large as what waits.
    """
    if found.way != "turns" or not turns_hold(wants, found.batches):
        return found
    best = found.batches
    low, high = 1.0, float(max(len(want.table) for want in wants))
    for _ in range(GROWTHS):
        scale = math.sqrt(low * high)
        grown = tuple(
            min(len(want.table), int(batch * scale))
            for want, batch in zip(wants, found.batches, strict=True)
        )
        if turns_hold(wants, grown):
            low, best = scale, grown
        else:
            high = scale
    for place, want in enumerate(wants):
        while best[place] < len(want.table):
            more = min(len(want.table), best[place] + max(1, best[place] // 4))
            grown = (*best[:place], more, *best[place + 1 :])
            if not turns_hold(wants, grown):
                break
            best = grown
    cycle_ms = sum(want.table[batch - 1] for want, batch in zip(wants, best, strict=True))
    return Fit("turns", best, (cycle_ms,) * len(wants))


def fit_deadlines(wants: Sequence[Want], factor: float = 1.0) -> Fit | None:
    """Batches with which every job is done by its deadline, over a few sizes; None without."""
    if not _may_meet(wants, factor):
        return None
    tried: tuple[int, ...] | None = None
    for stretch in STRETCHES:
        batches = tuple([_batch_within(want, stretch, factor) for want in wants])
        if batches == tried or 0 in batches:
            continue
        jobs = [job_of(want, batch, factor) for want, batch in zip(wants, batches, strict=True)]
        if tried is None and _used(jobs) > FULL:
            # The largest batches use the least time; smaller ones need not be tried.
            return None
        tried = batches
        if demand_fits(jobs):
            return Fit("deadlines", batches, _apart([job.period_ms for job in jobs]))
    return None


def _apart(duties_ms: list[float]) -> tuple[float, ...]:
    """The same, the last a little longer where all are one: in a plan that would mean turns.

    Nobody waits longer for it: a batch runs when it is whole.
    """
    if max(duties_ms) <= min(duties_ms) * (1.0 + ALIKE):
        duties_ms[-1] = max(duties_ms) * (1.0 + 2.0 * ALIKE)
    return tuple(duties_ms)


def _may_meet(wants: Sequence[Want], factor: float) -> bool:
    """A look that costs little: the tightest objective leaves time for one batch of any other."""
    tightest = min(wants, key=lambda want: want.slo_ms)
    longest_ms = max(want.table[0] for want in wants if want is not tightest)
    return (tightest.table[0] + longest_ms) * factor <= tightest.slo_ms


def deadlines_hold(wants: Sequence[Want], batches: Sequence[int], factor: float = 1.0) -> bool:
    """The demand test at these batches."""
    pairs = zip(wants, batches, strict=True)
    return demand_fits([job_of(want, batch, factor) for want, batch in pairs])


class Job(NamedTuple):
    """Whole batches of one model: how often, how long, and due how long after the last request."""

    period_ms: float
    length_ms: float
    due_ms: float


def job_of(want: Want, batch: int, factor: float = 1.0) -> Job:
    """The jobs that a model's batches of this size are."""
    gap_ms = 1000.0 / want.rate_rps
    return Job(gap_ms * batch, want.table[batch - 1] * factor, want.slo_ms - gap_ms * (batch - 1))


def demand_fits(jobs: Sequence[Job]) -> bool:
    """Whether non-preemptive EDF serves these sporadic jobs, whenever they start."""
    used = _used(jobs)
    if used > FULL:
        return False
    longest_ms = excess_ms = 0.0
    for period_ms, length_ms, due_ms in jobs:
        if length_ms > due_ms * (1.0 + EPSILON):
            return False
        longest_ms = max(longest_ms, length_ms)
        excess_ms += max(0.0, 1.0 - due_ms / period_ms) * length_ms
    # Where too little time is left, it mostly shows at the first deadlines.
    for job in jobs:
        if _demand_ms(jobs, job.due_ms) > job.due_ms * (1.0 + EPSILON):
            return False
    # Beyond either of these the demand cannot catch up with time any more.
    end_ms = min(_busy_ms(jobs, longest_ms), (longest_ms + excess_ms) / (1.0 - used))
    times: list[float] = []
    for period_ms, _, due_ms in jobs:
        count = int(max(0.0, end_ms - due_ms) / period_ms)
        if count > MOST_POINTS:
            return False
        times += [due_ms + k * period_ms for k in range(1, count + 1)]
    times.sort()
    return all(_demand_ms(jobs, time_ms) <= time_ms * (1.0 + EPSILON) for time_ms in times)


def _busy_ms(jobs: Sequence[Job], longest_ms: float) -> float:
    """How long a gpulet is busy at most when a longest batch has just begun and all jobs come."""
    busy_ms = longest_ms
    for _ in range(BUSY_ROUNDS):
        work_ms = longest_ms
        for period_ms, length_ms, _ in jobs:
            work_ms += (int(busy_ms / period_ms) + 1) * length_ms
        if work_ms <= busy_ms * (1.0 + EPSILON):
            return busy_ms
        busy_ms = work_ms
    return math.inf


def _used(jobs: Sequence[Job]) -> float:
    used = 0.0
    for period_ms, length_ms, _ in jobs:
        used += length_ms / period_ms
    return used


def _demand_ms(jobs: Sequence[Job], t_ms: float) -> float:
    """The longest work that has to be done within t, whatever has just begun included."""
    demand_ms = blocking_ms = 0.0
    reach_ms = t_ms * (1.0 + EPSILON)
    for period_ms, length_ms, due_ms in jobs:
        if due_ms <= reach_ms:
            demand_ms += (int((reach_ms - due_ms) / period_ms) + 1) * length_ms
        elif length_ms > blocking_ms:
            blocking_ms = length_ms
    return demand_ms + blocking_ms


def _batch_within(want: Want, stretch: float, factor: float) -> int:
    """The largest batch that is collected and run within that part of the objective; 0 for none.

    Batch 1 may take all of it.
    """
    limit_ms = want.slo_ms * stretch
    gap_ms = 1000.0 / want.rate_rps
    low, high = 0, len(want.table)
    while low < high:
        middle = (low + high + 1) // 2
        if gap_ms * (middle - 1) + want.table[middle - 1] * factor <= limit_ms:
            low = middle
        else:
            high = middle - 1
    return low or int(want.table[0] * factor <= want.slo_ms)


def lone_rate_rps(table: Table, slo_ms: float, factor: float = 1.0) -> float:
    """The most that one model alone on a gpulet can be served; 0 when not even one request."""
    best_rps, limit_ms = 0.0, slo_ms * (1.0 + EPSILON)
    for batch, latency_ms in enumerate(table, start=1):
        if 2.0 * latency_ms * factor > limit_ms:
            break
        best_rps = max(best_rps, 1000.0 * batch / (latency_ms * factor))
    if best_rps == 0.0 and table[0] * factor <= limit_ms:
        return 1000.0 / (table[0] * factor)
    return best_rps


def most_rate_rps(
    want: Want, others: Sequence[Want], factor: float = 1.0, steps: int = 20
) -> float:
    """The largest part of want.rate_rps that fits beside `others`, by bisection; 0 if none."""
    if not others:
        return min(want.rate_rps, lone_rate_rps(want.table, want.slo_ms, factor))
    if fit([want, *others], factor) is not None:
        return want.rate_rps
    low, high = 0.0, want.rate_rps
    for _ in range(steps):
        middle = (low + high) / 2.0
        if fit([want._replace(rate_rps=middle), *others], factor) is not None:
            low = middle
        else:
            high = middle
    return low
