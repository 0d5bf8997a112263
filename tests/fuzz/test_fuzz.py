"""A real glet against made-up input of every kind: it answers right afterwards, and has not grown.

The same input in every run; `run.py` has the long one.
"""

from collections.abc import Iterator

import pytest
from fuzz_dice import DrawDice
from fuzz_site import Site, site
from fuzz_targets import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glet.errors import ConfigError
from glet.serve.nghttp2_path import nghttp2_path

BURSTS = 60
MOST_GROWTH_MB = 200.0


@pytest.fixture(scope="module")
def attacked() -> Iterator[Site]:
    with site(grpc=_has_nghttp2()) as made:
        made.check()
        yield made


def _has_nghttp2() -> bool:
    try:
        nghttp2_path()
    except ConfigError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_whatever_comes_it_serves_on(attacked: Site, target: str) -> None:
    if target == "grpc" and not _has_nghttp2():
        pytest.skip("there is no nghttp2")
    before = attacked.usage()

    @settings(
        max_examples=BURSTS, derandomize=True, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.data())
    def burst(data: st.DataObject) -> None:
        TARGETS[target](attacked, DrawDice(data.draw))

    burst()
    attacked.check()
    attacked.settled(before, MOST_GROWTH_MB)
