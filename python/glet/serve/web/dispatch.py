"""The frontend's answers to what its doors do not answer themselves."""

import importlib.util
import logging
from collections.abc import Callable

from glet.errors import RequestError
from glet.serve.web.failure import NotSupportedError, grpc_failure, http_failure
from glet.serve.web.operations import Operations
from glet.serve.web.request import WebAnswer, WebRequest
from glet.serve.web.rest import Rest
from glet.serve.web.routes import Routes

logger = logging.getLogger(__name__)

NO_PROTOBUF = "this glet has no protobuf for gRPC; install it with pip install 'glet[grpc]'"

Reply = Callable[[WebRequest, WebAnswer], None]


class Web:
    """REST and gRPC over the same operations."""

    def __init__(self, operations: Operations, reply: Reply) -> None:
        """`reply` is called, later and once, for each request for which handle() gave None."""
        self._rest = Rest(operations, reply)
        self._rpc = None
        if _has_protobuf():
            from glet.serve.web.rpc import Rpc

            self._rpc = Rpc(operations, reply)

    @property
    def routes(self) -> Routes:
        """REST's, to add others to."""
        return self._rest.routes

    def handle(self, request: WebRequest) -> WebAnswer | None:
        """The answer; None: it comes later. Never raises."""
        fail = grpc_failure if request.protocol == "grpc" else http_failure
        try:
            if request.protocol == "http":
                return self._rest.handle(request)
            if self._rpc is None:
                return fail(NotSupportedError(NO_PROTOBUF))
            return self._rpc.handle(request)
        except Exception as error:
            # A door waits for an answer, and the frontend serves on.
            logger.exception("web request failed target=%s", request.target[:200])
            return fail(RequestError(f"internal error: {type(error).__name__}"))


def _has_protobuf() -> bool:
    """REST does without; what is asked first is there where the second is."""
    spec = importlib.util.find_spec
    return spec("google") is not None and spec("google.protobuf") is not None
