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
        self._mean = np.zeros(0)
        found = None if days is None else checked_days(days)
        if found is not None and len(found) > 1 and found.shape[1] >= lags + steps:
            self._fit(found)

    def forecast(
        self, seen: Sequence[float], at: int, steps: int, quantiles: Sequence[float]
    ) -> Floats:
        if not self._mean.size:
            return self._simple.forecast(seen, at, steps, quantiles)
        period = len(self._mean)
        # Where this day has not been seen yet, the other days stand for it.
        missing = max(0, self._lags - len(seen))
        usual = self._mean[(at - self._lags + np.arange(missing)) % period]
        counts = np.concatenate([usual, np.asarray(seen, dtype=np.float64)[-self._lags :]])
        around = self._mean[(at - AROUND + np.arange(AROUND + self._steps)) % period]
        row = np.concatenate([counts, around, [1.0]]) / self._scale
        middle = np.maximum(0.0, row @ self._weights)
        # Beyond the last step that was fitted it stays as it is.
        return self._spread.around(middle[np.minimum(np.arange(steps), self._steps - 1)], quantiles)

    def _fit(self, days: Floats) -> None:
        self._mean = days.mean(axis=0)
        rows, came = zip(*(self._rows(days, at) for at in range(len(days))), strict=True)
        scale = np.concatenate(rows).std(axis=0)
        self._scale = np.where(scale > 0.0, scale, 1.0)
        scaled = [row / self._scale for row in rows]
        squares = [row.T @ row for row in scaled]
        products = [row.T @ y for row, y in zip(scaled, came, strict=True)]
        square, product = sum(squares), sum(products)
        self._weights = self._solved(square, product)
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
