"""What a latency and a refusal are worth: from 1, all as promised, down to 0."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Latencies below are not told apart.
LEAST_S = 1e-7

STRICT_PENALTY: Sequence[tuple[float, float]] = (
    (0.0, 0.0),
    (0.001, 0.0),
    (0.03, 0.25),
    (0.08, 0.5),
    (1.0, 1.0),
)
"""(part refused, penalty), linear between: what the published optimiser plans with."""

STEP_PENALTY: Sequence[tuple[float, float]] = ((0.01, 0.0), (0.05, 0.25), (0.1, 0.5))
"""(part refused up to, penalty), 1 beyond: what runs are judged by, as in contracts of clouds."""


def relaxed_utility(latency_s: ArrayLike, slo_s: ArrayLike, alpha: float = 1.0) -> Floats:
    """min(1, (SLO / latency)^alpha): falls without a plateau (Faro, EuroSys 2025, section 3.4)."""
    latency = np.maximum(np.asarray(latency_s, dtype=np.float64), LEAST_S)
    worth = np.asarray(slo_s, dtype=np.float64) / latency
    return np.asarray(np.minimum(1.0, worth if alpha == 1.0 else worth**alpha))


def step_utility(latency_s: ArrayLike, slo_s: ArrayLike) -> Floats:
    """1 within the objective, else 0."""
    return np.asarray(np.asarray(latency_s) <= np.asarray(slo_s), dtype=np.float64)


def strict_penalty(refused: ArrayLike) -> Floats:
    """What refusing this part (0..1) of the requests costs: STRICT_PENALTY."""
    points, costs = zip(*STRICT_PENALTY, strict=True)
    return np.asarray(np.interp(np.asarray(refused, dtype=np.float64), points, costs))


def step_penalty(refused: ArrayLike) -> Floats:
    """What refusing this part (0..1) of the requests costs: STEP_PENALTY."""
    limits = np.array([limit for limit, _ in STEP_PENALTY])
    costs = np.array([*(cost for _, cost in STEP_PENALTY), 1.0])
    return np.asarray(costs[np.searchsorted(limits, refused, side="left")])
