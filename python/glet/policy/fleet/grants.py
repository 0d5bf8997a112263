"""Wishes against a quota, first come first served, as the published autoscalers have it."""

from collections.abc import Mapping
from typing import NamedTuple

from glet.types.fleet import FleetJob, FleetObservation, FleetTargets


class _Wish(NamedTuple):
    replicas: int
    trials: int


class Grants:
    """Makes targets of wishes that together may ask for more than there is.

    Who wants less gives up first; then growth is granted in the order of the jobs, cut to what is
    free. What was cut, and what a job wanted while its last target was not reached, is tried again
    at the next call, until its trials are used up or the job wishes anew (Faro, public prototype).
    """

    def __init__(self) -> None:
        self._waiting: dict[str, _Wish] = {}

    def granted(
        self, observation: FleetObservation, wishes: Mapping[str, int], trials: int, why: str = ""
    ) -> FleetTargets:
        """`trials` is how often a wish of this call may be tried, 1 for once."""
        known = {job.model for job in observation.jobs}
        asked = {name: wish for name, wish in self._waiting.items() if name in known}
        asked |= {name: _Wish(count, trials) for name, count in wishes.items()}
        self._waiting = {}
        free = observation.free
        replicas: dict[str, int] = {}
        for job in sorted(observation.jobs, key=lambda job: not self._less(job, asked)):
            if job.model not in asked:
                continue
            wish = asked[job.model]
            if job.changing:
                self._again(job.model, wish)
                continue
            wanted = min(max(wish.replicas, job.min_replicas), job.max_replicas)
            given = min(wanted, job.target + max(0, free // job.units))
            free -= (given - job.target) * job.units
            if given < wanted:
                self._again(job.model, wish)
            if given != job.target:
                replicas[job.model] = given
        return FleetTargets(replicas=replicas, why=why if replicas else "")

    def _again(self, model: str, wish: _Wish) -> None:
        if wish.trials > 1:
            self._waiting[model] = _Wish(wish.replicas, wish.trials - 1)

    @staticmethod
    def _less(job: FleetJob, asked: Mapping[str, _Wish]) -> bool:
        return job.model in asked and asked[job.model].replicas < job.target
