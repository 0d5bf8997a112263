"""Forecasters that need no fit: the last value, a moving average, the same time of other days."""

from collections.abc import Sequence

import numpy as np

from glet.policy.forecast.forecaster import Floats, Forecaster, Spread, checked_days, errors_of

# Counts before a place of a day that is forecast to learn how wrong it is.
BEFORE = 15
STEPS = 7


class LastValue:
    """What came last comes again."""

    name = "last"

    def __init__(self, days: Floats | None = None) -> None:
        self._spread = Spread()
        self._spread = learned(self, days)

    def forecast(
        self, seen: Sequence[float], at: int, steps: int, quantiles: Sequence[float]
    ) -> Floats:
        return self._spread.around(np.full(steps, seen[-1] if len(seen) else 0.0), quantiles)


class Ewma:
    """The exponentially weighted moving average: the newest counts `alpha`, and so on."""

    name = "ewma"

    def __init__(self, days: Floats | None = None, alpha: float = 0.35) -> None:
        self._alpha = alpha
        self._spread = Spread()
        self._spread = learned(self, days)

    def forecast(
        self, seen: Sequence[float], at: int, steps: int, quantiles: Sequence[float]
    ) -> Floats:
        counts = np.asarray(seen, dtype=np.float64)
        weights = (1.0 - self._alpha) ** np.arange(len(counts))[::-1]
        middle = float(counts @ weights / weights.sum()) if len(counts) else 0.0
        return self._spread.around(np.full(steps, middle), quantiles)


class SeasonalNaive:
    """The mean of the other days at that time; without other days the last value."""

    name = "seasonal"

    def __init__(self, days: Floats | None = None) -> None:
        found = None if days is None else checked_days(days)
        self._mean = found.mean(axis=0) if found is not None and found.size else np.zeros(0)
        self._spread = Spread()
        if found is not None and len(found) > 1:
            others = (found.sum(axis=0) - found) / (len(found) - 1)
            errors = errors_of(others.reshape(-1, 1), found.reshape(-1, 1))
            self._spread = Spread(errors)

    def forecast(
        self, seen: Sequence[float], at: int, steps: int, quantiles: Sequence[float]
    ) -> Floats:
        if not self._mean.size:
            last = seen[-1] if len(seen) else 0.0
            return self._spread.around(np.full(steps, last), quantiles)
        return self._spread.around(self._mean[(at + np.arange(steps)) % len(self._mean)], quantiles)


def learned(forecaster: Forecaster, days: Floats | None) -> Spread:
    """How wrong the medians of a forecaster are on `days`, at every place of each."""
    if days is None or np.size(days) == 0:
        return Spread()
    found = checked_days(days)
    said, came = [], []
    for day in found:
        for at in range(BEFORE, len(day) - STEPS + 1):
            said.append(forecaster.forecast(day[at - BEFORE : at].tolist(), at, STEPS, (0.5,))[0])
            came.append(day[at : at + STEPS])
    return Spread(errors_of(np.array(said), np.array(came))) if said else Spread()
