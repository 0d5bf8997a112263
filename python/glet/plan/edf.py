"""Temporal sharing by deadlines: whole devices, earliest deadline first."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glet.plan.assess import RATE_SLACK
from glet.plan.fit import EPSILON, FULL, STRETCHES, Want, fit_deadlines, fit_turns
from glet.plan.problem import Problem
from glet.plan.room import Bin, Cluster
from glet.plan.whole import WholeDevices
from glet.types.plan import Plan

# Whole batches of a slightly lower rate wait longer: what a plan's rates may lose in the digits of
# a file, objectives give up before.
SLO_KEPT = 1.0 - 2.0 * RATE_SLACK
# A test costs up to a millisecond: so many of the fullest devices are tried, then a new one.
MOST_TESTS = 16


class EdfPlanner:
    """Whole devices, non-preemptive earliest deadline first, packed by the exact demand test.

    The test is of Jeffay, Stanat and Martel (RTSS 1991), in fit.py; the packing is best fit by
    falling utilisation. A model that needs more than a device has some alone, and its rest shares
    one like any other. Objectives that differ much need no common duty cycle here, but batches are
    collected whole before they run: neither this nor `timeshare` is always the better one.
    """

    name = "edf"

    def plan(self, problem: Problem) -> Plan:
        cluster = Cluster(problem)
        return cluster.plan(_Deadlines(cluster).pack(), by_deadline)


def by_deadline(wants: Sequence[Want], factor: float) -> Bin | None:
    """Models that share a gpulet by deadlines, one alone back to back; None when they do not."""
    if len(wants) == 1:
        found = fit_turns(wants, factor)
    else:
        tighter = [want._replace(slo_ms=want.slo_ms * SLO_KEPT) for want in wants]
        found = fit_deadlines(tighter, factor)
    if found is None:
        return None
    used = sum(float(_Sizes(want, factor).used.min()) for want in wants)
    return Bin(tuple(wants), found, used, used, sum(want.table[0] for want in wants) * factor)


class _Sizes:
    """The batches of a model that fit_deadlines() tries, by stretch, and what they ask of others.

    `used` is the part of the time that they take, `length_ms` how long one runs, and `spare_ms` how
    long it may be kept waiting. Infinite, and below 0, where there is none.
    """

    def __init__(self, want: Want, factor: float = 1.0) -> None:
        table = np.asarray(want.table) * factor
        gap_ms = 1000.0 / want.rate_rps
        waits_ms = gap_ms * np.arange(len(table))
        limits_ms = want.slo_ms * np.asarray(STRETCHES) * (1.0 + EPSILON)
        batches = np.searchsorted(waits_ms + table, limits_ms, side="right")
        # A batch of 1 may take all of the objective.
        last = np.maximum(batches, 1) - 1
        self.length_ms = table[last]
        self.spare_ms = want.slo_ms - waits_ms[last] - self.length_ms
        self.used = self.length_ms / (gap_ms * (last + 1))


class _Deadlines(WholeDevices):
    """What a device's models ask of others by stretch, to see what cannot be before testing it."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        shape = len(cluster.problem.devices), len(STRETCHES)
        self._used: NDArray[np.float64] = np.zeros(shape)
        self._longest_ms: NDArray[np.float64] = np.zeros(shape)
        self._spare_ms: NDArray[np.float64] = np.full(shape, np.inf)

    def alone(self, want: Want) -> Bin | None:
        return by_deadline((want,), 1.0)

    def best(self, places: Sequence[int], fresh: Bin) -> tuple[int, Bin] | None:
        for place in self._possible(places, fresh):
            both = by_deadline(self.bins[place].wants + fresh.wants, 1.0)
            if both is not None:
                return place, both
        return None

    def note(self, place: int) -> None:
        super().note(place)
        # The latest model is the last; the others have been noted.
        sizes = _Sizes(self.bins[place].wants[-1])
        self._used[place] += sizes.used
        self._longest_ms[place] = np.maximum(self._longest_ms[place], sizes.length_ms)
        self._spare_ms[place] = np.minimum(self._spare_ms[place], sizes.spare_ms)

    def _possible(self, places: Sequence[int], fresh: Bin) -> list[int]:
        """Those, the fullest first, where at some stretch there is time for all.

        Necessary only: nobody can be kept waiting by a batch that is longer than it may wait.
        """
        sizes = _Sizes(fresh.wants[0])
        at = np.asarray(places, dtype=np.int64)
        holds = self._used[at] + sizes.used <= FULL
        holds &= self._longest_ms[at] <= sizes.spare_ms * (1.0 + EPSILON)
        holds &= sizes.length_ms <= self._spare_ms[at] * (1.0 + EPSILON)
        possible: list[int] = at[holds.any(axis=1)].tolist()
        possible.sort(key=lambda place: (-self.bins[place].least, place))
        return possible[:MOST_TESTS]
