"""Trace files: what is read, and what is refused with file and line."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glet.errors import ConfigError
from glet.workload.arrivals import TraceArrivals
from glet.workload.trace import ANY_MODEL, parse_trace, read_trace

COUNTS = st.lists(st.floats(0, 1e12, allow_nan=False), min_size=1, max_size=20)


def test_one_number_a_line() -> None:
    found = parse_trace("# requests per minute\n3\n\n4.5\n", "t", 60.0)
    assert found == {ANY_MODEL: TraceArrivals(counts=(3.0, 4.5), interval_s=60.0)}


def test_a_header_names_models() -> None:
    found = parse_trace("lenet, resnet\n1,2\n3, 4\n", "t", 1.0)
    assert found["lenet"].counts == (1.0, 3.0)
    assert found["resnet"].counts == (2.0, 4.0)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("1\n-2\n", "t:2: '-2'"),
        ("1\nnan\n", "t:2: 'nan'"),
        ("1\ninf\n", "t:2: 'inf'"),
        ("1\ntwo\n", "t:2: 'two'"),
        ("1\n2,3\n", "t:2: 2 values where 1"),
        ("a,b\n1,2\n3\n", "t:3: 1 values where 2"),
        ("a,a\n1,2\n", "t:1: the header names 'a'"),
        ("a,\n1,2\n", "t:1: the header names ''"),
        ("a,b\n1,\n", "t:2: ''"),
        ("a,b\n", "a header and no interval"),
        ("", "holds no interval"),
        ("# nothing\n\n", "holds no interval"),
    ],
)
def test_bad_input_is_refused_with_its_line(text: str, where: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_trace(text, "t", 1.0)
    assert where in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("interval_s", [0.0, -1.0, math.nan, math.inf])
def test_an_interval_is_a_positive_number(interval_s: float) -> None:
    with pytest.raises(ConfigError, match="interval"):
        parse_trace("1\n", "t", interval_s)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.txt: cannot be read"):
        read_trace(tmp_path / "none.txt", 1.0)


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.bin"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not text"):
        read_trace(path, 1.0)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("1\n2\n")
    assert read_trace(path, 5.0)[ANY_MODEL].counts == (1.0, 2.0)


@given(COUNTS)
def test_what_is_written_is_read(counts: list[float]) -> None:
    text = "\n".join(map(repr, counts))
    assert parse_trace(text, "t", 1.0)[ANY_MODEL].counts == tuple(counts)


@given(st.text(max_size=200))
def test_any_text_is_a_trace_or_refused(text: str) -> None:
    try:
        found = parse_trace(text, "t", 1.0)
    except ConfigError as error:
        assert str(error).startswith("t:")  # noqa: PT017
    else:
        lengths = {len(trace.counts) for trace in found.values()}
        assert len(lengths) == 1
        assert all(c >= 0.0 and math.isfinite(c) for t in found.values() for c in t.counts)
