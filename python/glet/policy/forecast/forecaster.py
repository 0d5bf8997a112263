"""What a forecaster is, and how wrong it may be."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from glet.errors import ArgumentError

Floats = NDArray[np.float64]

# Errors are kept at these quantiles.
KEPT = np.linspace(0.01, 0.99, 99)
# Combinations of quantiles and steps that are remembered.
MOST_KEPT = 16
# Standard deviations of a Poisson count that an untrained forecast is wrong by.
UNTRAINED = 2.0


class Forecaster(Protocol):
    """Requests per interval of one model: what was seen -> what comes. Pure and deterministic."""

    @property
    def name(self) -> str: ...

    def forecast(
        self, seen: Sequence[float], at: int, steps: int, quantiles: Sequence[float]
    ) -> Floats:
        """Counts of the next `steps` intervals, shape (len(quantiles), steps), never below 0.

        `seen` are the last counts, the newest last, any number of them. `at` is the number within
        its day of the interval that comes next. Quantiles lie in 0..1 and do not cross.
        """


class Together(Protocol):
    """Several forecasters, asked at once."""

    def forecast(
        self, seen: Sequence[Sequence[float]], at: int, steps: int, quantiles: Sequence[float]
    ) -> Floats:
        """Each after its own counts, all at the same place: shape (models, quantiles, steps)."""


class OneByOne:
    """Any forecasters."""

    def __init__(self, made: Sequence[Forecaster]) -> None:
        self._made = tuple(made)

    def forecast(
        self, seen: Sequence[Sequence[float]], at: int, steps: int, quantiles: Sequence[float]
    ) -> Floats:
        """Shape (models, len(quantiles), steps)."""
        return np.stack(
            [
                one.forecast(counts, at, steps, quantiles)
                for one, counts in zip(self._made, seen, strict=True)
            ]
        )


class Spread:
    """How far counts were from what was forecast, in roots of the forecast: by step."""

    def __init__(self, quantiles: Floats | None = None) -> None:
        """`quantiles` of shape (len(KEPT), steps) as errors_of() makes them."""
        if quantiles is None:
            normal = NormalDist()
            line = np.array([UNTRAINED * normal.inv_cdf(float(q)) for q in KEPT])
            quantiles = line[:, None]
        self._quantiles = quantiles
        self._kept: dict[tuple[tuple[float, ...], int], Floats] = {}

    def around(self, middle: Floats, quantiles: Sequence[float]) -> Floats:
        """`middle` of shape (steps,) -> shape (len(quantiles), steps)."""
        ways = self.ways(tuple(quantiles), len(middle))
        return np.asarray(np.maximum(0.0, middle + ways * np.sqrt(np.maximum(middle, 1.0))))

    def ways(self, quantiles: tuple[float, ...], steps: int) -> Floats:
        """Quantiles of the errors in roots of the forecast: shape (len(quantiles), steps)."""
        found = self._kept.get((quantiles, steps))
        if found is None:
            for quantile in quantiles:
                if not 0.0 <= quantile <= 1.0:
                    raise ArgumentError(f"quantile {quantile:g}; 0..1 is valid")
            # The last step stands for those beyond.
            rows = self._quantiles.T[np.minimum(np.arange(steps), self._quantiles.shape[1] - 1)]
            found = np.array([np.interp(quantiles, KEPT, row) for row in rows])
            found = found.reshape(steps, len(quantiles)).T
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[quantiles, steps] = found
        return found


def errors_of(forecast: Floats, came: Floats) -> Floats:
    """Quantiles of the errors of held-out forecasts, shape (cases, steps) -> (len(KEPT), steps)."""
    apart = (came - forecast) / np.sqrt(np.maximum(forecast, 1.0))
    return np.asarray(np.quantile(apart, KEPT, axis=0))


def windows(day: Floats, before: int, steps: int) -> tuple[Floats, Floats]:
    """All places of a day: `before` counts and the `steps` after them, a row each."""
    rows = np.lib.stride_tricks.sliding_window_view(day, before + steps)
    return rows[:, :before], rows[:, before:]


def checked_days(days: Floats) -> Floats:
    """Days of counts, shape (days, intervals). Raises ArgumentError for anything else."""
    found = np.asarray(days, dtype=np.float64)
    if found.ndim != 2:
        raise ArgumentError(f"history of shape {found.shape}; (days, intervals) is valid")
    wrong = np.argwhere(~(np.isfinite(found) & (found >= 0.0)))
    if len(wrong):
        day, interval = wrong[0]
        raise ArgumentError(
            f"history: day {day}, interval {interval} is {found[day, interval]}; 0 or more is valid"
        )
    return found
