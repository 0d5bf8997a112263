"""What is learnt of latencies while serving: bounds, robustness, decay, the dead band."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glet.errors import ProfileError
from glet.profiles.correction import (
    DEAD_BAND,
    HALF_LIFE_S,
    LEAST_FACTOR,
    MOST_FACTOR,
    Correction,
    Corrections,
    Sample,
    corrected_profile,
    measured_ratio,
)
from glet.profiles.device_profile import DeviceProfile, ModelProfile
from glet.profiles.interference import ConstantInterference, NoInterference, Tenant

BASE = {"gpu": NoInterference()}
TENANT = Tenant("a", 4, 50)
OTHER = Tenant("b", 8, 50)


def sample(ratio: float, *others: Tenant, busy: float = 0.0) -> Sample:
    return Sample("gpu", TENANT, ratio, others, busy)


def after(ratios: list[float]) -> Corrections:
    found = Corrections()
    for second, ratio in enumerate(ratios):
        found = found.observed(float(second), [sample(ratio)], BASE)
    return found


def profile() -> DeviceProfile:
    points = {share: {b: 1.0 + b * 100.0 / share for b in (1, 2, 4, 8)} for share in (50, 100)}
    models = {name: ModelProfile(name, points, memory_mb=5.0) for name in "ab"}
    return DeviceProfile("gpu", models, memory_mb=100.0, where="gpu")


def test_a_steady_ratio_is_learnt_and_said() -> None:
    found = after([1.5] * 40)
    assert found.factor("gpu", "a") == pytest.approx(1.5, rel=DEAD_BAND)
    assert found.factor("gpu", "b") == 1.0
    assert found.factor("other", "a") == 1.0
    assert found.notes() == (
        Correction(device_type="gpu", model="a", factor=found.factor("gpu", "a")),
    )


def test_one_stalled_second_is_not_believed() -> None:
    assert after([1.0] * 10 + [50.0] + [1.0] * 3).factor("gpu", "a") < 1.3
    assert after([1.0] * 10 + [50.0] + [1.0] * 30).factor("gpu", "a") == 1.0


@settings(max_examples=50, deadline=None, derandomize=True)
@given(ratios=st.lists(st.floats(-1.0, 1e9) | st.just(math.inf) | st.just(math.nan), max_size=60))
def test_whatever_is_measured_factors_stay_within_bounds(ratios: list[float]) -> None:
    assert LEAST_FACTOR <= after(ratios).factor("gpu", "a") <= MOST_FACTOR


def test_small_noise_changes_no_plan() -> None:
    ratios = [1.0 + 0.9 * DEAD_BAND * (-1) ** second for second in range(100)]
    assert after(ratios).factor("gpu", "a") == 1.0
    used = {after([1.5] * 40 + ratio).factor("gpu", "a") for ratio in ([], [1.48] * 5, [1.53] * 5)}
    assert len(used) == 1


def test_what_nobody_confirms_is_forgotten() -> None:
    found = after([2.0] * 60)
    half = found.observed(60.0 + HALF_LIFE_S, [], BASE)
    assert half.factor("gpu", "a") == pytest.approx(math.sqrt(2.0), rel=DEAD_BAND)
    assert half.observed(60.0 + 20 * HALF_LIFE_S, [], BASE).factor("gpu", "a") == 1.0


def test_neighbours_correct_interference_and_not_the_model() -> None:
    found = Corrections()
    base = {"gpu": ConstantInterference(1.2)}
    for second in range(30):
        found = found.observed(float(second), [sample(1.8, OTHER, busy=0.9)], base)
    assert found.factor("gpu", "a") == 1.0
    learnt = found.interference("gpu", base["gpu"])
    assert learnt.slowdown(TENANT, (OTHER,)) == pytest.approx(1.8, rel=0.1)
    assert found.interference("other", base["gpu"]) is base["gpu"]
    assert [note.beside for note in found.notes()] == [(("b", 50),)]


def test_predicted_slowdown_is_no_fault_of_the_model() -> None:
    found = Corrections()
    base = {"gpu": ConstantInterference(1.4)}
    for second in range(30):
        # The neighbour ran a quarter of the time: a tenth longer is as predicted.
        found = found.observed(float(second), [sample(1.1, OTHER, busy=0.25)], base)
    assert found.notes() == ()
    for second in range(30, 60):
        found = found.observed(float(second), [sample(1.4, OTHER, busy=0.9)], base)
    assert found.notes() == ()


def test_a_corrected_profile_is_longer_and_ends_at_the_largest_batch() -> None:
    before = profile()
    found = corrected_profile(before, {"a": 1.5}, {"a": 4, "b": 100})
    assert found.model("a").latency_ms(50, 4) == pytest.approx(
        1.5 * before.model("a").latency_ms(50, 4)
    )
    assert found.model("a").max_batch == 4
    with pytest.raises(ProfileError):
        found.model("a").latency_ms(50, 8)
    assert found.model("b") is before.model("b")
    assert (found.type, found.memory_mb, found.shares) == ("gpu", 100.0, (50, 100))
    with pytest.raises(ProfileError, match="factor 0; valid is above 0"):
        before.model("a").adjusted(0.0)


def test_the_ratio_is_of_what_the_queue_predicts_with_to_the_profile() -> None:
    here = profile()
    profiled_ms = here.model("a").latency_ms(50, 4)
    points = ((2, profiled_ms / 2), (4, 2.0 * profiled_ms))
    assert measured_ratio(here, TENANT, points, 1.25) == pytest.approx(2.5)
    assert measured_ratio(here, TENANT._replace(batch=100), points, 1.25) is None
    assert measured_ratio(here, TENANT._replace(model="x"), points, 1.0) is None
    assert measured_ratio(here, TENANT, (), 1.0) is None
