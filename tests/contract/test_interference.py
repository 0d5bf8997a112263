"""What every model of interference owes."""

import math
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glet.profiles.device_profile import Demand, DeviceProfile, ModelProfile
from glet.profiles.interference import (
    BandwidthInterference,
    ConstantInterference,
    Interference,
    LinearInterference,
    NoInterference,
    Tenant,
    demands_of,
    draws_of,
)
from glet.profiles.interference_residuals import Observation, Residuals, corrected

# Two models with demands, one without, and (below) one that the profile does not have.
LATENCIES = {20: {1: 5.0, 32: 90.0}, 100: {1: 2.0, 32: 20.0}}
PROFILE = DeviceProfile(
    "d",
    {
        "heavy": ModelProfile(
            "heavy",
            LATENCIES,
            demands={1: Demand(l2=0.3, dram=0.5), 32: Demand(l2=0.4, dram=0.9)},
        ),
        "light": ModelProfile("light", LATENCIES, demands={1: Demand(l2=0.02, dram=0.1)}),
        "unmeasured": ModelProfile("unmeasured", LATENCIES),
    },
    memory_mb=0.0,
    where="here",
)
BANDWIDTH = BandwidthInterference(0.6, 0.7, draws_of(PROFILE), {"heavy": 1.5})
LINEAR = LinearInterference((0.11, 0.72, 0.35, 0.09, 0.9), demands_of(PROFILE))
SEEN = [
    Observation(Tenant("heavy", 8, 50), (Tenant("light", 8, 50),), measured, 1.1)
    for measured in (0.7, 1.3, 2.5)
]
MODELS: dict[str, Interference] = {
    "none": NoInterference(),
    "constant": ConstantInterference(1.2),
    "linear": LINEAR,
    "linear, falling": LinearInterference((-3.0, -2.0, -1.0, 0.5, 1.0), demands_of(PROFILE)),
    "bandwidth": BANDWIDTH,
    "bandwidth+residual": corrected(BANDWIDTH, Residuals().observed(SEEN)),
    "linear+guard": corrected(LINEAR, Residuals(guard=0.9).observed(SEEN)),
}
TENANTS = st.builds(
    Tenant,
    model=st.sampled_from(["heavy", "light", "unmeasured", "stranger"]),
    batch=st.integers(1, 64),
    share_pct=st.integers(1, 100),
)
OTHERS = st.lists(TENANTS, max_size=4)


ALL = pytest.mark.parametrize("interference", MODELS.values(), ids=MODELS.keys())


@ALL
@given(victim=TENANTS, others=OTHERS)
def test_nobody_gets_faster_and_the_answer_is_always_the_same(
    interference: Interference, victim: Tenant, others: list[Tenant]
) -> None:
    slowdown = interference.slowdown(victim, others)
    assert 1.0 <= slowdown < math.inf
    assert interference.slowdown(victim, tuple(others)) == slowdown


@ALL
@given(victim=TENANTS)
def test_alone_is_exactly_as_fast_as_alone(interference: Interference, victim: Tenant) -> None:
    assert interference.slowdown(victim, ()) == 1.0


@ALL
@given(victim=TENANTS, others=OTHERS)
def test_the_order_of_neighbours_does_not_show(
    interference: Interference, victim: Tenant, others: list[Tenant]
) -> None:
    assert len({interference.slowdown(victim, order) for order in permutations(others)}) == 1


@pytest.mark.parametrize("name", ["none", "constant", "linear", "linear, falling", "bandwidth"])
@given(victim=TENANTS, others=OTHERS, another=TENANTS)
def test_one_more_neighbour_is_never_faster(
    name: str, victim: Tenant, others: list[Tenant], another: Tenant
) -> None:
    model = MODELS[name]
    assert model.slowdown(victim, [*others, another]) >= model.slowdown(victim, others)
