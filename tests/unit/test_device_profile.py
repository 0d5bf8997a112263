"""Interpolation of profiles: monotone everywhere, exact where measured, an error beyond."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glet.errors import ProfileError
from glet.profiles.device_profile import Demand, DeviceProfile, ModelProfile

Points = dict[int, dict[int, float]]

LATENCY_MS = st.floats(1e-3, 1e6)
POINTS: st.SearchStrategy[Points] = st.dictionaries(
    st.integers(1, 100),
    st.dictionaries(st.integers(1, 40), LATENCY_MS, min_size=1, max_size=6),
    min_size=1,
    max_size=5,
)


def dominated(points: Points, share: int, batch: int) -> list[float]:
    """Latencies of everything that should be as fast or faster, itself included."""
    return [
        latency_ms
        for other, row in points.items()
        for size, latency_ms in row.items()
        if other >= share and size <= batch
    ]


def made_monotone(points: Points) -> Points:
    return {
        share: {batch: max(dominated(points, share, batch)) for batch in row}
        for share, row in points.items()
    }


@given(POINTS, st.lists(st.floats(0.0, 1.0), max_size=8))
def test_more_work_is_never_faster_and_more_share_never_slower(
    points: Points, ways: list[float]
) -> None:
    profile = ModelProfile("m", points)
    low, high = profile.shares[0], profile.shares[-1]
    shares = sorted({*profile.shares, *(min(high, low + way * (high - low)) for way in ways)})
    table = profile.tables(shares)
    assert table.shape == (len(shares), profile.max_batch)
    assert (np.diff(table, axis=1) >= 0).all()
    assert (np.diff(table, axis=0) <= 0).all()
    for share, row in points.items():
        for batch, latency_ms in row.items():
            if batch <= profile.max_batch:
                assert profile.latency_ms(share, batch) >= latency_ms


@given(POINTS)
def test_measurements_in_order_are_kept_exactly(points: Points) -> None:
    points = made_monotone(points)
    profile = ModelProfile("m", points)
    assert profile.raised == 0
    for share, row in points.items():
        for batch, latency_ms in row.items():
            if batch <= profile.max_batch:
                assert profile.latency_ms(share, batch) == latency_ms


@given(POINTS)
def test_measurements_out_of_order_are_raised_no_higher_than_needed(points: Points) -> None:
    profile = ModelProfile("m", points)
    raised = 0
    for share, row in points.items():
        for batch, latency_ms in row.items():
            if batch <= profile.max_batch:
                needed_ms = max(dominated(points, share, batch))
                assert profile.latency_ms(share, batch) == needed_ms
                raised += needed_ms > latency_ms * (1.0 + 1e-9)
    assert profile.raised == raised


@given(POINTS, st.floats(1.0, 100.0), st.integers(-1, 60))
def test_outside_is_an_error_and_inside_is_not(points: Points, share: float, batch: int) -> None:
    profile = ModelProfile("m", points)
    assert profile.max_batch == min(max(row) for row in points.values())
    inside = min(points) <= share <= max(points) and 1 <= batch <= profile.max_batch
    if inside:
        assert profile.latency_ms(share, batch) > 0
    else:
        with pytest.raises(ProfileError, match="profile of 'm' has no"):
            profile.latency_ms(share, batch)


def test_linear_in_the_batch_and_in_one_over_the_share() -> None:
    # 2 + 3 b / s: work that takes inversely as long on a part of the device.
    points = {share: {1: 2 + 300 / share, 9: 2 + 2700 / share} for share in (25, 100)}
    profile = ModelProfile("m", points)
    for share, batch in ((25, 5), (40, 1), (50, 9), (62.5, 3), (100, 7)):
        assert profile.latency_ms(share, batch) == pytest.approx(2 + 300 * batch / share)


def test_below_the_smallest_batch_its_latency_holds() -> None:
    profile = ModelProfile("m", {50: {4: 8.0, 8: 12.0}})
    assert profile.tables((50,)).tolist() == [[8.0, 8.0, 8.0, 8.0, 9.0, 10.0, 11.0, 12.0]]


def test_points_of_other_shares_bound_what_lies_between_points() -> None:
    # Straight lines alone would put 46 ms at (100 %, 16), above the 40 ms measured at (50 %, 16).
    profile = ModelProfile("m", {50: {1: 10.0, 16: 40.0, 32: 100.0}, 100: {1: 5.0, 32: 90.0}})
    assert profile.latency_ms(50, 16) == 40.0
    assert profile.latency_ms(100, 16) == 40.0
    assert profile.raised == 0


def test_a_share_known_at_its_largest_batch_is_filled_from_both_ends() -> None:
    points = {20: {1: 10.0, 32: 100.0}, 50: {32: 60.0}, 100: {1: 4.0, 8: 11.0, 32: 20.0}}
    profile = ModelProfile("m", points)
    # f = (60 - 20) / (100 - 20) = 0.5
    assert profile.latency_ms(50, 32) == 60.0
    assert profile.latency_ms(50, 1) == pytest.approx(4.0 + 0.5 * (10.0 - 4.0))
    # Without a smaller share that has a curve there is nothing to fill from: its one latency holds.
    alone = ModelProfile("m", {50: points[50], 100: points[100]})
    assert alone.latency_ms(50, 1) == 60.0


def test_demands_are_linear_between_batches_and_flat_outside() -> None:
    demands = {8: Demand(l2=0.2, dram=0.5), 2: Demand(l2=0.1, dram=0.2)}
    profile = ModelProfile("m", {100: {1: 1.0, 16: 2.0}}, demands=demands)
    assert profile.demand(5) == Demand(l2=pytest.approx(0.15), dram=pytest.approx(0.35))
    assert (profile.demand(1), profile.demand(16)) == (demands[2], demands[8])
    assert ModelProfile("m", {100: {1: 1.0}}).demand(1) == Demand(l2=0.0, dram=0.0)


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ({}, "has no latencies"),
        ({50: {}}, "has no latencies"),
        ({0: {1: 1.0}}, "share 0 %"),
        ({50: {0: 1.0}}, "batch 0"),
        ({50: {10**9: 1.0}}, "batch 1000000000"),
        ({50: {1: float("nan")}}, "nan ms"),
        ({50: {1: float("inf")}}, "inf ms"),
        ({50: {1: 0.0}}, "0.0 ms"),
    ],
)
def test_points_that_are_none(points: Points, says: str) -> None:
    with pytest.raises(ProfileError, match="profile of 'm'") as caught:
        ModelProfile("m", points)
    assert says in str(caught.value)


def test_a_missing_model_names_the_file_that_would_hold_it() -> None:
    resnet = ModelProfile("resnet50", {20: {1: 9.0}, 100: {1: 5.0}})
    device = DeviceProfile("gpu", {"resnet50": resnet}, memory_mb=0, where="p/latency.csv")
    with pytest.raises(ProfileError) as caught:
        device.model("resnet5")
    assert str(caught.value) == ("p/latency.csv: has no model 'resnet5'; did you mean 'resnet50'?")
    tables = DeviceProfile("gpu", {"resnet50": resnet}, memory_mb=0, where="p/<model>.csv")
    with pytest.raises(ProfileError, match=r"^p/vgg16\.csv: has no model 'vgg16'"):
        tables.model("vgg16")


def test_shares_are_those_given_or_those_measured() -> None:
    models = {
        "a": ModelProfile("a", {20: {1: 9.0}, 100: {1: 5.0}}),
        "b": ModelProfile("b", {50: {1: 9.0}}),
    }
    assert DeviceProfile("gpu", models, memory_mb=0, where="f").shares == (20, 50, 100)
    given = DeviceProfile("gpu", models, memory_mb=0, where="f", shares=(50, 25))
    assert given.shares == (25, 50)
