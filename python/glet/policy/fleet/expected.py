"""Rates to expect, for all models of a fleet at once."""

from collections.abc import Mapping, Sequence
from operator import is_not

import msgspec
import numpy as np

from glet.policy.fleet.knapsack import Floats
from glet.policy.fleet.numbers import Count, Part
from glet.policy.forecast.forecaster import Forecaster, OneByOne, Together
from glet.policy.forecast.make import make_forecaster, together
from glet.types.fleet import FleetJob, FleetObservation

History = Mapping[str, Floats]
"""Requests per interval of other days by model, shape (days, intervals)."""

Asked = tuple[tuple[str, ...], int, int, tuple[float, ...]]

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
        self._group: tuple[tuple[str, ...], Together] = ((), OneByOne(()))
        # What was asked last, on which counts, and the answer: whole intervals stay the same.
        self._last: tuple[Asked, Sequence[tuple[float, ...]], Floats] | None = None
        # Says what is wrong with the name before anything is served.
        make_forecaster(self._method)

    def counts(
        self, jobs: Sequence[FleetJob], at: int, steps: int, quantiles: tuple[float, ...]
    ) -> Floats:
        """Counts from interval `at` on: shape (jobs, steps, len(quantiles)), read only."""
        seen = [job.arrivals for job in jobs]
        asked = (tuple(job.model for job in jobs), at, steps, quantiles)
        last = self._last
        if last is None or last[0] != asked or any(map(is_not, last[1], seen)):
            found = self.counts_after(asked[0], seen, at, steps, quantiles)
            found.flags.writeable = False
            self._last = last = (asked, seen, found)
        return last[2]

    def counts_after(
        self,
        models: tuple[str, ...],
        seen: Sequence[Sequence[float]],
        at: int,
        steps: int,
        quantiles: tuple[float, ...],
    ) -> Floats:
        """The same after other counts than those of the jobs, a sequence per model."""
        if self._group[0] != models:
            for model in models:
                if model not in self._made:
                    self._made[model] = make_forecaster(self._method)
            self._group = (models, together([self._made[model] for model in models]))
        found = self._group[1].forecast([one[-KEPT:] for one in seen], at, steps, quantiles)
        return np.asarray(np.maximum(LEAST, found).swapaxes(1, 2))

    def rates_rps(
        self, observation: FleetObservation, steps: int, quantiles: tuple[float, ...]
    ) -> Floats:
        """Shape (jobs, steps, len(quantiles)), from the next interval on."""
        at = round(observation.now_s / observation.interval_s)
        return self.counts(observation.jobs, at, steps, quantiles) / observation.interval_s


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
