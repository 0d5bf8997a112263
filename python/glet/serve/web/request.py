"""What the core hands over and takes back: see the struct of the same names in net/door.h."""

from typing import Any, Literal

import msgspec

Protocol = Literal["http", "grpc"]
Headers = tuple[tuple[str, str], ...]


class WebRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request that the core does not answer itself.

    `door` and `call` say whose it is. `method` and `target` (path?query) are HTTP's; of gRPC the
    method is empty, the target is `/package.Service/Method` and the body one message.
    """

    door: int = 0
    call: int = 0
    protocol: Protocol = "http"
    method: str = "GET"
    target: str = "/"
    headers: Headers = ()
    body: bytes = b""

    def header(self, name: str) -> str:
        """The first value of a header, '' without. `name` is in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), "")


class WebAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is HTTP's, or gRPC's code: of one that is not 0, the body is the error's text."""

    status: int = 200
    headers: Headers = ()
    body: bytes = b""


def json_answer(value: Any, status: int = 200, headers: Headers = ()) -> WebAnswer:
    """An answer with a JSON body."""
    body = msgspec.json.encode(value)
    return WebAnswer(
        status=status, headers=(("content-type", "application/json"), *headers), body=body
    )
