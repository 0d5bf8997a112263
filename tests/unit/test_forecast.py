"""Forecasters: what they say of days that they know and do not know."""

import numpy as np
import pytest

from glet.errors import ArgumentError, ConfigError
from glet.policy.forecast.autoregressive import Autoregressions
from glet.policy.forecast.make import FORECASTERS, held_out_error, make_forecaster, together

MINUTES = 120


def days(count: int, seed: int = 0) -> np.ndarray:
    """A wave and a slow wandering of its height, Poisson counts."""
    rng = np.random.default_rng(seed)
    wave = 1.0 + 0.6 * np.sin(np.arange(MINUTES) / MINUTES * 4.0 * np.pi)
    drift = np.exp(np.cumsum(rng.normal(0.0, 0.02, (count, MINUTES)), axis=1))
    return rng.poisson(600.0 * wave * drift).astype(float)


@pytest.mark.parametrize("name", FORECASTERS)
@pytest.mark.parametrize("history", [None, days(6)], ids=["none", "days"])
def test_every_forecaster_says_quantiles_in_order(name: str, history: np.ndarray | None) -> None:
    made = make_forecaster(name, history)
    assert made.name == name
    for seen in ([], [500.0], days(1, 9)[0].tolist()):
        found = made.forecast(seen, len(seen), 9, (0.1, 0.5, 0.9))
        assert found.shape == (3, 9)
        assert (found >= 0.0).all()
        assert (np.diff(found, axis=0) >= 0.0).all()
        again = make_forecaster(name, history).forecast(seen, len(seen), 9, (0.1, 0.5, 0.9))
        assert (found == again).all()


def test_the_autoregression_beats_the_last_value_and_knows_its_errors() -> None:
    known, unknown = days(8), days(3, seed=5)
    errors = {name: held_out_error(make_forecaster(name, known), unknown) for name in FORECASTERS}
    assert errors["ar"].rmse < 0.75 * errors["last"].rmse
    assert errors["ar"].rmse < errors["seasonal"].rmse
    assert 0.85 < errors["ar"].below_90 < 0.95


def test_the_season_is_the_mean_of_the_days() -> None:
    made = make_forecaster("seasonal", np.array([[2.0, 3.0, 4.0]] * 2))
    assert made.forecast([], 2, 3, (0.5,))[0] == pytest.approx([4.0, 2.0, 3.0])


def test_bad_history_is_located() -> None:
    bad = days(2)
    bad[1, 7] = np.nan
    with pytest.raises(ArgumentError, match="day 1, interval 7 is nan"):
        make_forecaster("ar", bad)
    with pytest.raises(ArgumentError, match=r"shape \(3,\)"):
        make_forecaster("last", np.ones(3))
    with pytest.raises(ConfigError, match="did you mean 'seasonal'"):
        make_forecaster("seasonl")
    with pytest.raises(ArgumentError, match=r"quantile 1.5"):
        make_forecaster("last").forecast([1.0], 0, 1, (1.5,))


@pytest.mark.parametrize("names", [("ar", "ar"), ("ar", "ewma")], ids=["alike", "mixed"])
def test_together_is_one_by_one(names: tuple[str, str]) -> None:
    made = [make_forecaster(name, days(4, seed)) for seed, name in enumerate(names)]
    group = together(made)
    assert isinstance(group, Autoregressions) == (names[1] == "ar")
    long = days(1, 9)[0].tolist()
    for seen in ([long, long[50:]], [long[:4], long[:30]], [[], long[:1]]):
        found = group.forecast(seen, 119, 9, (0.2, 0.5))
        for one, counts, said in zip(made, seen, found, strict=True):
            assert said == pytest.approx(one.forecast(counts, 119, 9, (0.2, 0.5)))
