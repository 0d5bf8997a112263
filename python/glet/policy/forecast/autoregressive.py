"""An autoregression with the other days as a second witness: glet's own policy goes by it."""

from collections.abc import Sequence

import numpy as np

from glet.policy.forecast.forecaster import Floats, Spread, checked_days, errors_of, windows
from glet.policy.forecast.simple import Ewma

# Times of the other days that are looked at before the place that is forecast.
AROUND = 3


class Autoregressive:
    """Every step ahead is linear in the last `lags` counts and in the mean of the other days.

    One ridge regression per step ahead (Hoerl and Kennard 1970; "direct" forecasts, not iterated),
    fitted to every place of every given day. While it is fitted, "the other days" leave the day
    itself out, and its errors, of which the quantiles are made, are those on days that the fit did
    not see. With fewer than two days there is nothing to fit: a moving average.
    """

    name = "ar"

    def __init__(
        self,
        days: Floats | None = None,
        *,
        lags: int = 15,
        steps: int = 7,
        ridge: float = 30.0,
    ) -> None:
        self._lags, self._steps, self._ridge = lags, steps, ridge
        self._simple = Ewma()
        # The mean of the other days, twice, so that any part of it is a slice.
        self._twice = np.zeros(0)
        found = None if days is None else checked_days(days)
        if found is not None and len(found) > 1 and found.shape[1] >= lags + steps:
            self._fit(found)

    def forecast(
        self, seen: Sequence[float], at: int, steps: int, quantiles: Sequence[float]
    ) -> Floats:
        if not self._twice.size:
            return self._simple.forecast(seen, at, steps, quantiles)
        lags, known = self._lags, seen[-self._lags :]
        # Counts, the other days around the place, and a constant.
        row = np.ones(lags + AROUND + self._steps + 1)
        missing = lags - len(known)
        if missing:
            # Where this day has not been seen yet, the other days stand for it.
            row[:missing] = self._usual(at - lags, missing)
        row[missing:lags] = known
        row[lags:-1] = self._usual(at - AROUND, AROUND + self._steps)
        middle = np.maximum(0.0, row @ self._weights)
        if steps > self._steps:
            # Beyond the last step that was fitted it stays as it is.
            middle = np.pad(middle, (0, steps - self._steps), mode="edge")
        return self._spread.around(middle[:steps], quantiles)

    def _usual(self, start: int, count: int) -> Floats:
        """What the other days had from interval `start` of the day on."""
        first = start % (len(self._twice) // 2)
        return self._twice[first : first + count]

    def _fit(self, days: Floats) -> None:
        self._twice = np.tile(days.mean(axis=0), 2)
        rows, came = zip(*(self._rows(days, at) for at in range(len(days))), strict=True)
        scale = np.concatenate(rows).std(axis=0)
        unit = np.where(scale > 0.0, scale, 1.0)
        scaled = [row / unit for row in rows]
        squares = [row.T @ row for row in scaled]
        products = [row.T @ y for row, y in zip(scaled, came, strict=True)]
        square, product = sum(squares), sum(products)
        self._weights = self._solved(square, product) / unit[:, None]
        said = [
            np.maximum(0.0, row @ self._solved(square - one, product - other))
            for row, one, other in zip(scaled, squares, products, strict=True)
        ]
        self._spread = Spread(errors_of(np.concatenate(said), np.concatenate(came)))

    def _rows(self, days: Floats, at: int) -> tuple[Floats, Floats]:
        """What is known at every place of a day, and what came."""
        others = (days.sum(axis=0) - days[at]) / (len(days) - 1)
        before, came = windows(days[at], self._lags, self._steps)
        around, _ = windows(others[self._lags - AROUND :], AROUND + self._steps, 0)
        return np.hstack([before, around, np.ones((len(before), 1))]), came

    def _solved(self, square: Floats, product: Floats) -> Floats:
        penalty = self._ridge * np.eye(len(square))
        return np.asarray(np.linalg.solve(square + penalty, product))
