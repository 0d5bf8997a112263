"""For how long a model has been above or below its objective."""

from typing import NamedTuple

from glet.types.fleet import FleetObservation


class Fired(NamedTuple):
    """Models that have been above long enough, and below."""

    above: tuple[str, ...]
    below: tuple[str, ...]


class Counters:
    """Counts in a row how often the mean latency was above the objective, or was not.

    Fires when it was for `up_s` (or not for `down_s`; None: never), and starts anew then. A model
    without answers counts as below, one whose target is not reached yet is not looked at (Faro,
    public prototype).
    """

    def __init__(self, interval_s: float, up_s: float, down_s: float | None) -> None:
        self._up = max(1, round(up_s / interval_s))
        self._down = None if down_s is None else max(1, round(down_s / interval_s))
        self._counts: dict[str, int] = {}

    def clear(self) -> None:
        self._counts = {}

    def fired(self, observation: FleetObservation) -> Fired:
        above, below = [], []
        counts = self._counts
        for job in observation.jobs:
            if job.changing:
                continue
            count = counts.get(job.model, 0)
            if (job.mean_ms or 0.0) > job.slo_ms:
                count = max(count, 0) + 1
                if count >= self._up:
                    above.append(job.model)
                    count = 0
            else:
                count = min(count, 0) - 1
                if self._down is not None and -count >= self._down:
                    below.append(job.model)
                    count = 0
            counts[job.model] = count
        return Fired(tuple(above), tuple(below))
