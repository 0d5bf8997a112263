"""The core's header parsers against the msgpack library, and against anything at all."""

from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from glet.errors import ArgumentError, WireError
from glet.native import core

DTYPES = [
    "float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
    "uint16", "uint32", "uint64", "bytes",
]  # fmt: skip
TEXT = st.text(st.characters(codec="utf-8"), max_size=300)
INT64 = st.integers(-(2**63), 2**63 - 1)
SPECS = st.lists(
    st.tuples(TEXT, st.sampled_from(DTYPES), st.lists(INT64, max_size=16)), max_size=64
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | INT64 | st.floats() | TEXT | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(TEXT, inner, max_size=20),
    max_leaves=20,
)
UNKNOWN = st.dictionaries(TEXT.filter(lambda key: key.startswith("_")), ANYTHING, max_size=5)
TIME_MS = st.floats(0, 1e6)


@given(
    op=TEXT.filter(bool),
    request=st.none() | INT64,
    model=TEXT,
    deadline_ms=st.none() | st.floats(allow_nan=False) | st.integers(0, 10**9),
    inputs=SPECS,
    unknown=UNKNOWN,
)
def test_client_headers_are_read_as_msgpack_wrote_them(
    op: str, request: Any, model: str, deadline_ms: Any, inputs: Any, unknown: Any
) -> None:
    header = {"op": op, "id": request, "model": model, "deadline_ms": deadline_ms}
    found = core.parse_client_header(msgpack.packb({**unknown, **header, "inputs": inputs}))
    assert {key: found[key] for key in header} == header
    assert core.parse_specs(found["inputs"]) == inputs


@given(
    request=st.none() | INT64,
    texts=st.tuples(TEXT, TEXT, TEXT),
    batch=st.integers(0, 2**31 - 1),
    times_ms=st.tuples(TIME_MS, TIME_MS, TIME_MS),
    body=ANYTHING,
)
def test_server_headers_are_read_as_msgpack_wrote_them(
    request: Any, texts: Any, batch: int, times_ms: Any, body: Any
) -> None:
    op, error, message = texts
    header = {"op": op, "id": request, "error": error, "message": message, "batch": batch}
    keys = ("queue_ms", "batch_ms", "execute_ms")
    times = dict(zip(keys, times_ms, strict=True))
    found = core.parse_server_header(msgpack.packb({**header, **times, "body": body}))
    assert {key: found[key] for key in header} == header
    assert [found[key.replace("_ms", "_ns")] for key in keys] == [int(t * 1e6) for t in times_ms]
    assert found["body"] == msgpack.packb(body)


@pytest.mark.parametrize(
    "parse", [core.parse_client_header, core.parse_server_header, core.parse_specs]
)
@given(frame=st.binary(max_size=200) | ANYTHING.map(msgpack.packb))
@example(frame=b"")
@example(frame=b"\xdf\xff\xff\xff\xff")
@example(frame=b"\xdd\xff\xff\xff\xff")
@example(frame=b"\x81\xa2op\xdb\xff\xff\xff\xff")
@example(frame=b"\x91" * 10_000)
@example(frame=b"\x81\xa1x" * 10_000)
def test_any_bytes_are_read_or_refused(parse: Any, frame: bytes) -> None:
    try:
        parse(frame)
    except (WireError, ArgumentError) as error:
        assert str(error)  # noqa: PT017


@given(data=st.data(), inputs=SPECS)
def test_a_header_cut_short_or_changed_is_read_or_refused(data: st.DataObject, inputs: Any) -> None:
    frame = bytearray(
        msgpack.packb({"op": "infer", "id": 1, "model": "m", "inputs": inputs, "deadline_ms": 1.0})
    )
    at = data.draw(st.integers(0, len(frame) - 1))
    with pytest.raises(WireError):
        core.parse_client_header(bytes(frame[:at]))
    frame[at] = data.draw(st.integers(0, 255))
    try:
        found = core.parse_client_header(bytes(frame))
        core.parse_specs(found["inputs"] or b"\x90")
    except (WireError, ArgumentError) as error:
        assert str(error)  # noqa: PT017
