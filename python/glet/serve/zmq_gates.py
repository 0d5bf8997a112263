"""Who may connect to the ZeroMQ sockets of a daemon; wire/README.md has the rules."""

import logging
from pathlib import Path
from typing import Any

from zmq.utils import z85

from glet.config.cluster import ClusterConfig
from glet.errors import ConfigError
from glet.native import core
from glet.wire.address import check_bind
from glet.wire.keys import KeyPair, cluster_pair, key_files, read_public
from glet.wire.zmq_path import libzmq_path

logger = logging.getLogger(__name__)

NO_KEYS = KeyPair("", "")
# Each is told once; peers must not fill the memory with keys.
MOST_TOLD = 1000


def cluster_gate(context: int, keys: KeyPair | None) -> core.ZapGate | None:
    """Lets daemons of the cluster in to the sockets of a context, nobody else; None without keys.

    `context` is the address of a context of libzmq. Ends with it at the latest.
    """
    if keys is None:
        return None
    gate = core.ZapGate(libzmq_path(), context)
    gate.allow({z85.decode(keys.public)})
    return gate


class ClientGate:
    """Lets the keys of the folder `client_keys` in to a frontend, and daemons of the cluster."""

    def __init__(self, context: int, folder: Path, keys: KeyPair) -> None:
        """Raises ConfigError when the folder cannot be read."""
        key_files(folder)
        self._folder, self._own = folder, z85.decode(keys.public)
        self._seen: object = None
        self._told: set[str] = set()
        self._gate = core.ZapGate(libzmq_path(), context)
        self.refresh()

    def refresh(self) -> None:
        """Reads the folder again if it changed; tells of who was not let in, each key once.

        A key that is gone lets nobody in any more; connections that are there stay.
        """
        for address, key in self._gate.take_refused():
            self._tell(f"not let in: key {z85.encode(key).decode()} from {address}")
        try:
            files = key_files(self._folder)
            seen = [
                (path.name, at.st_ino, at.st_mtime_ns, at.st_size)
                for path in files
                for at in [path.stat()]
            ]
        except (ConfigError, OSError) as error:
            self._tell(f"{error}; no key of it is let in")
            files, seen = [], []
        if seen != self._seen:
            self._seen = seen
            self._gate.allow({self._own, *self._read(files)})

    def close(self) -> None:
        """Nobody is let in any more."""
        self._gate.close()

    def _read(self, files: list[Path]) -> set[bytes]:
        found: set[bytes] = set()
        for path in files:
            try:
                found.add(z85.decode(read_public(path)))
            except ConfigError as error:
                self._tell(f"{error}; it is left out")
        logger.info("client keys let in: %d", len(found))
        return found

    def _tell(self, text: str) -> None:
        if text not in self._told:
            if len(self._told) >= MOST_TOLD:
                self._told.clear()
            self._told.add(text)
            logger.warning("%s", text)


def open_clients_port(cluster: ClusterConfig) -> tuple[Any, str, ClientGate | None]:
    """A frontend's loop, where it listens, and the gate before it where there is one.

    Raises ConfigError for keys that are wrong, and an address that is taken or must not be.
    """
    check_bind(cluster.listen, beyond=cluster.binds_beyond)
    keys, folder = cluster_pair(cluster.security), cluster.security.client_keys
    loop: Any = core.FrontendLoop(libzmq_path(), keys or NO_KEYS, bool(folder))
    gate = ClientGate(loop.zmq_context(), Path(folder), keys) if keys and folder else None
    return loop, loop.bind(cluster.listen), gate
