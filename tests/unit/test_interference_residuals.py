"""Residuals learn what a model gets wrong, per combination, and forget nothing by accident."""

import math

import pytest

from glet.errors import ArgumentError
from glet.profiles import interference_residuals
from glet.profiles.interference import ConstantInterference, Tenant
from glet.profiles.interference_residuals import Observation, Residuals, corrected

VICTIM = Tenant("a", 8, 50)
BESIDE = (Tenant("b", 4, 30), Tenant("c", 4, 20))
BASE = ConstantInterference(1.2)


def seen(*measured: float, victim: Tenant = VICTIM) -> list[Observation]:
    return [Observation(victim, BESIDE, value, 1.2) for value in measured]


def test_corrects_what_was_seen_whatever_the_order_and_the_batches() -> None:
    residuals = Residuals().observed(seen(1.5, 1.5, 1.5))
    model = corrected(BASE, residuals)
    assert model.slowdown(VICTIM, BESIDE) == pytest.approx(1.5)
    other_batches = [Tenant("c", 1, 20), Tenant("b", 32, 30)]
    assert model.slowdown(Tenant("a", 1, 50), other_batches) == pytest.approx(1.5)
    assert model.name == "constant+residual"


def test_falls_back_to_the_model_and_then_to_the_prediction() -> None:
    first = seen(1.2 * 1.5, victim=Tenant("a", 8, 50))
    second = seen(1.2 * 1.1, victim=Tenant("a", 8, 20))
    residuals = Residuals().observed([*first, *second])
    assert residuals.factor(Tenant("a", 8, 50), BESIDE) == pytest.approx(1.5)
    assert residuals.factor(Tenant("a", 8, 80), BESIDE) == pytest.approx(1.3)
    assert residuals.factor(Tenant("b", 8, 50), BESIDE) == 1.0


def test_first_observations_count_equally_and_later_ones_smoothly() -> None:
    residuals = Residuals(smoothing=0.25).observed(seen(1.2, 2.4, 2.4, 1.2))
    assert residuals.factor(VICTIM, BESIDE) == pytest.approx(1.5)
    then = residuals.observed(seen(3.6))
    assert then.factor(VICTIM, BESIDE) == pytest.approx(1.5 + 0.25 * (3.0 - 1.5))


def test_an_update_leaves_the_old_one_as_it_was() -> None:
    before = Residuals().observed(seen(1.5))
    before.observed(seen(3.0, 3.0))
    assert before.factor(VICTIM, BESIDE) == pytest.approx(1.25)
    assert Residuals().factor(VICTIM, BESIDE) == 1.0
    one_by_one = Residuals().observed(seen(1.5)).observed(seen(1.3))
    assert one_by_one == Residuals().observed(seen(1.5, 1.3))


def test_a_guard_is_the_upper_quantile_of_the_latest() -> None:
    ratios = [1.0 + i / 100.0 for i in range(20)]
    observations = [Observation(VICTIM, BESIDE, ratio, 1.0) for ratio in ratios]
    mean = Residuals(smoothing=0.01).observed(observations)
    guarded = Residuals(smoothing=0.01, guard=0.95).observed(observations)
    assert mean.factor(VICTIM, BESIDE) == pytest.approx(1.095)
    assert guarded.factor(VICTIM, BESIDE) == pytest.approx(1.18)
    low = Residuals(smoothing=0.01, guard=0.1).observed(observations)
    assert low.factor(VICTIM, BESIDE) == pytest.approx(1.095)


def test_a_stall_is_not_believed() -> None:
    model = corrected(BASE, Residuals().observed(seen(1e6)))
    assert model.slowdown(VICTIM, BESIDE) == pytest.approx(1.2 * 4.0)


def test_never_below_one() -> None:
    model = corrected(BASE, Residuals().observed(seen(0.5)))
    assert model.slowdown(VICTIM, BESIDE) == 1.0


def test_learning_converges_on_what_the_device_does() -> None:
    residuals = Residuals()
    for _ in range(50):
        predicted = BASE.slowdown(VICTIM, BESIDE)
        residuals = residuals.observed([Observation(VICTIM, BESIDE, 1.37, predicted)])
    assert corrected(BASE, residuals).slowdown(VICTIM, BESIDE) == pytest.approx(1.37)


def test_the_longest_unseen_combination_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interference_residuals, "MOST_KEYS", 3)
    residuals = Residuals()
    for share_pct in (10, 20, 30, 10, 40):
        residuals = residuals.observed(seen(2.4, victim=Tenant("a", 1, share_pct)))
    assert [share_pct for _, share_pct, _ in residuals.by_set] == [30, 10, 40]


@pytest.mark.parametrize(
    "observation",
    [
        Observation(VICTIM, (), 1.1, 1.0),
        Observation(VICTIM, BESIDE, 0.0, 1.0),
        Observation(VICTIM, BESIDE, math.nan, 1.0),
        Observation(VICTIM, BESIDE, 1.1, math.inf),
    ],
)
def test_no_observation(observation: Observation) -> None:
    with pytest.raises(ArgumentError, match="observation of 'a'"):
        Residuals().observed([observation])


@pytest.mark.parametrize("smoothing", [0.0, 1.1, math.nan])
def test_smoothing_out_of_bounds(smoothing: float) -> None:
    with pytest.raises(ArgumentError, match="smoothing is"):
        Residuals(smoothing=smoothing).observed(seen(1.0))


def test_guard_out_of_bounds() -> None:
    with pytest.raises(ArgumentError, match=r"guard is 95; valid is 0\.\.1"):
        Residuals(guard=95.0).observed(seen(1.0))
