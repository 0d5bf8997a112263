"""The frontend's lines to all of its backends: those of the configuration, and those that come."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import zmq

from glet.clock import Clock
from glet.config.addresses import read_addresses
from glet.config.cluster import BackendConfig, ClusterConfig, backend_name
from glet.errors import ConfigError
from glet.serve.backend_link import BackendLink
from glet.wire.keys import cluster_pair

logger = logging.getLogger(__name__)


class Change(NamedTuple):
    """Lines that are new, and sockets of those that went: unwatch these, then close() them."""

    new: list[BackendLink]
    gone: list[BackendLink]


class BackendLinks:
    """Iterates over the lines there are. With `addresses` backends without a `control` are there
    while that file names them; it is read again whenever it changed.
    """

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", cluster: ClusterConfig, clock: Clock
    ) -> None:
        """Raises ConfigError where the configuration does not say how to reach a backend."""
        self._context, self._clock = context, clock
        self._keys = cluster_pair(cluster.security)
        self._backends = {backend_name(backend): backend for backend in cluster.backend}
        self._file = Path(cluster.addresses) if cluster.addresses else None
        self._seen: tuple[int, int, int] | None = None
        fixed = {
            name: control_address(cluster, backend)
            for name, backend in self._backends.items()
            if backend.control or self._file is None
        }
        self._fixed = frozenset(fixed)
        self._at: dict[str, str] = {}
        self._links: dict[str, BackendLink] = {}
        self._bring(fixed)

    def __iter__(self) -> Iterator[BackendLink]:
        return iter(self._links.values())

    def __len__(self) -> int:
        return len(self._links)

    @property
    def come_and_go(self) -> bool:
        """Whether there may be others later."""
        return self._file is not None

    def devices(self) -> set[int]:
        """The numbers of all devices that may ever be there."""
        return {backend.device for backend in self._backends.values()}

    def refresh(self) -> Change:
        """Looks into the file. One that is wrong changes nothing, and is logged once."""
        if self._file is None or not self._is_new(self._file):
            return Change([], [])
        open_names = self._backends.keys() - self._fixed
        try:
            named = read_addresses(self._file, open_names)
            return self._bring({name: self._at[name] for name in self._fixed} | named)
        except ConfigError as error:
            logger.warning("%s; backends stay as they are", error)
            return Change([], [])

    def _is_new(self, file: Path) -> bool:
        """Whether it is another file than last time; one that is gone names nobody."""
        try:
            found = file.stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            seen = (0, 0, 0)
        before, self._seen = self._seen, seen
        return seen != before

    def _bring(self, wanted: dict[str, str]) -> Change:
        """All of it or, where an address is none, nothing: then it raises ConfigError."""
        new: dict[str, BackendLink] = {}
        try:
            for name, at in wanted.items():
                if self._at.get(name) != at:
                    device = self._backends[name].device
                    new[name] = BackendLink(
                        self._context, name, device, at, self._clock, self._keys
                    )
        except ConfigError:
            for link in new.values():
                link.channel.close()
            raise
        names = [name for name, at in self._at.items() if wanted.get(name) != at]
        gone = [self._links.pop(name) for name in names]
        self._links |= new
        self._at = dict(wanted)
        return Change(list(new.values()), gone)


def control_address(cluster: ClusterConfig, backend: BackendConfig) -> str:
    """Where a backend is reached. Raises ConfigError when the configuration does not say."""
    if backend.control:
        return backend.control
    if not cluster.run_dir:
        raise ConfigError(
            f"backend {backend_name(backend)} has no control address; give control, or a run_dir"
        )
    return f"ipc://{cluster.run_dir}/{backend_name(backend)}/control"
