"""Endpoints: `tcp://HOST:PORT` and `ipc://PATH`; of doors `HOST:PORT`."""

import re

from glet.errors import ConfigError

IPC_BYTES = 107
_TCP = re.compile(r"tcp://(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/\s]+):(?P<port>\d{1,5}|\*)")
_WEB = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/\s]+):(?P<port>\d{1,5}|\*)")
_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|\[::1\]")


def check_bind(endpoint: str, *, beyond: bool) -> None:
    """Raises ConfigError for no endpoint, and for one that others can reach unless `beyond`."""
    if endpoint.startswith("ipc://"):
        path = endpoint.removeprefix("ipc://")
        if not 0 < len(path.encode()) <= IPC_BYTES:
            raise ConfigError(f"{endpoint}: the path of an ipc endpoint has 1..{IPC_BYTES} bytes")
        return
    tcp = _TCP.fullmatch(endpoint)
    if tcp is None:
        raise ConfigError(f"{endpoint!r} is no endpoint; valid are tcp://HOST:PORT and ipc://PATH")
    if not beyond and _LOOPBACK.fullmatch(tcp["host"]) is None:
        raise ConfigError(
            f"{endpoint} can be reached from outside this machine without authentication; bind "
            "tcp://127.0.0.1:PORT, give a key ([security] server_key; glet keys new makes one), "
            "or say --insecure in a network you trust"
        )


def crosses_network(endpoint: str) -> bool:
    """Whether CURVE is for it: what goes over ipc stays on this machine, and is plain."""
    return endpoint.startswith("tcp://")


def check_web_bind(address: str, *, insecure: bool, guarded: bool = False) -> None:
    """The same for the HOST:PORT of a door; `guarded`: it has TLS and asks who is there."""
    web = _WEB.fullmatch(address)
    if web is None:
        raise ConfigError(f"{address!r} is no address; valid is HOST:PORT, as in 127.0.0.1:8000")
    if not (insecure or guarded) and _LOOPBACK.fullmatch(web["host"]) is None:
        raise ConfigError(
            f"{address} can be reached from outside this machine without authentication; give "
            "[security] tls_cert and tls_key with tokens_file or tls_client_ca, bind "
            "127.0.0.1:PORT, or say --insecure in a network you trust"
        )
