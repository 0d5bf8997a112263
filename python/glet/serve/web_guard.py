"""Who gets in over HTTP and gRPC: certificates and tokens of `[security]`, and their renewal.

The core checks every request (csrc/glet/web/guard.h); this reads the files for it.
"""

import logging
import os
import ssl
from pathlib import Path
from typing import Any

from glet.config.security import SecurityConfig
from glet.errors import ConfigError
from glet.native import core
from glet.serve.libssl_path import libssl_path

logger = logging.getLogger(__name__)

LOOK_S = 2.0
DAY_S = 24 * 3600
WARN_S = 7 * DAY_S
LONGEST_BYTES = 1 << 20
OTHERS = 0o077
WORLD = 0o007

Seen = tuple[tuple[int, ...] | None, ...]


class WebGuard:
    """TLS and tokens of one process. `core` is what its doors get, None: they are open."""

    def __init__(self, security: SecurityConfig, dashboard_token: str = "") -> None:
        """Raises ConfigError, one line, for what is wrong with the files."""
        self._security = security
        self._dashboard_token = dashboard_token
        self.tokens: Any = None
        self.core: Any = None
        self.certificates = 0  # how often other ones were found
        if not (security.tls_cert or security.tokens_file):
            return
        self.core = core.WebGuard()
        self._tls_seen, self._tokens_seen = self._look_at_tls(), self._look_at_tokens()
        self._read_tls()
        self._read_tokens()

    def url(self, address: str) -> str:
        """What clients call HOST:PORT."""
        return f"{'https' if self._security.tls_cert else 'http'}://{address}"

    def renew(self) -> None:
        """Takes up files that have changed. What is wrong is logged, and what was read before
        holds. Call it every LOOK_S seconds or so.
        """
        if self.core is None:
            return
        tls, tokens = self._look_at_tls(), self._look_at_tokens()
        if tls != self._tls_seen:
            self._tls_seen = tls
            self.certificates += 1
            self._try(self._read_tls, "certificate")
        if tokens != self._tokens_seen:
            self._tokens_seen = tokens
            self._try(self._read_tokens, "tokens")

    def ssl_context(self) -> ssl.SSLContext | None:
        """For a server of Python's own; None without TLS."""
        files = self._security
        if not files.tls_cert:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(files.tls_cert, files.tls_key, password=lambda: "")
        if files.tls_client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(files.tls_client_ca)
        return context

    def _try(self, read: Any, what: str) -> None:
        try:
            read()
        except ConfigError as error:
            logger.warning("%s; the %s from before stay in use", error, what)
        else:
            logger.info("new %s taken up", what)

    def _read_tls(self) -> None:
        files = self._security
        if not files.tls_cert:
            return
        self.core.set_tls(libssl_path(), files.tls_cert, files.tls_key, files.tls_client_ca)
        left_s = self.core.expires_in_s()
        if left_s < WARN_S:
            logger.warning(
                "tls_cert %s expires in %.1f days; renew it, it is taken up without a restart",
                files.tls_cert,
                left_s / DAY_S,
            )

    def _read_tokens(self) -> None:
        path = self._security.tokens_file
        if not path:
            return
        self.tokens = core.Tokens(
            read_private(Path(path)),
            f"tokens_file {path}",
            dashboard_token=self._dashboard_token,
        )
        self.core.set_tokens(self.tokens)

    def _look_at_tls(self) -> Seen:
        files = self._security
        return tuple(_stamp(p) for p in (files.tls_cert, files.tls_key, files.tls_client_ca))

    def _look_at_tokens(self) -> Seen:
        return (_stamp(self._security.tokens_file),)


def read_private(path: Path) -> str:
    """The tokens file, which nobody else may read. Raises ConfigError.

    One of another owner (a mounted secret) may be readable by a group: that is how we read it.
    """
    where = f"tokens_file {path}"
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(LONGEST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror}") from None
    if status.st_mode & (OTHERS if status.st_uid == os.geteuid() else WORLD):
        raise ConfigError(f"{where}: others can read it; chmod 600 {path}")
    if len(data) > LONGEST_BYTES:
        raise ConfigError(f"{where}: is longer than {LONGEST_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: is no text; valid is a line `NAME: TOKEN` each") from None


def _stamp(path: str) -> tuple[int, ...] | None:
    """What changes when a file does; None: there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_dev, status.st_size, status.st_mtime_ns
