"""From measured pairs to the numbers of each model of interference."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar, nnls

from glet.errors import ProfileError
from glet.profiles.device_profile import DeviceProfile
from glet.profiles.interference import (
    LEAST_CAPACITY,
    MOST_COEFFICIENT,
    MOST_SLOWDOWN,
    Tenant,
    demands_of,
    draws_of,
)
from glet.profiles.interference_files import (
    BandwidthNumbers,
    ConstantNumbers,
    LinearNumbers,
    NoNumbers,
    Numbers,
)
from glet.profiles.pairs import MeasuredPair

Floats = NDArray[np.float64]

# Two slowdowns per pair: twice as many as the linear model has constants.
FEWEST_PAIRS = 5
# A model's own sensitivity weighs as much as the common one when it has that many slowdowns.
SHRINKAGE = 5.0
CAPACITIES = 160
SPAN = 100.0


class Sample(NamedTuple):
    """One side of a pair: the victim's slowdown beside the other."""

    victim: Tenant
    other: Tenant
    slowdown: float


class Fitted(NamedTuple):
    """Sensitivities at one capacity, and the sum of squares that they leave."""

    loss: float
    sensitivity: float
    sensitivities: dict[str, float]


def samples_of(pairs: Sequence[MeasuredPair]) -> list[Sample]:
    """Both sides of every pair, in order. Raises ProfileError for a slowdown that is none."""
    samples = []
    for pair in pairs:
        a = Tenant(pair.model_a, pair.batch_a, pair.share_a_pct)
        b = Tenant(pair.model_b, pair.batch_b, pair.share_b_pct)
        for victim, other, alone_ms, beside_ms in (
            (a, b, pair.alone_a_ms, pair.beside_a_ms),
            (b, a, pair.alone_b_ms, pair.beside_b_ms),
        ):
            if not (0.0 < alone_ms < math.inf and 0.0 < beside_ms < math.inf):
                raise ProfileError(
                    f"pair {pair.model_a}, {pair.model_b}: {alone_ms:g} ms alone, {beside_ms:g} ms "
                    "beside the other; both must be above 0"
                )
            samples.append(Sample(victim, other, beside_ms / alone_ms))
    return samples


def fit_none(pairs: Sequence[MeasuredPair], profile: DeviceProfile) -> NoNumbers:
    """Needs nothing; here to be measured beside the others."""
    return NoNumbers()


def fit_constant(pairs: Sequence[MeasuredPair], profile: DeviceProfile) -> ConstantNumbers:
    """The mean slowdown. Raises ProfileError without a pair."""
    _enough(pairs, 1, "constant")
    mean = float(np.mean([sample.slowdown for sample in samples_of(pairs)]))
    return ConstantNumbers(factor=min(max(mean, 1.0), MOST_SLOWDOWN))


def fit_linear(pairs: Sequence[MeasuredPair], profile: DeviceProfile) -> LinearNumbers:
    """Plain least squares, as published (Choi et al., ATC 2022, section 4).

    Raises ProfileError for fewer than FEWEST_PAIRS pairs.
    """
    _enough(pairs, FEWEST_PAIRS, "linear")
    demands = demands_of(profile)
    samples = samples_of(pairs)
    rows = []
    for victim, other, _ in samples:
        own, beside = demands(victim.model, victim.batch), demands(other.model, other.batch)
        part, other_part = victim.share_pct / 100.0, other.share_pct / 100.0
        rows.append(
            (own.l2 * part, beside.l2 * other_part, own.dram * part, beside.dram * other_part, 1.0)
        )
    wanted = np.array([sample.slowdown for sample in samples])
    found, *_ = np.linalg.lstsq(np.array(rows), wanted, rcond=None)
    c1, c2, c3, c4, c5 = np.clip(found, -MOST_COEFFICIENT, MOST_COEFFICIENT).tolist()
    return LinearNumbers(
        l2_victim=c1, l2_neighbour=c2, dram_victim=c3, dram_neighbour=c4, constant=c5
    )


def fit_bandwidth(pairs: Sequence[MeasuredPair], profile: DeviceProfile) -> BandwidthNumbers:
    """The capacity by search, and at each capacity the sensitivities by least squares.

    Errors are relative to the measured slowdown. A model's sensitivity is drawn to the common one
    as if the common one had been seen SHRINKAGE times, and is never below 0. Raises ProfileError
    for fewer than FEWEST_PAIRS pairs, or when no model in them has a dram demand.
    """
    _enough(pairs, FEWEST_PAIRS, "bandwidth")
    draws = draws_of(profile)
    samples = samples_of(pairs)
    drawn = np.array([draws(sample.victim) + draws(sample.other) for sample in samples])
    largest = float(drawn.max())
    if largest < 2.0 * SPAN * LEAST_CAPACITY:
        raise ProfileError(
            f"no model of these {len(pairs)} pairs has a dram demand in {profile.where}; "
            "the bandwidth model needs one"
        )
    task = _Task(
        victims=[sample.victim.model for sample in samples],
        drawn=drawn,
        slowdowns=np.array([sample.slowdown for sample in samples]),
    )
    capacity = _best_capacity(task, largest)
    best = task.at(capacity)
    return BandwidthNumbers(
        capacity=capacity, sensitivity=best.sensitivity, sensitivities=best.sensitivities
    )


Fit = Callable[[Sequence[MeasuredPair], DeviceProfile], Numbers]

FITS: dict[str, Fit] = {
    "constant": fit_constant,
    "none": fit_none,
    "linear": fit_linear,
    "bandwidth": fit_bandwidth,
}
"""By the model's name, the constant first: what has to be beaten."""


class _Task:
    """Slowdowns to explain by what is drawn: all arrays have one entry per sample."""

    def __init__(self, *, victims: Sequence[str], drawn: Floats, slowdowns: Floats) -> None:
        self._models = sorted(set(victims))
        self._victims = np.searchsorted(self._models, victims)
        self._drawn = drawn
        self._weights = 1.0 / slowdowns
        self._wanted = 1.0 - self._weights

    def at(self, capacity: float) -> Fitted:
        """The best sensitivities. Per model one sum of squares is all that its samples say."""
        excess = np.maximum(0.0, self._drawn / capacity - 1.0) * self._weights
        count = len(self._models)
        squares = np.bincount(self._victims, excess**2, count)
        products = np.bincount(self._victims, excess * self._wanted, count)
        roots = np.sqrt(squares)
        pull = math.sqrt(SHRINKAGE * float(squares.sum()) / len(excess))
        # Unknowns: one sensitivity per model, then the common one.
        rows = np.zeros((2 * count, count + 1))
        rows[:count, :count] = np.diag(roots)
        rows[count:, :count] = np.eye(count) * pull
        rows[count:, count] = -pull
        target = np.zeros(2 * count)
        np.divide(products, roots, out=target[:count], where=roots > 0.0)
        found, _ = nnls(rows, target)
        found = np.minimum(found, MOST_COEFFICIENT)
        own, common = found[:count], float(found[count])
        left = excess * own[self._victims] - self._wanted
        loss = float(left @ left) + pull**2 * float(np.sum((own - common) ** 2))
        return Fitted(loss, common, dict(zip(self._models, own.tolist(), strict=True)))


def _best_capacity(task: _Task, largest: float) -> float:
    """From `largest`, where nothing is ever too much, down to a hundredth of it."""
    tried = largest * np.geomspace(1.0, 1.0 / SPAN, CAPACITIES)
    losses = [task.at(float(capacity)).loss for capacity in tried]
    # The first of equals: the largest capacity that explains as much.
    at = int(np.argmin(losses))
    bounds = float(tried[min(at + 1, CAPACITIES - 1)]), float(tried[max(at - 1, 0)])
    found = minimize_scalar(
        lambda capacity: task.at(float(capacity)).loss, bounds=bounds, method="bounded"
    )
    return float(found.x) if found.fun < losses[at] else float(tried[at])


def _enough(pairs: Sequence[MeasuredPair], needed: int, kind: str) -> None:
    if len(pairs) < needed:
        raise ProfileError(
            f"{len(pairs)} measured pairs are too few for {kind} interference; {needed} are needed"
        )
