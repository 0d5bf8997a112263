"""Temporal sharing only: squishy bin packing of whole devices."""

from collections.abc import Sequence

from glet.plan.fit import Want
from glet.plan.problem import Problem
from glet.plan.room import Bin, Cluster
from glet.plan.squishy import merged, packed, residue
from glet.plan.whole import WholeDevices
from glet.types.plan import Plan


class TimesharePlanner:
    """Nexus (Shen et al., SOSP 2019, section 6.1), the baseline of the published study.

    Models that fill whole devices get them. What is left of every model, by falling occupancy, goes
    to the device that it fills best in the shorter of both duty cycles, else to a new one; see
    squishy.py for the conditions. Devices are never cut.
    """

    name = "timeshare"

    def plan(self, problem: Problem) -> Plan:
        cluster = Cluster(problem)
        return cluster.plan(_Turns(cluster).pack(), packed)


class _Turns(WholeDevices):
    def alone(self, want: Want) -> Bin | None:
        return residue(want)

    def best(self, places: Sequence[int], fresh: Bin) -> tuple[int, Bin] | None:
        found: tuple[int, Bin] | None = None
        for place in places:
            both = merged(self.bins[place], fresh)
            if both is not None and (found is None or both.occupancy > found[1].occupancy):
                found = place, both
        return found
