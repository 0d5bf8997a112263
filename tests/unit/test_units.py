"""Gpulets on units of a GPU: neighbours, disjoint, where they were."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glet.errors import ConfigError
from glet.plan.layout import arrange
from glet.plan.units import place_units, sms_of, units_of
from glet.types.device import DeviceInfo
from glet.types.plan import GpuletPlan, ModelShare
from glet.types.units import Units


def gpu(units: int = 15, unit_sms: int = 8, remainder_sms: int = 12) -> DeviceInfo:
    sms = units * unit_sms + remainder_sms
    return DeviceInfo(
        name="gpu0",
        kind="green",
        type="h200",
        gpu="0",
        product="Fake GPU",
        sms=sms,
        units=units,
        unit_sms=unit_sms,
        remainder_sms=remainder_sms,
        granularity_pct=100.0 / units,
    )


GPU = gpu()


def gpulet(share_pct: int, *models: str, dedup: int = 0) -> GpuletPlan:
    shares = tuple(ModelShare(model=model, batch=1) for model in models)
    return GpuletPlan(device=0, share_pct=share_pct, dedup=dedup, models=shares)


def test_shares_are_rounded_down_to_units() -> None:
    placed = arrange((), [gpulet(50, "a"), gpulet(50, "b", dedup=1)], GPU, 0)
    assert [p.units for p in placed] == [Units(0, 7), Units(7, 7)]
    assert [p.given_pct for p in placed] == [100.0 * 56 / 132] * 2
    assert [p.cores for p in placed] == [(), ()]


def test_the_whole_device_has_the_remainder_too() -> None:
    (placed,) = arrange((), [gpulet(100, "a")], GPU, 0)
    assert (placed.units, placed.given_pct) == (Units(0, 15, True), 100.0)
    (exact,) = arrange((), [gpulet(100, "a")], gpu(16, 8, 0), 0)
    assert exact.units == Units(0, 16)


def test_counts_of_units_that_cannot_be_trusted_are_not_given() -> None:
    careful = msgspec.structs.replace(GPU, bad_units=(1, 2, 7, 15))
    placed = arrange((), [gpulet(50, "a"), gpulet(20, "b")], careful, 0)
    assert [p.units for p in placed] == [Units(0, 6), Units(6, 3)]
    # Without all units there is no claim to the rest.
    (whole,) = arrange((), [gpulet(100, "a")], careful, 0)
    assert (whole.units, whole.given_pct) == (Units(0, 14), 100.0 * 112 / 132)
    (small,) = arrange((), [gpulet(14, "a")], careful, 0)
    assert small.error == (
        "gpulet 14 % of gpu0: its 2 units cannot be trusted (glet doctor), nor can fewer; "
        "the smallest share that works is 20 %"
    )
    (lost,) = arrange((), [gpulet(60, "a")], msgspec.structs.replace(gpu(2), bad_units=(1, 2)), 0)
    assert lost.error.endswith("no share of it works: do not use partition green")
    assert careful.left_out == (
        "gpu0: shares of 1, 2, 7, 15 of 15 units are left out, "
        "glet doctor found wrong numbers there"
    )
    assert GPU.left_out == ""


def test_less_than_a_unit_says_what_would_be_valid() -> None:
    placed = arrange((), [gpulet(6, "a"), gpulet(94, "b")], GPU, 0)
    assert placed[0].error == (
        "gpulet 6 % of gpu0: is less than one of its 15 units of 8 SMs; "
        "the smallest share that works is 7 %"
    )
    assert (placed[0].units, placed[0].given_pct) == (None, 0.0)
    assert placed[1].units == Units(0, 14)
    assert units_of(7, GPU) == 1


def test_a_gpulet_stays_where_it_is() -> None:
    first = arrange((), [gpulet(20, "a"), gpulet(40, "b"), gpulet(40, "c", dedup=1)], GPU, 0)
    second = arrange(first, [gpulet(40, "c"), gpulet(33, "d")], GPU, 3)
    assert second[0].number == 2
    assert [p.units for p in second] == [Units(9, 6), Units(0, 4)]


def test_a_fragmented_device_is_laid_out_anew() -> None:
    first = arrange((), [gpulet(20, "a"), gpulet(60, "b"), gpulet(20, "c", dedup=1)], GPU, 0)
    middle = arrange(first, [gpulet(20, "a"), gpulet(20, "c", dedup=1), gpulet(20, "d")], GPU, 3)
    assert [p.units for p in middle] == [Units(0, 3), Units(12, 3), Units(3, 3)]
    last = arrange(middle, [gpulet(20, "d"), gpulet(20, "c", dedup=1), gpulet(60, "e")], GPU, 4)
    assert [p.units for p in last] == [Units(0, 3), Units(3, 3), Units(6, 9)]


def test_too_much_is_refused() -> None:
    with pytest.raises(ConfigError, match=re.escape("add up to 120 %; at most 100 is valid")):
        place_units([60, 60], [None, None], GPU)


def test_mps_gives_a_cap_and_no_place() -> None:
    device = DeviceInfo(name="g", kind="mps", type="h200", gpu="0", product="Fake GPU", sms=132)
    placed = arrange((), [gpulet(30, "a"), gpulet(70, "b")], device, 0)
    assert [(p.given_pct, p.units, p.cores) for p in placed] == [(30.0, None, ()), (70.0, None, ())]
    assert (device.max_gpulets, device.resizes, GPU.resizes) == (48, False, True)


def test_under_mps_another_share_is_another_gpulet() -> None:
    device = DeviceInfo(name="g", kind="mps", type="h200", gpu="0", product="Fake GPU", sms=132)
    first = arrange((), [gpulet(30, "a"), gpulet(70, "b")], device, 0)
    second = arrange(first, [gpulet(50, "a"), gpulet(50, "b", dedup=1)], device, 2)
    assert [placed.number for placed in second] == [2, 3]
    assert [p.number for p in arrange(first, [gpulet(70, "b")], device, 2)] == [1]


@pytest.mark.parametrize("count", [*range(1, 40), 132])
def test_the_most_gpulets_fit_and_one_more_does_not(count: int) -> None:
    cpu = DeviceInfo(name="cpu", kind="cpu", type="cpu", cores=tuple(range(count)))
    for device in (gpu(count, 8, 4), cpu):
        for gpulets, fits in ((device.max_gpulets, True), (device.max_gpulets + 1, count > 100)):
            share_pct = max(1, 100 // gpulets)
            plan = [gpulet(share_pct, dedup=index) for index in range(100 // share_pct)][:gpulets]
            assert any(placed.error for placed in arrange((), plan, device, 0)) != fits


SHARES = st.lists(st.integers(7, 100), min_size=1, max_size=8).map(
    lambda shares: [s for i, s in enumerate(shares) if sum(shares[: i + 1]) <= 100]
)


@given(st.lists(SHARES, min_size=1, max_size=5), st.integers(15, 40), st.integers(0, 12))
def test_places_are_disjoint_and_whole(
    plans: list[list[int]], units: int, remainder_sms: int
) -> None:
    device = gpu(units, 8, remainder_sms)
    now: dict[int, Units] = {}
    for shares in plans:
        known = [now.get(index) for index in range(len(shares))]
        placed = place_units(shares, known, device)
        used = [unit for place in placed for unit in range(place.first, place.end)]
        assert len(set(used)) == len(used)
        assert set(used) <= set(range(units))
        assert [place.count for place in placed] == [share * units // 100 for share in shares]
        assert all(sms_of(place, device) <= device.sms for place in placed)
        assert place_units(shares, placed, device) == placed
        now = dict(enumerate(placed))
