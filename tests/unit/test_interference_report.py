"""Errors are on what was held out, for every model the same, and the constant is never hidden."""

import itertools
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from glet.errors import ArgumentError, ProfileError
from glet.profiles.device_profile import Demand, DeviceProfile, ModelProfile
from glet.profiles.interference import (
    BandwidthInterference,
    ConstantInterference,
    Interference,
    Tenant,
    draws_of,
)
from glet.profiles.interference_fit import samples_of
from glet.profiles.interference_report import FITTERS, ErrorRow, choose, error_report
from glet.profiles.pairs import MeasuredPair

NAMES = ("a", "b", "c", "d")
PROFILE = DeviceProfile(
    "d",
    {
        name: ModelProfile(
            name,
            {50: {1: 4.0, 32: 40.0}, 100: {1: 2.0, 32: 20.0}},
            demands={1: Demand(dram=0.25 * i), 32: Demand(dram=0.5 * i)},
        )
        for i, name in enumerate(NAMES, start=1)
    },
    memory_mb=0.0,
    where="here",
)
BUDGET = BandwidthInterference(0.5, 1.0, draws_of(PROFILE))


def made_pairs(truth: Interference, noise: float = 0.01) -> list[MeasuredPair]:
    rng = np.random.default_rng(5)
    pairs = []
    for a, b in itertools.combinations_with_replacement(NAMES, 2):
        for batch_a, batch_b in ((1, 1), (1, 32), (32, 8)):
            one, two = Tenant(a, batch_a, 50), Tenant(b, batch_b, 50)
            first, second = (1.0 + noise * rng.standard_normal(2)).tolist()
            pairs.append(
                MeasuredPair(
                    model_a=a,
                    share_a_pct=50,
                    batch_a=batch_a,
                    model_b=b,
                    share_b_pct=50,
                    batch_b=batch_b,
                    alone_a_ms=3.0,
                    beside_a_ms=3.0 * truth.slowdown(one, [two]) * first,
                    alone_b_ms=7.0,
                    beside_b_ms=7.0 * truth.slowdown(two, [one]) * second,
                    samples=20,
                )
            )
    return pairs


def report_of(pairs: Sequence[MeasuredPair], profile: DeviceProfile = PROFILE) -> list[ErrorRow]:
    return [*error_report(pairs, profile, np.random.default_rng(7), repeats=5)]


def means_pct(report: Sequence[ErrorRow], held_out: str) -> dict[str, float]:
    return {row.model: row.mean_pct for row in report if row.held_out == held_out}


class Memory:
    """Knows the pairs that it was shown by heart, and nothing else."""

    name = "memory"

    def __init__(self, pairs: Sequence[MeasuredPair], profile: DeviceProfile) -> None:
        samples = samples_of(pairs)
        self._seen = {(victim, other): slowdown for victim, other, slowdown in samples}

    def slowdown(self, victim: Tenant, others: Sequence[Tenant]) -> float:
        return self._seen.get((victim, others[0]), 0.0)


def test_every_model_on_the_same_slowdowns_the_constant_first() -> None:
    report = report_of(made_pairs(BUDGET))
    for held_out in ("pairs", "models"):
        rows = [row for row in report if row.held_out == held_out]
        assert [row.model for row in rows] == ["constant", "none", "linear", "bandwidth"]
        assert len({row.slowdowns for row in rows}) == 1
        assert all(0.0 < row.mean_pct <= row.p95_pct for row in rows)
        assert all(row.p90_pct <= row.p95_pct for row in rows)
    # 30 pairs: 9 are held out 5 times; each model is in 12 of them.
    assert {row.held_out: row.slowdowns for row in report} == {
        "pairs": 9 * 2 * 5,
        "models": 12 * 2 * 4,
    }


def test_what_made_the_pairs_has_the_least_error_in_both_ways() -> None:
    report = report_of(made_pairs(BUDGET))
    for held_out in ("pairs", "models"):
        means = means_pct(report, held_out)
        assert min(means, key=lambda model: means[model]) == "bandwidth"
        assert means["bandwidth"] < 0.2 * means["constant"]
    assert choose(report) == "bandwidth"


def test_what_only_remembers_looks_bad_held_out() -> None:
    # Each pair twice, once as (b, a): no copy of what is held out may be trained on.
    pairs = made_pairs(BUDGET)
    mirrored = [
        msgspec.structs.replace(
            p,
            model_a=p.model_b,
            share_a_pct=p.share_b_pct,
            batch_a=p.batch_b,
            alone_a_ms=p.alone_b_ms,
            beside_a_ms=p.beside_b_ms,
            model_b=p.model_a,
            share_b_pct=p.share_a_pct,
            batch_b=p.batch_a,
            alone_b_ms=p.alone_a_ms,
            beside_b_ms=p.beside_a_ms,
        )
        for p in pairs
    ]
    remembers = Memory(pairs, PROFILE)
    assert all(remembers.slowdown(v, [o]) == slowdown for v, o, slowdown in samples_of(pairs[3:6]))
    report = error_report(
        [*pairs, *mirrored],
        PROFILE,
        np.random.default_rng(7),
        repeats=5,
        fitters={"constant": FITTERS["constant"], "memory": Memory},
    )
    for held_out in ("pairs", "models"):
        # It says 0 to all of them: not one was trained on.
        assert means_pct(report, held_out)["memory"] == pytest.approx(100.0)
    assert choose(report) == "constant"


def test_noise_is_left_to_the_constant() -> None:
    report = report_of(made_pairs(ConstantInterference(1.3), noise=0.03))
    assert choose(report) == "constant"


def test_same_pairs_and_seed_same_report() -> None:
    pairs = made_pairs(BUDGET)
    assert report_of(pairs) == report_of(pairs)
    again = report_of(pairs[::-1])
    for row, other in zip(report_of(pairs), again, strict=True):
        assert row.mean_pct == pytest.approx(other.mean_pct, rel=1e-3)


def test_without_demands_there_is_no_bandwidth_row() -> None:
    nothing = DeviceProfile("d", {}, memory_mb=0.0, where="here")
    report = report_of(made_pairs(BUDGET), nothing)
    assert [*means_pct(report, "pairs")] == ["constant", "none", "linear"]
    assert choose(report) == "constant"


def test_too_few_models_to_hold_one_out() -> None:
    pairs = [p for p in made_pairs(BUDGET) if {p.model_a, p.model_b} <= {"a", "b"}]
    report = report_of(pairs)
    assert len(pairs) == 9
    assert {row.held_out for row in report} == {"pairs"}


def test_too_few_pairs() -> None:
    pairs = made_pairs(BUDGET)
    with pytest.raises(ProfileError, match=r"7 different pairs are too few .*; 8 are needed"):
        report_of([*pairs[:7], *pairs[:7]])
    assert report_of(pairs[:8])


def row(model: str, mean_pct: float, held_out: str = "pairs") -> ErrorRow:
    return msgspec.convert(
        {
            "model": model,
            "held_out": held_out,
            "mean_pct": mean_pct,
            "p90_pct": 0.0,
            "p95_pct": 0.0,
            "slowdowns": 1,
        },
        ErrorRow,
    )


def test_choice() -> None:
    models = [row("bandwidth", 0.1, "models"), row("constant", 9.0, "models")]
    assert choose([row("constant", 3.0), row("linear", 2.7), row("bandwidth", 2.8)]) == "linear"
    assert choose([row("bandwidth", 3.0), row("constant", 3.0), *models]) == "constant"
    with pytest.raises(ArgumentError, match="no constant"):
        choose([row("bandwidth", 1.0)])
