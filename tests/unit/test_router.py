"""The router, through the binding."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glet.errors import ArgumentError
from glet.native import core

WEIGHTS = st.lists(st.floats(min_value=0.01, max_value=1e4), min_size=1, max_size=8)


def test_nowhere_to_go_is_none() -> None:
    router = core.Router()
    assert router.pick(0) is None
    router.set_routes(0, [(7, 1.0)])
    assert router.pick(0, exclude=7) is None
    router.set_up(7, False)
    assert router.pick(0) is None


@pytest.mark.parametrize(
    "routes", [[(1, 0.0)], [(1, float("nan"))], [(1, float("inf"))], [(1, 1.0), (1, 1.0)]]
)
def test_senseless_routes_are_refused(routes: list[tuple[int, float]]) -> None:
    with pytest.raises(ArgumentError, match=r"gpulet 1"):
        core.Router().set_routes(0, routes)


@settings(deadline=None, max_examples=50)
@given(weights=WEIGHTS)
def test_shares_are_exact_within_one_request(weights: list[float]) -> None:
    router = core.Router()
    router.set_routes(3, list(enumerate(weights)))
    picks = [0] * len(weights)
    for total in range(1, 200):
        gpulet = router.pick(3)
        assert gpulet is not None
        router.done(3, gpulet)
        picks[gpulet] += 1
        for count, weight in zip(picks, weights, strict=True):
            assert abs(count - total * weight / sum(weights)) < 1 + 1e-6


@settings(deadline=None, max_examples=50)
@given(weights=WEIGHTS, stalled=st.integers(min_value=0, max_value=7))
def test_one_stalled_gpulet_cannot_swallow_the_traffic(weights: list[float], stalled: int) -> None:
    router = core.Router()
    router.set_routes(0, list(enumerate(weights)))
    for _ in range(300):
        gpulet = router.pick(0)
        assert gpulet is not None
        if gpulet != stalled:
            router.done(0, gpulet)
    if len(weights) > 1:
        assert router.outstanding(0, stalled) <= 17
