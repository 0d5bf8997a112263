"""latency.csv: exact where measured, linear between batches, clear where there is nothing."""

from pathlib import Path

import pytest

from glet.errors import ConfigError, ProfileError
from glet.profiles import latency_csv

TEXT = """m,20,1,10.0
m,20,32,100.0
m,50,32,60.0
m,100,1,4.0
m,100,8,11.0
m,100,32,20.0
"""


def test_exact_and_linear_between_batches() -> None:
    profile = latency_csv.parse(TEXT, "f")
    assert profile.latency_ms("m", 100, 8) == 11.0
    assert profile.latency_ms("m", 100, 4) == pytest.approx(7.0)
    assert profile.models() == ["m"]
    assert profile.shares("m") == [20, 50, 100]


def test_a_share_known_at_its_largest_batch_is_filled_from_both_ends() -> None:
    profile = latency_csv.parse(TEXT, "f")
    # f = (60 - 20) / (100 - 20) = 0.5
    assert profile.latency_ms("m", 50, 32) == pytest.approx(60.0)
    assert profile.latency_ms("m", 50, 1) == pytest.approx(4.0 + 0.5 * (10.0 - 4.0))


def test_tables_never_fall() -> None:
    profile = latency_csv.parse("m,50,1,5.0\nm,50,2,3.0\nm,50,4,8.0\n", "f")
    assert profile.table("m", 50, 4) == [(1, 5.0), (2, 5.0), (3, 5.5), (4, 8.0)]


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (("x", 50, 1), "no model 'x'; it has m"),
        (("m", 40, 1), "no share of 40 %; measured are 20, 50, 100"),
        (("m", 100, 33), "no batch 33; measured are 1..32"),
        (("m", 100, 0), "no batch 0"),
    ],
)
def test_what_was_not_measured_is_an_error(ask: tuple[str, int, int], says: str) -> None:
    with pytest.raises(ProfileError) as caught:
        latency_csv.parse(TEXT, "f").latency_ms(*ask)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "line", ["m,20,1", "m,x,1,2.0", "m,0,1,2.0", "m,20,0,2.0", "m,20,1,0", "m,20,1,nan", ",1,1,1"]
)
def test_wrong_lines_are_named(line: str) -> None:
    with pytest.raises(ConfigError, match=r"^f:2: "):
        latency_csv.parse(f"m,50,1,1.0\n{line}\n", "f")


def test_doubled_lines_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="f:2: m,50,1 is there twice"):
        latency_csv.parse("m,50,1,1.0\nm,50,1,1.0\n", "f")
    with pytest.raises(ConfigError, match="is empty"):
        latency_csv.parse("", "f")
    with pytest.raises(ConfigError, match="cannot be read"):
        latency_csv.read(tmp_path / "none.csv")
