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
        self.lags, self._steps, self._ridge = lags, steps, ridge
        self._simple = Ewma()
        self._alone: Autoregressions | None = None
        self.weights = np.zeros((0, 0))
        self.spread = Spread()
        # The mean of the other days, twice, so that any part of it is a slice.
        self.twice = np.zeros(0)
        found = None if days is None else checked_days(days)
        if found is not None and len(found) > 1 and found.shape[1] >= lags + steps:
            self._fit(found)
            self._alone = Autoregressions((self,))

    def forecast(
        self, seen: Sequence[float], at: int, steps: int, quantiles: Sequence[float]
    ) -> Floats:
        if self._alone is None:
            return self._simple.forecast(seen, at, steps, quantiles)
        found: Floats = self._alone.forecast([seen], at, steps, quantiles)[0]
        return found

    @property
    def fitted(self) -> tuple[int, ...]:
        """Shape of what was fitted, empty where nothing was; those of one shape go together."""
        return (self.lags, *self.weights.shape, self.twice.size) if self.twice.size else ()

    def _fit(self, days: Floats) -> None:
        self.twice = np.tile(days.mean(axis=0), 2)
        rows, came = zip(*(self._rows(days, at) for at in range(len(days))), strict=True)
        scale = np.concatenate(rows).std(axis=0)
        unit = np.where(scale > 0.0, scale, 1.0)
        scaled = [row / unit for row in rows]
        squares = [row.T @ row for row in scaled]
        products = [row.T @ y for row, y in zip(scaled, came, strict=True)]
        square, product = sum(squares), sum(products)
        self.weights = self._solved(square, product) / unit[:, None]
        said = [
            np.maximum(0.0, row @ self._solved(square - one, product - other))
            for row, one, other in zip(scaled, squares, products, strict=True)
        ]
        self.spread = Spread(errors_of(np.concatenate(said), np.concatenate(came)))

    def _rows(self, days: Floats, at: int) -> tuple[Floats, Floats]:
        """What is known at every place of a day, and what came."""
        others = (days.sum(axis=0) - days[at]) / (len(days) - 1)
        before, came = windows(days[at], self.lags, self._steps)
        around, _ = windows(others[self.lags - AROUND :], AROUND + self._steps, 0)
        return np.hstack([before, around, np.ones((len(before), 1))]), came

    def _solved(self, square: Floats, product: Floats) -> Floats:
        penalty = self._ridge * np.eye(len(square))
        return np.asarray(np.linalg.solve(square + penalty, product))


class Autoregressions:
    """Several that were fitted alike, forecast in one step."""

    def __init__(self, made: Sequence[Autoregressive]) -> None:
        """Their `fitted` are the same, and not empty."""
        self._lags = made[0].lags
        self._weights = np.stack([one.weights for one in made])
        self._twice = np.stack([one.twice for one in made])
        self._spreads = [one.spread for one in made]
        self._ways: dict[tuple[tuple[float, ...], int], Floats] = {}

    def forecast(
        self, seen: Sequence[Sequence[float]], at: int, steps: int, quantiles: Sequence[float]
    ) -> Floats:
        """Shape (models, len(quantiles), steps)."""
        lags, (models, width, known_steps) = self._lags, self._weights.shape
        # Counts, the other days around the place, and a constant.
        rows = np.ones((models, width))
        if min(map(len, seen)) < lags:
            # Where this day has not been seen yet, the other days stand for it.
            rows[:, :lags] = self._usual(at - lags, lags)
        for row, counts in zip(rows, seen, strict=True):
            known = counts[-lags:]
            row[lags - len(known) : lags] = known
        rows[:, lags:-1] = self._usual(at - AROUND, width - 1 - lags)
        middle = np.maximum(0.0, (rows[:, None, :] @ self._weights)[:, 0])
        if steps > known_steps:
            # Beyond the last step that was fitted it stays as it is.
            middle = np.pad(middle, ((0, 0), (0, steps - known_steps)), mode="edge")
        middle = middle[:, None, :steps]
        asked = (tuple(quantiles), steps)
        ways = self._ways.get(asked)
        if ways is None:
            ways = self._ways[asked] = np.stack([one.ways(*asked) for one in self._spreads])
        return np.asarray(np.maximum(0.0, middle + ways * np.sqrt(np.maximum(middle, 1.0))))

    def _usual(self, start: int, count: int) -> Floats:
        """What the other days had from interval `start` of the day on."""
        first = start % (self._twice.shape[1] // 2)
        return self._twice[:, first : first + count]
