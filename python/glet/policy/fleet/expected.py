"""Rates to expect, for all models of a fleet at once."""

from collections.abc import Mapping

import msgspec
import numpy as np

from glet.policy.fleet.knapsack import Floats
from glet.policy.fleet.numbers import Count, Part
from glet.policy.forecast.forecaster import Forecaster
from glet.policy.forecast.make import make_forecaster
from glet.types.fleet import FleetObservation

History = Mapping[str, Floats]
"""Requests per interval of other days by model, shape (days, intervals)."""

Asked = tuple[int, int, tuple[float, ...]]

# Counts below this are not forecast: one request per interval.
LEAST = 1.0
# Counts that forecasters look back at; converting a whole day every time takes longer than they do.
KEPT = 60


class ForecastSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`method` is one of policy/forecast/make.py, for the next `steps` intervals."""

    method: str = "ar"
    quantile: Part = 0.5
    steps: Count = 7


class Expected:
    """A forecaster per model, made when the model is first seen.

    `forecasters` by model are taken instead of making one.
    """

    def __init__(
        self,
        settings: ForecastSettings,
        history: History | None = None,
        forecasters: Mapping[str, Forecaster] | None = None,
    ) -> None:
        self._method = settings.method
        self._history = history or {}
        self._made: dict[str, Forecaster] = dict(forecasters or {})
        for model, days in self._history.items():
            self._made.setdefault(model, make_forecaster(self._method, days))
        # By model what was asked last, on which counts, and the answer.
        self._last: dict[str, tuple[Asked, tuple[float, ...], Floats]] = {}
        # Says what is wrong with the name before anything is served.
        make_forecaster(self._method)

    def counts(
        self,
        model: str,
        arrivals: tuple[float, ...],
        at: int,
        steps: int,
        quantiles: tuple[float, ...],
    ) -> Floats:
        """Counts from interval `at` on, after these; shape (steps, len(quantiles)), read only."""
        asked = (at, steps, quantiles)
        before = self._last.get(model)
        if before is not None and before[0] == asked and before[1] is arrivals:
            return before[2]
        forecaster = self._made.get(model)
        if forecaster is None:
            forecaster = self._made[model] = make_forecaster(self._method)
        found = forecaster.forecast(arrivals[-KEPT:], at, steps, quantiles)
        counts = np.asarray(np.maximum(LEAST, found).T)
        counts.flags.writeable = False
        self._last[model] = (asked, arrivals, counts)
        return counts

    def rates_rps(
        self, observation: FleetObservation, steps: int, quantiles: tuple[float, ...]
    ) -> Floats:
        """Shape (jobs, steps, len(quantiles)), from the next interval on."""
        at = round(observation.now_s / observation.interval_s)
        found = [
            self.counts(job.model, job.arrivals, at, steps, quantiles) for job in observation.jobs
        ]
        return np.stack(found) / observation.interval_s


class Schedule:
    """A stage that is due at `first_s`, and then at every multiple of `every_s`."""

    def __init__(self, first_s: float, every_s: float) -> None:
        self._first_s, self._every_s = first_s, every_s
        self._last: int | None = None

    def due(self, now_s: float) -> bool:
        """Whether it is due now; then it counts as done."""
        number = int((now_s + 1e-6) // self._every_s)
        if now_s + 1e-6 < self._first_s or number == self._last:
            return False
        self._last = number
        return True
