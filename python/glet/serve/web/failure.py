"""What can be wrong with a request, and what that is in HTTP and in gRPC."""

from typing import NamedTuple

from glet.errors import RequestError
from glet.serve.web.request import WebAnswer, json_answer


class NotSupportedError(RequestError):
    """Raised for what the protocol has and glet, or this machine, has not."""

    code = "not_supported"


class ExistsError(RequestError):
    """Raised for a name that is taken."""

    code = "exists"


class NotFoundError(RequestError):
    """Raised for something other than a model that is not there."""

    code = "not_found"


class MethodError(RequestError):
    """Raised for a resource that has not this HTTP method; `allowed` are those it has."""

    code = "method"

    def __init__(self, message: str, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class Status(NamedTuple):
    """The same outcome in both protocols."""

    http: int
    grpc: int


STATUS = {
    "invalid_input": Status(400, 3),
    "late": Status(504, 4),
    "model_not_found": Status(404, 5),
    "not_found": Status(404, 5),
    "exists": Status(409, 6),
    "full": Status(429, 8),
    "method": Status(405, 12),
    "not_supported": Status(501, 12),
    "failed": Status(500, 13),
    "unavailable": Status(503, 14),
}
"""By the code of an error; gRPC's numbers are those of google.rpc.Code."""


def http_failure(error: RequestError) -> WebAnswer:
    """`{"error": "one line"}` with the status."""
    allow = (("allow", ", ".join(error.allowed)),) if isinstance(error, MethodError) else ()
    return json_answer({"error": _line(error)}, STATUS[error.code].http, allow)


def grpc_failure(error: RequestError) -> WebAnswer:
    """The code, and the line as the body."""
    return WebAnswer(status=STATUS[error.code].grpc, body=_line(error).encode())


def _line(error: RequestError) -> str:
    return " ".join(str(error).split()) or error.code
