"""Files of arrival times: what they say, and what is wrong with them in one line."""

import pytest

from glet.errors import ConfigError
from glet.workload.times import parse_times


def test_columns_may_end_early() -> None:
    found = parse_times("# made up\na,b\n0,0.5\n\n1.25,\n1.25,\n", "t.csv")
    assert {name: times.tolist() for name, times in found.items()} == {
        "a": [0.0, 1.25, 1.25],
        "b": [0.5],
    }
    assert parse_times("a,b\n3,\n", "t.csv")["b"].tolist() == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.csv: holds no times"),
        ("a,b\n", "t.csv: has a header and no time under it"),
        ("0.5\n1\n", "t.csv:1: '0.5' where a header"),
        ("a,a\n1,2\n", "t.csv:1: the header names 'a'"),
        ("a,\n1,2\n", "t.csv:1: the header names ''"),
        ("a,b\n1,2\n3\n", "t.csv:3: 1 cells where 2 are expected"),
        ("a\n1,2\n", "t.csv:2: 2 cells where 1 are expected"),
        ("a,b\n1,2\n,3\n4,5\n", "t.csv:4: 'a' goes on after the empty cell in line 3"),
        ("a\n-1\n", "t.csv:2: 'a': '-1' is not a time"),
        ("a\nnan\n", "t.csv:2: 'a': 'nan' is not a time"),
        ("a\ninf\n", "t.csv:2: 'a': 'inf' is not a time"),
        ("a\n1e18\n", "t.csv:2: 'a': '1e18' is not a time; give seconds from 0 to 31622400"),
        ("a\nsoon\n", "t.csv:2: 'a': 'soon' is not a time"),
        ("a,b\n1,1\n2,0.5\n", "t.csv:3: 'b': 0.5 s comes after 1 s; sort its times"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_times(text, "t.csv")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
