"""Each model of interference says what its formula says, published figures included."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from glet.errors import ArgumentError
from glet.profiles.device_profile import Demand, DeviceProfile, ModelProfile
from glet.profiles.interference import (
    BandwidthInterference,
    ConstantInterference,
    LinearInterference,
    Tenant,
    demands_of,
    draws_of,
)
from glet.profiles.interference_files import linear_from_gpulet, read_constants

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "gpulet"
RTX_2080_TI = (0.1129, 0.7160, 0.3549, 0.0882, 0.8954)
DEMANDS = {
    "resnet50": Demand(l2=0.282, dram=0.623),
    "vgg16": Demand(l2=0.302, dram=0.611),
    "lenet": Demand(l2=0.070, dram=0.254),
}


def demand(model: str, batch: int) -> Demand:
    return DEMANDS.get(model, Demand())


def test_linear_is_the_published_formula() -> None:
    # Victim on 20 %, neighbour on 80 %.
    expected = (
        0.1129 * 0.282 * 0.2
        + 0.7160 * 0.302 * 0.8
        + 0.3549 * 0.623 * 0.2
        + 0.0882 * 0.611 * 0.8
        + 0.8954
    )
    model = LinearInterference(RTX_2080_TI, demand)
    found = model.slowdown(Tenant("resnet50", 32, 20), [Tenant("vgg16", 32, 80)])
    assert found == pytest.approx(expected, rel=1e-12)
    assert found > 1.16


def test_linear_is_never_below_one() -> None:
    model = LinearInterference(RTX_2080_TI, demand)
    assert model.slowdown(Tenant("lenet", 1, 50), [Tenant("lenet", 1, 50)]) == 1.0


def test_linear_excesses_of_more_neighbours_add_up() -> None:
    model = LinearInterference(RTX_2080_TI, demand)
    victim = Tenant("resnet50", 32, 20)
    others = [Tenant("vgg16", 32, 40), Tenant("resnet50", 32, 40), Tenant("lenet", 1, 1)]
    pairs = [model.slowdown(victim, [other]) for other in others]
    assert pairs[2] == 1.0  # adds nothing, takes nothing away
    assert pairs[0] > 1.0
    assert model.slowdown(victim, others) == pytest.approx(1.0 + sum(p - 1.0 for p in pairs))


def test_bandwidth_is_free_below_the_capacity_and_linear_above() -> None:
    drawn = {"a": 0.3, "b": 0.4, "c": 0.5}
    model = BandwidthInterference(0.8, 0.5, lambda t: drawn.get(t.model, 0.0), {"a": 2.0})
    a, b, c, stranger = (Tenant(name, 1, 25) for name in ("a", "b", "c", "d"))
    assert model.slowdown(a, [b, stranger]) == 1.0
    assert model.slowdown(a, [b, c]) == pytest.approx(1.0 + 2.0 * (1.2 / 0.8 - 1.0))
    assert model.slowdown(b, [a, c]) == pytest.approx(1.0 + 0.5 * (1.2 / 0.8 - 1.0))


def test_each_tenant_is_looked_up_once() -> None:
    asked = []

    def draws(tenant: Tenant) -> float:
        asked.append(tenant)
        return 0.5

    model = BandwidthInterference(0.6, 1.0, draws)
    a, b = Tenant("a", 1, 50), Tenant("b", 1, 50)
    answers = {model.slowdown(x, [y]) for _ in range(5) for x, y in ((a, b), (b, a))}
    assert len(answers) == 1
    assert sorted(asked) == [a, b]


def test_a_smaller_share_draws_the_same_bytes_over_a_longer_time() -> None:
    model = ModelProfile(
        "m",
        {25: {1: 8.0, 8: 20.0}, 100: {1: 2.0, 8: 10.0}},
        demands={1: Demand(dram=0.4), 8: Demand(dram=0.8)},
    )
    draws = draws_of(DeviceProfile("d", {"m": model}, memory_mb=0.0, where="here"))
    assert draws(Tenant("m", 1, 100)) == pytest.approx(0.4)
    assert draws(Tenant("m", 1, 25)) == pytest.approx(0.4 * 2.0 / 8.0)
    assert draws(Tenant("m", 8, 25)) == pytest.approx(0.8 * 10.0 / 20.0)
    # Nearest measured batch and share.
    assert draws(Tenant("m", 64, 10)) == draws(Tenant("m", 8, 25))
    assert draws(Tenant("stranger", 1, 50)) == 0.0


@pytest.mark.parametrize("factor", [0.99, math.nan, math.inf, -1.0])
def test_constant_is_a_slowdown(factor: float) -> None:
    with pytest.raises(ArgumentError, match=r"factor is .*; valid is 1..1000"):
        ConstantInterference(factor)


@pytest.mark.parametrize(
    ("capacity", "sensitivity", "own", "message"),
    [
        (0.0, 1.0, 1.0, "capacity is 0"),
        (math.nan, 1.0, 1.0, "capacity is nan"),
        (1.0, -0.1, 1.0, "sensitivity is -0.1"),
        (1.0, 1.0, math.inf, "sensitivity of 'm' is inf"),
    ],
)
def test_bandwidth_numbers_are_in_bounds(
    capacity: float, sensitivity: float, own: float, message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        BandwidthInterference(capacity, sensitivity, lambda tenant: 0.0, {"m": own})


def test_linear_has_five_finite_constants() -> None:
    with pytest.raises(ArgumentError, match="4 constants of interference; valid are 5"):
        LinearInterference((1.0, 2.0, 3.0, 4.0), demand)
    with pytest.raises(ArgumentError, match="constant c3 is nan"):
        LinearInterference((1.0, 2.0, math.nan, 4.0, 5.0), demand)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published files are not here")
@pytest.mark.parametrize(
    ("device", "quantiles", "most", "where", "at_one"),
    [
        ("2080ti", (1.057, 1.126, 1.161), 1.185, ("resnet50", 32, "vgg16", 4, 20), 0.16),
        ("3080", (1.014, 1.022, 1.033), 1.039, ("mobilenet_v2", 32, "lenet", 1, 80), 0.01),
    ],
)
def test_range_of_the_published_model(
    device: str,
    quantiles: tuple[float, float, float],
    most: float,
    where: tuple[str, int, str, int, int],
    at_one: float,
) -> None:
    profile = published_profile(PUBLISHED / device / "UTIL.CSV")
    model = linear_from_gpulet(
        read_constants(PUBLISHED / device / "INT_MODEL_CONSTANT.CSV"), profile
    )
    batches = (1, 2, 4, 8, 16, 32)
    found = {
        (a, batch_a, b, batch_b, share_pct): model.slowdown(
            Tenant(a, batch_a, share_pct), [Tenant(b, batch_b, 100 - share_pct)]
        )
        for a in profile.models()
        for batch_a in batches
        for b in profile.models()
        for batch_b in batches
        for share_pct in (20, 40, 50, 60, 80)
    }
    values = np.array(list(found.values()))
    assert len(values) == 14_580
    assert np.quantile(values, (0.5, 0.9, 0.99)) == pytest.approx(quantiles, abs=1e-3)
    assert values.max() == pytest.approx(most, abs=1e-3)
    assert max(found, key=lambda key: found[key]) == where
    assert np.mean(values <= 1.0) == pytest.approx(at_one, abs=0.005)


def published_profile(path: Path) -> DeviceProfile:
    demands: dict[str, dict[int, Demand]] = {}
    with path.open(newline="") as file:
        for cells in list(csv.reader(file))[1:]:
            used = Demand(l2=float(cells[4]) / 100.0, dram=float(cells[5]) / 100.0)
            demands.setdefault(cells[0], {})[int(cells[1])] = used
    models = {
        name: ModelProfile(name, {100: {1: 1.0, 32: 2.0}}, demands=by_batch)
        for name, by_batch in demands.items()
    }
    return DeviceProfile("published", models, memory_mb=0.0, where=str(path))


def test_demands_of_a_profile_are_interpolated_and_zero_for_strangers() -> None:
    model = ModelProfile(
        "m", {100: {1: 1.0, 9: 2.0}}, demands={1: Demand(l2=0.1), 9: Demand(l2=0.5)}
    )
    demands = demands_of(DeviceProfile("d", {"m": model}, memory_mb=0.0, where="here"))
    assert demands("m", 5).l2 == pytest.approx(0.3)
    assert demands("stranger", 5) == Demand()
