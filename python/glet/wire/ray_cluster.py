"""The line to a Ray cluster, for whoever has one: Ray itself is the extra `ray`."""

import logging
import re
import socket
from importlib import import_module
from typing import Any

from glet.errors import ConfigError

CONNECT_S = 5.0
_AT = re.compile(r"(?:ray://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/\s]+):(?P<port>\d{1,5})")


def connect(address: str, option: str) -> Any:
    """The module `ray`, connected: `HOST:PORT`, `ray://HOST:PORT` or `auto`. Say shutdown() to it.

    Raises ConfigError, which begins with `option`, without Ray or where no cluster answers.
    """
    try:
        ray = import_module("ray")
    except ImportError:
        raise ConfigError(f"{option} needs Ray; install it with: pip install 'glet[ray]'") from None
    where = f"{option} {address}"
    if address != "auto":
        _look(address, where)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"{where}: no cluster answers there: {' '.join(str(error).split())[:200]}"
        ) from None
    return ray


def _look(address: str, where: str) -> None:
    """Whether anybody listens: Ray itself tries for minutes."""
    at = _AT.fullmatch(address)
    if at is None or not 0 < int(at["port"]) < 1 << 16:
        raise ConfigError(f"{where}: is no address; valid are HOST:PORT, ray://HOST:PORT and auto")
    try:
        socket.create_connection((at["host"].strip("[]"), int(at["port"])), CONNECT_S).close()
    except OSError as error:
        raise ConfigError(f"{where}: no cluster answers there: {error.strerror or error}") from None
