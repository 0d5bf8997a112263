"""Profile folders: read back as written, whole or not at all, and clear where they are wrong."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glet.errors import ArgumentError, ConfigError
from glet.profiles import csv_table
from glet.profiles.files import (
    DeviceFacts,
    MeasuredDemand,
    MeasuredLatency,
    Origin,
    ProfileData,
    parse_profile,
    read_data,
    read_profile,
    render_profile,
    write_profile,
)
from glet.profiles.pairs import MeasuredPair, parse_pairs, read_pairs, write_pairs

PAIR = MeasuredPair(
    model_a="a",
    share_a_pct=50,
    batch_a=1,
    model_b="b-2",
    share_b_pct=25,
    batch_b=4,
    alone_a_ms=1.0,
    beside_a_ms=1.5,
    alone_b_ms=2.0,
    beside_b_ms=2.25,
    samples=30,
)
DATA = ProfileData(
    device=DeviceFacts(
        type="box",
        kind="cpu",
        memory_mb=2048.5,
        shares=(25, 50, 100),
        note='two cores, "shared"\nby three',
        origin=Origin(
            command="glet profile",
            date="2026-01-02",
            machine="EPYC",
            versions={"torch": "2.13.0", "glet": "0.1.0"},
            repeats=30,
        ),
    ),
    latencies=(
        MeasuredLatency(model="a", share_pct=50, batch=1, p50_ms=0.1, p99_ms=0.3, samples=30),
        MeasuredLatency(model="a", share_pct=50, batch=8, p50_ms=0.7, p99_ms=0.7, samples=31),
        MeasuredLatency(model="b-2", share_pct=25, batch=1, p50_ms=1 / 3, p99_ms=2.0, samples=30),
    ),
    memory_mb={"a": 12.0, "b-2": 0.0},
    demands=(MeasuredDemand(model="a", batch=1, l2=0.125, dram=1.0),),
    pairs=(PAIR,),
)
Change = Callable[[str], str]


def written(folder: Path) -> Path:
    write_profile(folder, DATA)
    return folder


def test_everything_is_read_back(tmp_path: Path) -> None:
    folder = written(tmp_path / "profiles" / "box")
    assert read_data(folder) == DATA
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "demand.csv",
        "device.toml",
        "latency.csv",
        "models.csv",
        "pairs.csv",
    ]


def test_what_is_not_there_any_more_goes_and_interference_stays(tmp_path: Path) -> None:
    folder = written(tmp_path)
    (folder / "interference.toml").write_text('kind = "none"\n')
    less = msgspec.structs.replace(DATA, demands=(), pairs=None)
    write_profile(folder, less)
    assert read_data(folder) == less
    names = {entry.name for entry in folder.iterdir()}
    assert names == {"device.toml", "latency.csv", "models.csv", "interference.toml"}


def test_planners_are_given_the_median_or_the_99th_percentile(tmp_path: Path) -> None:
    folder = written(tmp_path)
    profile = read_profile(folder)
    assert (profile.type, profile.memory_mb, profile.shares) == ("box", 2048.5, (25, 50, 100))
    assert profile.models() == ("a", "b-2")
    model = profile.model("a")
    assert (model.memory_mb, model.demand(1).dram) == (12.0, 1.0)
    assert model.latency_ms(50, 1) == 0.1
    assert read_profile(folder, "p99").model("a").latency_ms(50, 1) == 0.3


NAME = st.text(st.characters(codec="utf-8", exclude_characters=',"'), min_size=1, max_size=20)
AMOUNT = st.floats(1e-6, 1e9)


@given(st.lists(st.tuples(NAME, st.integers(1, 100), st.integers(1, 4096), AMOUNT)))
def test_any_numbers_survive_to_the_last_digit(
    points: list[tuple[str, int, int, float]],
) -> None:
    by_key = {(name.strip(), *rest): ms for name, *rest, ms in points if name.strip().isprintable()}
    latencies = tuple(
        MeasuredLatency(model=name, share_pct=s, batch=b, p50_ms=ms, p99_ms=ms, samples=0)
        for (name, s, b), ms in by_key.items()
        if name
    )
    data = ProfileData(
        device=DeviceFacts(type="t", kind="profiled"),
        latencies=latencies,
        memory_mb={point.model: point.p50_ms for point in latencies},
    )
    if latencies:
        assert parse_profile(render_profile(data), Path("p")) == data
    else:
        with pytest.raises(ConfigError, match="has no latencies"):
            parse_profile(render_profile(data), Path("p"))


def test_what_would_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    folder = written(tmp_path)
    before = {entry.name: entry.read_bytes() for entry in folder.iterdir()}
    bad = msgspec.structs.replace(DATA.latencies[0], p50_ms=float("nan"))
    with pytest.raises(ConfigError, match=r"latency\.csv:2: p50_ms is 'nan'"):
        write_profile(folder, msgspec.structs.replace(DATA, latencies=(bad,)))
    comma = msgspec.structs.replace(DATA.latencies[0], model="a,b")
    with pytest.raises(ArgumentError, match="'a,b' cannot be written"):
        write_profile(folder, msgspec.structs.replace(DATA, latencies=(comma,)))
    assert {entry.name: entry.read_bytes() for entry in folder.iterdir()} == before


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file/box: cannot be written: Not a directory"):
        write_profile(tmp_path / "file" / "box", DATA)
    (tmp_path / "latency.csv").mkdir()
    with pytest.raises(ConfigError, match=r"latency\.csv: cannot be written: Is a directory"):
        write_profile(tmp_path, DATA)
    with pytest.raises(ConfigError, match="pairs: cannot be written: Not a directory"):
        write_pairs(tmp_path / "file" / "pairs", (PAIR,))
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


def replaced(old: str, new: str) -> Change:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


def added(line: str) -> Change:
    return lambda text: f"{text}{line}\n"


WRONG: dict[str, tuple[str, Change, str]] = {
    "no column": (
        "latency.csv",
        replaced("p99_ms", "p98_ms"),
        "latency.csv:1: has no column 'p99_ms'; valid is the header model,share_pct,batch,p50_ms,",
    ),
    "unknown column": (
        "latency.csv",
        replaced("samples", "samples,p95_ms"),
        "latency.csv:1: unknown column 'p95_ms'; did you mean 'p99_ms'?",
    ),
    "twice a column": (
        "models.csv",
        replaced("memory_mb", "memory_mb,memory_mb"),
        "models.csv:1: column 'memory_mb' is there twice",
    ),
    "cells": ("latency.csv", added("a,50,2,1.0"), "latency.csv:5: has 4 cells; valid are 6"),
    "share 0": ("latency.csv", added("a,0,1,1,1,1"), "latency.csv:5: share_pct is '0'; valid is a"),
    "share 101": ("latency.csv", added("a,101,1,1,1,1"), "whole number, 1..100"),
    "batch 0": ("latency.csv", added("a,5,0,1,1,1"), "latency.csv:5: batch is '0'"),
    "batch 5000": ("latency.csv", added("a,5,5000,1,1,1"), "valid is a whole number, 1..4096"),
    "no number": ("latency.csv", added("a,5,1,fast,1,1"), "latency.csv:5: p50_ms is 'fast'"),
    "nan": ("latency.csv", added("a,5,1,1,nan,1"), "latency.csv:5: p99_ms is 'nan'"),
    "inf": ("latency.csv", added("a,5,1,1,inf,1"), "latency.csv:5: p99_ms is 'inf'"),
    "digits": ("latency.csv", added(f"a,5,{'9' * 5000},1,1,1"), "latency.csv:5: batch is '9999"),
    "latency 0": ("latency.csv", added("a,5,1,0,1,1"), "p50_ms is '0'; valid is a number above 0"),
    "below 0": ("latency.csv", added("a,5,1,-2,1,1"), "latency.csv:5: p50_ms is '-2'"),
    "p99 below": ("latency.csv", added("a,5,1,2,1,1"), "latency.csv:5: p99_ms is below p50_ms"),
    "samples": ("latency.csv", added("a,5,1,1,1,-1"), "latency.csv:5: samples is '-1'"),
    "name": (
        "latency.csv",
        added(",5,1,1,1,1"),
        "latency.csv:5: model is ''; valid is a name of 1",
    ),
    "twice": (
        "latency.csv",
        added("a,50,8,9,9,9"),
        "latency.csv:5: a,50,8 is there twice; first at",
    ),
    "empty": ("latency.csv", lambda _: "", "latency.csv: is empty; valid is a header model,share"),
    "header only": ("latency.csv", lambda text: text.split("\n")[0], "has no latencies under its"),
    "memory": ("models.csv", added("c,1"), "models.csv:4: latency.csv has no model 'c'; valid are"),
    "no memory": ("models.csv", replaced("a,12\n", ""), "models.csv: has no model 'a', of which"),
    "memory size": ("models.csv", replaced("a,12", "a,1e12"), "models.csv:2: memory_mb is '1e12'"),
    "memory twice": ("models.csv", added("a,13"), "models.csv:4: a is there twice; first at"),
    "percent": ("demand.csv", added("a,2,12.5,1"), "l2 is '12.5'; valid is a number, 0..1"),
    "demand of": ("demand.csv", added("aa,2,0,1"), "demand.csv:3: latency.csv has no model 'aa'"),
    "demand twice": ("demand.csv", added("a,1,0,1"), "demand.csv:3: a,1 is there twice"),
    "pair": ("pairs.csv", replaced(",1.5,", ",x,"), "pairs.csv:2: beside_a_ms is 'x'; valid is"),
    "pair twice": ("pairs.csv", lambda t: t + t.split("\n")[1], "pairs.csv:3: a,50,1,b-2,25,4 is"),
    "kind": ("device.toml", replaced('"cpu"', '"tpu"'), "device.toml: kind: 'tpu' is none of cpu,"),
    "key": (
        "device.toml",
        replaced("memory_mb", "memory"),
        "device.toml: unknown key 'memory'; did",
    ),
    "toml": ("device.toml", replaced("[25,", "[25"), "device.toml:4: "),
    "device": ("device.toml", replaced("2048.5", "nan"), "memory_mb is nan; valid is 0.."),
    "shares": ("device.toml", replaced("[25, 50", "[50, 25"), "each must be above the one before"),
    "share": (
        "device.toml",
        replaced("[25, 50", "[0, 50"),
        "shares are [0, 50, 100]; valid are 1..",
    ),
}


@pytest.mark.parametrize(("file", "change", "says"), WRONG.values(), ids=WRONG)
def test_wrong_content_is_named(tmp_path: Path, file: str, change: Change, says: str) -> None:
    path = written(tmp_path) / file
    path.write_text(change(path.read_text()))
    with pytest.raises(ConfigError) as caught:
        read_profile(tmp_path)
    said = str(caught.value)
    assert said.startswith(str(path))
    assert says in said
    assert "\n" not in said
    assert len(said) < 300 + len(str(path)) * 2


def test_files_that_are_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none: is no folder; a profile is a folder with device"):
        read_profile(tmp_path / "none")
    folder = written(tmp_path / "box")
    (folder / "models.csv").write_bytes(b"model,memory_mb\na\xff,1\n")
    with pytest.raises(ConfigError, match=r"models\.csv: is not UTF-8 text \(byte 17\)"):
        read_profile(folder)
    (folder / "models.csv").unlink()
    with pytest.raises(ConfigError, match=r"models\.csv: cannot be read: No such file"):
        read_profile(folder)


def test_a_file_far_too_large_is_not_read(tmp_path: Path) -> None:
    folder = written(tmp_path)
    with (folder / "latency.csv").open("r+b") as file:
        file.truncate(csv_table.MOST_BYTES + 1)
    with pytest.raises(ConfigError, match=r"latency\.csv: has 67108865 bytes; valid is at most"):
        read_profile(folder)


def test_columns_in_another_order_blank_lines_and_windows_text(tmp_path: Path) -> None:
    path = written(tmp_path) / "models.csv"
    path.write_bytes("\ufeffmemory_mb,model\r\n\r\n12, a\r\n0,b-2\r\n".encode())
    assert read_data(tmp_path) == DATA


def test_pairs_alone(tmp_path: Path) -> None:
    other = msgspec.structs.replace(PAIR, batch_b=8)
    write_pairs(tmp_path / "pairs.csv", (PAIR, other))
    assert read_pairs(tmp_path / "pairs.csv") == (PAIR, other)
    assert (PAIR.slowdown_a, PAIR.slowdown_b) == (1.5, 1.125)
    with pytest.raises(ConfigError, match="f: is empty; valid is a header model_a,share_a_pct"):
        parse_pairs("", "f")
