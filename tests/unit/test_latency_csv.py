"""latency.csv: the published format, and one face for it and for profile folders."""

from pathlib import Path

import pytest

from glet.config.resource import profile_folder
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


def test_between_shares_latency_is_linear_in_one_over_the_share() -> None:
    profile = latency_csv.parse(TEXT, "f")
    # 1/25 lies a third of the way from 1/20 to 1/50.
    assert profile.latency_ms("m", 25, 32) == pytest.approx(100.0 - (100.0 - 60.0) / 3.0)


def test_tables_never_fall() -> None:
    profile = latency_csv.parse("m,50,1,5.0\nm,50,2,3.0\nm,50,4,8.0\n", "f")
    assert profile.table("m", 50, 4) == [(1, 5.0), (2, 5.0), (3, 6.5), (4, 8.0)]


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (("x", 50, 1), "f: has no model 'x'; valid are m"),
        (("m", 10, 1), "f: profile of 'm' has no share of 10 %; valid is 20..100 %"),
        (("m", 100, 33), "f: profile of 'm' has no batch 33; valid is 1..32"),
        (("m", 100, 0), "f: profile of 'm' has no batch 0"),
    ],
)
def test_what_was_not_measured_is_an_error(ask: tuple[str, int, int], says: str) -> None:
    with pytest.raises(ProfileError) as caught:
        latency_csv.parse(TEXT, "f").latency_ms(*ask)
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("m,20,1", "is 'm,20,1'; valid is model,share,batch,latency_ms"),
        ("m,20,1,2.0,", "valid is model,share,batch,latency_ms"),
        ("m,x,1,2.0", "share is 'x'; valid is a whole number, 1..100"),
        ("m,0,1,2.0", "share is '0'"),
        ("m,101,1,2.0", "share is '101'"),
        ("m,20,0,2.0", "batch is '0'; valid is a whole number, 1..4096"),
        ("m,20,4097,2.0", "batch is '4097'"),
        ("m,20,1.5,2.0", "batch is '1.5'"),
        ("m,20,1,0", "latency_ms is '0'; valid is a number above 0"),
        ("m,20,1,nan", "latency_ms is 'nan'"),
        ("m,20,1,inf", "latency_ms is 'inf'"),
        (",1,1,1", "model is ''; valid is a name"),
        ("m,50,1,2.0", "m,50,1 is there twice"),
    ],
)
def test_wrong_lines_are_named(line: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        latency_csv.parse(f"m,50,1,1.0\n{line}\n", "f")
    assert str(caught.value).startswith("f:2: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is empty"):
        latency_csv.parse("", "f")
    with pytest.raises(ConfigError, match="cannot be read"):
        latency_csv.read(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"m,50,1,1.0\n\xff\n")
    with pytest.raises(ConfigError, match=r"bytes\.csv: is not UTF-8 text \(byte 11\)"):
        latency_csv.read(tmp_path / "bytes.csv")


def test_a_profile_folder_is_read_as_well() -> None:
    profile = latency_csv.read(profile_folder("synthetic-gpu"))
    assert profile.latency_ms("vgg16", 100, 32) == 71.0
    table = profile.table("vgg16", 55, 32)
    assert [batch for batch, _ in table] == list(range(1, 33))
    with pytest.raises(ProfileError, match=r"latency\.csv: has no model 'vgg1'"):
        profile.shares("vgg1")
