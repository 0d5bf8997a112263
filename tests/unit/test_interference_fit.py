"""Fits find the numbers that made the pairs, through noise, and refuse what is too little."""

import numpy as np
import pytest

from glet.errors import ProfileError
from glet.profiles.device_profile import Demand, DeviceProfile, ModelProfile
from glet.profiles.interference import (
    BandwidthInterference,
    ConstantInterference,
    Interference,
    LinearInterference,
    Tenant,
    demands_of,
    draws_of,
)
from glet.profiles.interference_files import make_interference
from glet.profiles.interference_fit import (
    FITS,
    fit_bandwidth,
    fit_constant,
    fit_linear,
    samples_of,
)
from glet.profiles.pairs import MeasuredPair

DEMANDS = {"a": (0.1, 0.2), "b": (0.15, 0.4), "c": (0.3, 0.5), "d": (0.25, 0.7), "e": (0.4, 0.9)}
PROFILE = DeviceProfile(
    "d",
    {
        name: ModelProfile(
            name,
            {20: {1: 4.0, 32: 80.0}, 80: {1: 2.2, 32: 25.0}, 100: {1: 2.0, 32: 20.0}},
            demands={1: Demand(l2=l2 / 2, dram=dram / 2), 32: Demand(l2=l2, dram=dram)},
        )
        for name, (l2, dram) in DEMANDS.items()
    },
    memory_mb=0.0,
    where="here",
)
BATCHES = (1, 8, 32)


def made_pairs(truth: Interference, noise: float, repeats: int = 1) -> list[MeasuredPair]:
    """Every pair of models at a few batches and shares, slowed down by `truth`, times noise."""
    rng = np.random.default_rng(1)
    pairs = []
    for a in DEMANDS:
        for b in DEMANDS:
            if b < a:
                continue
            for share_pct in (20, 50, 80):
                batch_a, batch_b = rng.choice(BATCHES, 2).tolist()
                one, two = Tenant(a, batch_a, share_pct), Tenant(b, batch_b, 100 - share_pct)
                for _ in range(repeats):
                    noises = 1.0 + noise * rng.standard_normal(2)
                    pairs.append(pair(one, two, truth, noises.tolist()))
    return pairs


def pair(a: Tenant, b: Tenant, truth: Interference, noises: list[float]) -> MeasuredPair:
    return MeasuredPair(
        model_a=a.model,
        share_a_pct=a.share_pct,
        batch_a=a.batch,
        model_b=b.model,
        share_b_pct=b.share_pct,
        batch_b=b.batch,
        alone_a_ms=10.0,
        beside_a_ms=10.0 * truth.slowdown(a, [b]) * noises[0],
        alone_b_ms=4.0,
        beside_b_ms=4.0 * truth.slowdown(b, [a]) * noises[1],
        samples=30,
    )


def test_both_sides_of_a_pair_are_samples() -> None:
    truth = BandwidthInterference(0.1, 1.0, draws_of(PROFILE), {"a": 2.0})
    one, two = Tenant("a", 8, 20), Tenant("e", 32, 80)
    first, second = samples_of([pair(one, two, truth, [1.0, 1.0])])
    assert (first.victim, first.other) == (one, two)
    assert (second.victim, second.other) == (two, one)
    assert first.slowdown == pytest.approx(truth.slowdown(one, [two]))
    assert second.slowdown == pytest.approx(truth.slowdown(two, [one]))


def test_constant_is_the_mean() -> None:
    pairs = made_pairs(ConstantInterference(1.25), noise=0.02)
    assert fit_constant(pairs, PROFILE).factor == pytest.approx(1.25, abs=0.01)


def test_a_mean_speed_up_is_no_slowdown() -> None:
    pairs = made_pairs(ConstantInterference(1.0), noise=0.0)
    faster = [
        MeasuredPair(**{**{f: getattr(p, f) for f in p.__struct_fields__}, "beside_a_ms": 9.0})
        for p in pairs
    ]
    assert fit_constant(faster, PROFILE).factor == 1.0


def test_linear_finds_its_constants() -> None:
    # Above 1 throughout: the floor would hide what is below.
    constants = (0.11, 0.72, 0.35, 0.09, 1.05)
    truth = LinearInterference(constants, demands_of(PROFILE))
    assert fit_linear(made_pairs(truth, 0.0), PROFILE).constants == pytest.approx(constants)
    noisy = fit_linear(made_pairs(truth, 0.005, repeats=20), PROFILE)
    assert noisy.constants == pytest.approx(constants, abs=0.06)


def test_bandwidth_finds_its_capacity_and_sensitivities() -> None:
    own = {"a": 0.5, "b": 1.0, "c": 1.2, "d": 0.8, "e": 1.5}
    truth = BandwidthInterference(0.45, 1.0, draws_of(PROFILE), own)
    found = fit_bandwidth(made_pairs(truth, 0.01, repeats=10), PROFILE)
    assert found.capacity == pytest.approx(0.45, rel=0.05)
    # The one that draws least, and so is slowed down least, is known least.
    assert found.sensitivities == pytest.approx(own, abs=0.12)
    assert found.sensitivity == pytest.approx(1.0, abs=0.12)


def test_few_slowdowns_of_a_model_are_drawn_to_the_common_sensitivity() -> None:
    own = {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0, "e": 3.0}
    truth = BandwidthInterference(0.45, 1.0, draws_of(PROFILE), own)
    many = made_pairs(truth, 0.0)
    once = [p for p in many if "e" not in (p.model_a, p.model_b)]
    once += [p for p in many if (p.model_a, p.model_b) == ("d", "e")][:1]
    assert fit_bandwidth(many, PROFILE).sensitivities["e"] == pytest.approx(3.0, rel=0.2)
    assert 0.8 < fit_bandwidth(once, PROFILE).sensitivities["e"] < 2.0


def test_without_slowdowns_nothing_is_predicted() -> None:
    pairs = made_pairs(ConstantInterference(1.0), noise=0.0)
    for kind, fit in FITS.items():
        model = make_interference(fit(pairs, PROFILE), PROFILE)
        assert model.name == kind
        slowdown = model.slowdown(Tenant("e", 32, 80), [Tenant("d", 32, 20)])
        assert slowdown == pytest.approx(1.0, abs=1e-9)


def test_the_order_of_pairs_hardly_matters() -> None:
    truth = BandwidthInterference(0.45, 1.0, draws_of(PROFILE))
    pairs = made_pairs(truth, 0.01)
    first, second = fit_bandwidth(pairs, PROFILE), fit_bandwidth(pairs[::-1], PROFILE)
    assert first.capacity == pytest.approx(second.capacity, rel=1e-4)
    assert first.sensitivities == pytest.approx(second.sensitivities, rel=1e-3)


@pytest.mark.parametrize(("kind", "needed"), [("constant", 1), ("linear", 5), ("bandwidth", 5)])
def test_too_few_pairs(kind: str, needed: int) -> None:
    pairs = made_pairs(ConstantInterference(1.1), noise=0.0)[: needed - 1]
    message = f"{needed - 1} measured pairs are too few for {kind} interference; {needed} are"
    with pytest.raises(ProfileError, match=message):
        FITS[kind](pairs, PROFILE)


def test_bandwidth_needs_a_demand() -> None:
    pairs = made_pairs(ConstantInterference(1.1), noise=0.0)
    nothing = DeviceProfile("d", {}, memory_mb=0.0, where="here")
    with pytest.raises(ProfileError, match=r"no model of these 45 pairs has a dram demand in here"):
        fit_bandwidth(pairs, nothing)


def test_linear_without_demands_is_the_constant() -> None:
    pairs = made_pairs(ConstantInterference(1.1), noise=0.01)
    nothing = DeviceProfile("d", {}, memory_mb=0.0, where="here")
    found = fit_linear(pairs, nothing)
    assert found.constants[:4] == pytest.approx((0.0,) * 4, abs=1e-12)
    assert found.constant == pytest.approx(fit_constant(pairs, nothing).factor)


def test_a_latency_of_nothing_is_refused() -> None:
    good = made_pairs(ConstantInterference(1.1), noise=0.0)[:1]
    bad = MeasuredPair(
        **{**{f: getattr(good[0], f) for f in good[0].__struct_fields__}, "alone_b_ms": 0.0}
    )
    with pytest.raises(ProfileError, match=r"pair a, a: 0 ms alone"):
        samples_of([bad])
