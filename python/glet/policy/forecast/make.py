"""All forecasters by name, and how wrong they are on days that they were not told of."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from glet.config.load import nearest
from glet.errors import ConfigError
from glet.policy.forecast.autoregressive import Autoregressions, Autoregressive
from glet.policy.forecast.forecaster import (
    Floats,
    Forecaster,
    OneByOne,
    Together,
    checked_days,
)
from glet.policy.forecast.simple import Ewma, LastValue, SeasonalNaive

FORECASTERS: dict[str, Callable[[Floats | None], Forecaster]] = {
    "last": LastValue,
    "ewma": Ewma,
    "seasonal": SeasonalNaive,
    "ar": Autoregressive,
}
"""Name -> how it is made of other days, shape (days, intervals). Adding one is a line here."""


class ForecastError(NamedTuple):
    """On held-out days: root of the mean square error of the medians in requests per interval,
    and the part of the counts that was at most the 0.9 quantile."""

    rmse: float
    below_90: float


def make_forecaster(name: str, days: Floats | None = None) -> Forecaster:
    """Raises ConfigError for a name that is none of FORECASTERS, ArgumentError for bad days."""
    if name not in FORECASTERS:
        raise ConfigError(f"no forecaster is called {name!r}; {nearest(name, FORECASTERS)}")
    return FORECASTERS[name](days)


def together(made: Sequence[Forecaster]) -> Together:
    """The same forecasts at once; at least one. Autoregressions of one shape are a single step."""
    same = [one for one in made if isinstance(one, Autoregressive)]
    shapes = {one.fitted for one in same}
    if len(same) == len(made) and len(shapes) == 1 and shapes != {()}:
        return Autoregressions(same)
    return OneByOne(made)


def held_out_error(
    forecaster: Forecaster, days: Floats, before: int = 15, steps: int = 7
) -> ForecastError:
    """Forecasts every place of these days that has `before` counts before it and `steps` after."""
    squares, below = [], []
    for day in checked_days(days):
        for at in range(before, len(day) - steps):
            said = forecaster.forecast(day[:at].tolist(), at, steps, (0.5, 0.9))
            came = day[at : at + steps]
            squares.append((said[0] - came) ** 2)
            below.append(came <= said[1])
    return ForecastError(float(np.sqrt(np.mean(squares))), float(np.mean(below)))
