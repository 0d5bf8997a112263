"""System shared memory that clients register: tensors are read from it and written to it."""

import ctypes
import mmap
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from glet.errors import InvalidInputError
from glet.serve.web.failure import ExistsError, NotFoundError

SHM = Path("/dev/shm")
MOST_REGIONS = 1024
LONGEST_NAME = 255


class _Region(NamedTuple):
    key: str
    offset: int
    byte_size: int
    memory: mmap.mmap


class SharedMemory:
    """The regions by name. `add` and `remove` tell the core: (name, address, bytes) and (name).

    A region's file may be made shorter by whoever made it, and a read beyond its end would end this
    process, as it would any that maps it: only who may write to this user's files in /dev/shm can.
    """

    def __init__(
        self,
        add: Callable[[str, int, int], object],
        remove: Callable[[str], object],
        folder: Path = SHM,
        taken: set[str] | None = None,
    ) -> None:
        """`folder` is where shm_open() makes its objects, `taken` the names of all regions."""
        self._taken = set[str]() if taken is None else taken
        self._add = add
        self._remove = remove
        self._folder = folder
        self._regions: dict[str, _Region] = {}

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """`byte_size` bytes of the object `key`, `offset` bytes from its start.

        Raises InvalidInputError for what is no such memory, ExistsError for a name that is there.
        """
        if not name or len(name) > LONGEST_NAME:
            raise InvalidInputError(
                f"shared memory region {name[:40]!r}: give a name of 1 to {LONGEST_NAME} characters"
            )
        if name in self._taken:
            raise ExistsError(f"shared memory region {name!r} is registered; unregister it first")
        if len(self._regions) >= MOST_REGIONS:
            raise InvalidInputError(f"there are {MOST_REGIONS} shared memory regions, the most")
        if offset < 0 or byte_size < 1:
            raise InvalidInputError(
                f"shared memory region {name!r}: offset {offset} and byte_size {byte_size}; "
                "valid are 0 or more, and 1 or more"
            )
        memory = self._map(name, key, offset, byte_size)
        start = offset % mmap.ALLOCATIONGRANULARITY
        self._regions[name] = _Region(key, offset, byte_size, memory)
        self._taken.add(name)
        self._add(name, _address(memory) + start, byte_size)

    def unregister(self, name: str = "") -> None:
        """One, or all without a name; one that is not there is as it should be."""
        for each in [name] if name else list(self._regions):
            region = self._regions.pop(each, None)
            if region is not None:
                self._taken.discard(each)
                # First the core, which may be at it.
                self._remove(each)
                region.memory.close()

    def status(self, name: str = "") -> list[dict[str, Any]]:
        """One or all. Raises NotFoundError for a name that is not there."""
        if name and name not in self._regions:
            raise NotFoundError(f"no shared memory region {name[:LONGEST_NAME]!r} is registered")
        return [
            {
                "name": each,
                "key": region.key,
                "offset": region.offset,
                "byte_size": region.byte_size,
            }
            for each, region in sorted(self._regions.items())
            if name in ("", each)
        ]

    def _map(self, name: str, key: str, offset: int, byte_size: int) -> mmap.mmap:
        file = key.removeprefix("/")
        where = f"shared memory region {name!r}: key {key[:LONGEST_NAME]!r}"
        if not file or "/" in file or "\0" in file or file in (".", ".."):
            raise InvalidInputError(f"{where}; valid is the name of an object, as of shm_open()")
        try:
            descriptor = os.open(self._folder / file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise InvalidInputError(f"{where} cannot be opened: {why.lower()}") from None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise InvalidInputError(f"{where} is no shared memory")
            if offset + byte_size > status.st_size:
                raise InvalidInputError(
                    f"{where} has {status.st_size} bytes; "
                    f"offset {offset} and byte_size {byte_size} go beyond"
                )
            start = offset % mmap.ALLOCATIONGRANULARITY
            return mmap.mmap(descriptor, byte_size + start, offset=offset - start)
        except (OSError, ValueError, OverflowError) as error:
            raise InvalidInputError(f"{where} cannot be mapped: {error}") from None
        finally:
            os.close(descriptor)


def _address(memory: mmap.mmap) -> int:
    """Where it is. The view that tells is gone when this returns, so that it can be closed."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
