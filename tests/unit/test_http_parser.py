"""The HTTP parser beside h11: what that takes as a server, ours takes alike or refuses on purpose.

Ours is stricter: lines end with CRLF, fields are not folded, values have no control characters,
Content-Length comes once and not beside Transfer-Encoding, HTTP/1.0 has no Transfer-Encoding,
versions are 1.0 and 1.1, targets are paths (or absolute, of which the path is taken), and sizes of
chunks have nothing behind them but an extension.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glet.native import core

h11 = pytest.importorskip("h11")

LIMIT = 1000
TOKEN = st.text("abcXYZ019-_!", min_size=1, max_size=6)
VALUE = st.text('abc 09,;="\t\x7f\x01é', max_size=8)
FIELD = st.tuples(TOKEN, VALUE).map(lambda f: f"{f[0]}: {f[1]}\r\n".encode("latin-1"))
CONNECTION = st.sampled_from(
    [b"", b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"connection: x, CLOSE\r\n"]
)
BODY = st.binary(max_size=20)


def chunked(pieces: list[bytes]) -> bytes:
    return b"".join(b"%x;e=1\r\n%b\r\n" % (len(p), p) for p in pieces if p) + b"0\r\nT: u\r\n\r\n"


@st.composite
def requests(draw: Any) -> bytes:
    """A request that is mostly right."""
    method = draw(st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"x-Y"]))
    target = draw(st.sampled_from([b"/", b"/a?b=%20", b"*", b"http://h/p?q", b"//x", b"x"]))
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.0", b"1.2"]))
    host = draw(st.sampled_from([b"Host: h\r\n"] * 3 + [b"", b"Host: a\r\nhost: b\r\n"]))
    fields = b"".join(draw(st.lists(FIELD, max_size=3))) + draw(CONNECTION)
    kind = draw(st.sampled_from(["none", "length", "chunked", "both"]))
    sent, framing = draw(BODY), b""
    if kind in ("length", "both"):
        framing = b"Content-Length: %d\r\n" % len(sent)
    if kind in ("chunked", "both"):
        framing += b"Transfer-Encoding: chunked\r\n"
        sent = chunked([sent[:5], sent[5:]])
    head = b"%b %b HTTP/%b\r\n%b%b%b\r\n" % (method, target, version, host, fields, framing)
    return head + (sent if kind != "none" else b"")


@st.composite
def streams(draw: Any) -> bytes:
    """Some requests, maybe with a few bytes changed."""
    stream = bytearray(b"".join(draw(st.lists(requests(), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(stream)))
        stream[at : at + draw(st.integers(0, 2))] = draw(
            st.sampled_from([b"", b"\n", b" ", b":", b"\r", b"0", b"\x00", b"\t"])
        )
    return bytes(stream)


def ours(stream: bytes, cuts: list[int] | None = None) -> list[Any]:
    ends = sorted({min(cut, len(stream)) for cut in cuts or []} | {len(stream)})
    pieces = [stream[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    return core.parse_http(pieces, LIMIT)


def theirs(stream: bytes) -> Iterator[tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]]:
    """The requests that h11 sees, up to what it refuses."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(stream)
    while True:
        try:
            event = connection.next_event()
            if not isinstance(event, h11.Request):
                return
            got = b""
            while not isinstance(part := connection.next_event(), h11.EndOfMessage):
                if not isinstance(part, h11.Data):
                    return
                got += bytes(part.data)
        except h11.RemoteProtocolError:
            return
        yield event.method, event.target, [(bytes(n), bytes(v)) for n, v in event.headers], got
        connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        connection.send(h11.EndOfMessage())
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return
        connection.start_next_cycle()


def path(target: bytes) -> bytes:
    return re.sub(rb"^https?://[^/?]*", b"", target)


@settings(max_examples=500, deadline=None)
@given(streams())
def test_it_takes_nothing_that_h11_does_not_and_reads_it_alike(stream: bytes) -> None:
    mine = [request for request in ours(stream) if len(request) == 6]
    other = list(theirs(stream))
    # h11 stops behind a request that closes, which to it is every one of HTTP/1.0; ours leaves that
    # to the connection.
    closing = next((n for n, r in enumerate(mine) if not r[5] or r[2] == 0), len(mine))
    mine = mine[: closing + 1]
    assert len(mine) <= len(other)
    for (method, target, _, headers, got, _), (a, b, c, d) in zip(mine, other, strict=False):
        assert (method, target, got) == (a, path(b), d)
        assert [(name.lower(), value) for name, value in headers] == c


@settings(max_examples=300, deadline=None)
@given(streams(), st.lists(st.integers(0, 400), max_size=6))
def test_every_cut_gives_the_same(stream: bytes, cuts: list[int]) -> None:
    assert ours(stream, cuts) == ours(stream)


@settings(max_examples=300, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=3))
def test_plain_requests_are_all_taken(good: list[bytes]) -> None:
    plain = [r for r in good if list(theirs(r))]
    for request in plain:
        got = ours(request)
        refused = got[-1][0] if len(got[-1]) == 2 else None
        both = b"Content-Length" in request and b"Transfer-Encoding" in request
        strict = (
            both
            or b"\x01" in request
            or b"\x7f" in request
            or b" x HTTP" in request
            or b"HTTP/1.2" in request
            or (b"HTTP/1.0" in request and b"Transfer-Encoding" in request)
        )
        assert strict or refused is None, got


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_end_in_a_status(stream: bytes) -> None:
    for item in ours(stream):
        assert len(item) == 6 or 400 <= item[0] < 600
