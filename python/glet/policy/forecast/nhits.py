"""A small N-HiTS: a network whose blocks each look at the past at their own resolution.

What runs here is numpy; `glet.learn.nhits` trains the weights, with the same network.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from glet.errors import ArgumentError
from glet.policy.forecast.forecaster import Floats, checked_days

LAGS = 15
STEPS = 7
# Times of the other days that are looked at before the place that is forecast.
AROUND = 3
BLOCKS = ((5, 2), (3, 4), (1, STEPS))
"""Of each block: how many counts are pooled into one, and how many points its forecast has."""
QUANTILES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)

Weights = Mapping[str, Any]
"""Arrays by name, `shapes()` says which; of numpy, or of torch while it is trained."""


class Maths(NamedTuple):
    """What the network needs beyond operators."""

    relu: Callable[[Any], Any]
    highest: Callable[[Any], Any]
    """The greatest along the last axis."""


NUMPY = Maths(relu=lambda x: np.maximum(x, 0.0), highest=lambda x: x.max(axis=-1))


def shapes(width: int) -> dict[str, tuple[int, ...]]:
    """Of all weights, with hidden layers of `width`."""
    found: dict[str, tuple[int, ...]] = {}
    for block, (pool, points) in enumerate(BLOCKS):
        knots = LAGS // pool
        out = knots + points * len(QUANTILES)
        found |= {
            f"past{block}": (knots, width),
            f"around{block}": (AROUND + STEPS, width),
            f"first{block}": (width,),
            f"hidden{block}": (width, width),
            f"second{block}": (width,),
            f"last{block}": (width, out),
            f"third{block}": (out,),
        }
    return found


def interpolation(points: int, length: int) -> Floats:
    """The matrix, shape (points, length), of straight lines between evenly spaced points."""
    at = np.linspace(0.0, points - 1.0, length) if points > 1 else np.zeros(length)
    return np.maximum(0.0, 1.0 - np.abs(at[None, :] - np.arange(points)[:, None]))


BACK = tuple(interpolation(LAGS // pool, LAGS) for pool, _ in BLOCKS)
FORE = tuple(interpolation(points, STEPS) for _, points in BLOCKS)


def network(
    weights: Weights, past: Any, around: Any, lines: Sequence[tuple[Any, Any]], maths: Maths
) -> Any:
    """N-HiTS (Challu et al., AAAI 2023): (n, LAGS) and (n, AROUND + STEPS) -> quantiles of what is
    above the last count, shape (n, len(QUANTILES), STEPS).

    Each block pools what the blocks before it did not explain, and adds a line through a few
    points. `lines` are pairs of BACK and FORE; `around`, the other days at that time, goes into
    every block as it is.
    """
    count, total = len(past), 0.0
    for block, (pool, points) in enumerate(BLOCKS):
        knots = LAGS // pool
        pooled = maths.highest(past.reshape(count, knots, pool))
        seen = pooled @ weights[f"past{block}"] + around @ weights[f"around{block}"]
        hidden = maths.relu(seen + weights[f"first{block}"])
        hidden = maths.relu(hidden @ weights[f"hidden{block}"] + weights[f"second{block}"])
        said = hidden @ weights[f"last{block}"] + weights[f"third{block}"]
        back, fore = lines[block]
        past = past - said[:, :knots] @ back
        total = total + said[:, knots:].reshape(count, len(QUANTILES), points) @ fore
    return total


class Nhits:
    """The forecaster of one model: weights that all models share, and the model's other days.

    Counts are taken in units of the model's mean, and as what is above the last count.
    """

    name = "nhits"

    def __init__(self, weights: Weights, days: Floats) -> None:
        """`days` of shape (days, intervals). Raises ArgumentError for weights of another shape."""
        found = checked_days(days)
        if found.shape[1] < LAGS + STEPS:
            raise ArgumentError(f"days of {found.shape[1]} intervals; {LAGS + STEPS} are the least")
        self._weights = checked_weights(weights)
        self._scale = scale_of(found)
        mean = found.mean(axis=0)
        self._twice = np.concatenate([mean, mean])

    def forecast(
        self, seen: Sequence[float], at: int, steps: int, quantiles: Sequence[float]
    ) -> Floats:
        for quantile in quantiles:
            if not 0.0 <= quantile <= 1.0:
                raise ArgumentError(f"quantile {quantile:g}; 0..1 is valid")
        known = seen[-LAGS:]
        past = np.concatenate([self._usual(at - LAGS, LAGS - len(known)), known]) / self._scale
        around = self._usual(at - AROUND, AROUND + STEPS) / self._scale
        last = past[-1]
        lines = tuple(zip(BACK, FORE, strict=True))
        said = network(self._weights, (past - last)[None], (around - last)[None], lines, NUMPY)
        ways = np.maximum(0.0, (np.sort(said[0], axis=0) + last) * self._scale)
        # Beyond the last step that was trained it stays as it is.
        ways = ways[:, np.minimum(np.arange(steps), STEPS - 1)]
        rows = [np.interp(quantiles, QUANTILES, column) for column in ways.T]
        return np.array(rows).reshape(steps, len(quantiles)).T

    def _usual(self, start: int, count: int) -> Floats:
        """What the other days had from interval `start` of the day on."""
        first = start % (len(self._twice) // 2)
        return self._twice[first : first + count]


def scale_of(days: Floats) -> float:
    """The unit that counts of a model are taken in: their mean, at least 1."""
    return max(1.0, float(days.mean())) if days.size else 1.0


def checked_weights(weights: Weights) -> dict[str, Floats]:
    """Raises ArgumentError where a weight is missing or of another shape."""
    first = weights.get("first0")
    for name, shape in shapes(0 if first is None else np.size(first)).items():
        found = weights.get(name)
        if found is None or np.shape(found) != shape:
            what = "nothing" if found is None else np.shape(found)
            raise ArgumentError(f"weights of N-HiTS: {name!r} is {what}; {shape} is valid")
    return {name: np.asarray(found, dtype=np.float64) for name, found in weights.items()}
