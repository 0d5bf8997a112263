"""`GET /metrics` of a daemon without an HTTP door, in threads of its own."""

import logging
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from glet.clock import SystemClock
from glet.config.security import SecurityConfig
from glet.errors import ConfigError
from glet.observe.metrics_text import CONTENT_TYPE
from glet.serve.web_guard import LOOK_S, WebGuard
from glet.wire.address import check_web_bind

logger = logging.getLogger(__name__)

PATH = "/metrics"
MOST_CONNECTIONS = 8
CLIENT_LIMIT_S = 10.0


class MetricsServer:
    """Serves one page, made anew by `page` for every request, in any thread."""

    def __init__(
        self,
        address: str,
        page: Callable[[], str],
        *,
        insecure: bool,
        security: SecurityConfig | None = None,
    ) -> None:
        """`address` is HOST:PORT, port `*` for a free one. Raises ConfigError.

        With TLS and tokens of `security` as the doors of a frontend have them.
        """
        security = security or SecurityConfig()
        check_web_bind(address, insecure=insecure, guarded=security.web_guarded)
        guard = WebGuard(security)
        host, _, port = address.rpartition(":")
        number = 0 if port == "*" else int(port)
        try:
            self._server = _Server((host.strip("[]"), number), page, guard)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"metrics {address}: cannot listen there: {error}") from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="glet-metrics", daemon=True
        )
        self._thread.start()

    @property
    def address(self) -> str:
        """HOST:PORT with the port that it got."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def close(self) -> None:
        """No more answers."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], page: Callable[[], str], guard: WebGuard) -> None:
        self.page = page
        self.guard = guard
        self._tls = guard.ssl_context()
        self._clock = SystemClock()
        self._looked_s = self._clock.now_s()
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(address, _Handler)

    def service_actions(self) -> None:
        """Twice a second, in the thread that accepts."""
        if self._clock.now_s() < self._looked_s + LOOK_S:
            return
        self._looked_s = self._clock.now_s()
        before = self.guard.certificates
        self.guard.renew()
        if self.guard.certificates != before:
            try:
                self._tls = self.guard.ssl_context()
            except (OSError, ValueError) as error:
                logger.warning("certificate not taken up: %s", error)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Who comes while all are taken is turned away."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            if self._tls is not None:
                # Here and not where connections are taken: who is slow keeps only this thread.
                request.settimeout(CLIENT_LIMIT_S)
                request = self._tls.wrap_socket(request, server_side=True)
            super().process_request_thread(request, client_address)
        except OSError as error:
            logger.debug("scrape from %s: %s", client_address, error)
            self.shutdown_request(request)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("scrape from %s ended early", client_address)


class _Handler(BaseHTTPRequestHandler):
    # Of the socket: a client that says nothing for that long is gone.
    timeout = CLIENT_LIMIT_S
    server: _Server

    def do_GET(self) -> None:
        tokens = self.server.guard.tokens
        if tokens is not None and not tokens.right(self.headers.get("authorization", "")):
            line = "wrong or no token; send one of this glet's as Authorization: Bearer"
            self._answer(401, "application/json", msgspec.json.encode({"error": line}))
            return
        if self.path.partition("?")[0] != PATH:
            line = f"no resource {self.path[:200]!r}; valid is {PATH}"
            self._answer(404, "application/json", msgspec.json.encode({"error": line}))
            return
        self._answer(200, CONTENT_TYPE, self.server.page().encode())

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Bearer realm="glet"')
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "glet"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        logger.debug("%s", format % args)
