"""Daemons that hear nonsense from those they trust, and handshakes that are none: they serve on.

The same input in every run; `run_inside.py` has the long one.
"""

from collections.abc import Iterator
from pathlib import Path

import fuzz_curve
import pytest
from fuzz_dice import SeedDice
from fuzz_inside import TALKS, Inside, check, inside
from fuzz_rounds import rounds

pytestmark = pytest.mark.slow

ROUNDS = 12
LIVES = 12
MOST_GROWTH_MB = 200.0


@pytest.fixture(scope="module")
def talked_to() -> Iterator[Inside]:
    with inside() as made:
        yield made


@pytest.mark.parametrize("target", TALKS)
def test_daemons_stand_what_their_peers_say(talked_to: Inside, target: str) -> None:
    for seed in range(ROUNDS):
        TALKS[target](talked_to, SeedDice(seed))
    check(talked_to, target)


def test_a_controller_stands_what_frontends_report(tmp_path: Path) -> None:
    plans = 0
    for seed in range(LIVES):
        folder = tmp_path / str(seed)
        folder.mkdir()
        plans += rounds(folder, SeedDice(seed))
    assert plans > 0


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fuzz_curve.Locked]:
    with fuzz_curve.locked(tmp_path_factory.mktemp("keys")) as made:
        yield made


def test_handshakes_of_others_end(locked: fuzz_curve.Locked) -> None:
    before = locked.site.usage()
    for seed in range(ROUNDS * 3):
        fuzz_curve.burst(locked, SeedDice(seed))
    locked.check()
    locked.site.settled(before, MOST_GROWTH_MB)


def test_who_stalls_in_the_handshake_keeps_nobody_out(locked: fuzz_curve.Locked) -> None:
    before = locked.site.usage()
    with fuzz_curve.stalled(locked, SeedDice(1)):
        locked.check()
    locked.site.settled(before, MOST_GROWTH_MB)
