"""Bisection over one common factor on all rates. Pure: what is measured is an argument."""

import math
from collections.abc import Callable
from typing import NamedTuple

UP = 1.2
DOWN = 0.8


class Bracket(NamedTuple):
    """`good` is the largest factor that held, 0 when none did; `bad` the smallest that did not."""

    good: float
    bad: float


def bisect(holds: Callable[[float], bool], start: float, steps: int) -> Bracket:
    """From `start` up or down until it is between two, then halves the distance.

    `start` is near the planner's prediction, so that few steps are enough: the first is a fifth,
    each that follows twice as many, so that four steps see down to a quarter of it. After six the
    distance is about 3 % when the prediction is off by less than a third.
    """
    good, bad = 0.0, math.inf
    factor, stride = start, 1
    for _ in range(steps):
        if holds(factor):
            good = factor
        else:
            bad = factor
        if math.isinf(bad):
            factor = good * UP**stride
        elif good == 0.0:
            factor = bad * DOWN**stride
        else:
            factor = math.sqrt(good * bad)
        stride *= 2
    return Bracket(good, bad)
