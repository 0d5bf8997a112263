"""CUDA memory that clients register: the executors of GPUs read tensors from it and write to it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from glet.errors import InvalidInputError
from glet.serve.web.failure import ExistsError, NotFoundError, NotSupportedError
from glet.serve.web.shared_memory import LONGEST_NAME, MOST_REGIONS

HANDLE_BYTES = 64


class _Region(NamedTuple):
    device_id: int
    byte_size: int


class CudaMemory:
    """The regions by name. `add` and `remove` tell the core: (name, handle, bytes) and (name).

    Nothing is opened here: an executor does that with the first request, and a handle that it
    cannot open fails that request. `taken` are the names of all kinds of regions.
    """

    def __init__(
        self,
        add: Callable[[str, bytes, int], object],
        remove: Callable[[str], object],
        is_on_gpu: Callable[[], bool],
        taken: set[str],
    ) -> None:
        """`is_on_gpu` says whether any model is served on a GPU."""
        self._add = add
        self._remove = remove
        self._is_on_gpu = is_on_gpu
        self._taken = taken
        self._regions: dict[str, _Region] = {}

    def register(self, name: str, handle: bytes, device_id: int, byte_size: int) -> None:
        """`byte_size` bytes of the allocation with the CUDA IPC handle `handle`, of 64 bytes.

        Raises NotSupportedError without a GPU, InvalidInputError, ExistsError.
        """
        self.require_gpu(name)
        where = f"cuda shared memory region {name[:40]!r}"
        if not name or len(name) > LONGEST_NAME:
            raise InvalidInputError(f"{where}: give a name of 1 to {LONGEST_NAME} characters")
        if name in self._taken:
            raise ExistsError(f"{where} is registered; unregister it first")
        if len(self._regions) >= MOST_REGIONS:
            raise InvalidInputError(f"there are {MOST_REGIONS} cuda regions, the most")
        if len(handle) != HANDLE_BYTES:
            raise InvalidInputError(
                f"{where}: raw_handle has {len(handle)} bytes; a CUDA IPC handle has {HANDLE_BYTES}"
            )
        if device_id < 0 or not 1 <= byte_size < 2**63:
            raise InvalidInputError(
                f"{where}: device_id {device_id} and byte_size {byte_size}; "
                "valid are 0 or more, and 1 or more"
            )
        self._regions[name] = _Region(device_id, byte_size)
        self._taken.add(name)
        self._add(name, handle, byte_size)

    def require_gpu(self, name: str) -> None:
        """Raises NotSupportedError where no GPU serves."""
        if not self._is_on_gpu():
            raise NotSupportedError(
                f"cuda shared memory region {name[:60]!r}: no model is served on a GPU here; "
                "take system shared memory"
            )

    def unregister(self, name: str = "") -> None:
        """One, or all without a name; one that is not there is as it should be."""
        for each in [name] if name else list(self._regions):
            if self._regions.pop(each, None) is not None:
                self._taken.discard(each)
                self._remove(each)

    def status(self, name: str = "") -> list[dict[str, Any]]:
        """One or all. Raises NotFoundError for a name that is not there."""
        if name and name not in self._regions:
            raise NotFoundError(f"no cuda shared memory region {name[:60]!r} is registered")
        return [
            {"name": each, "device_id": region.device_id, "byte_size": region.byte_size}
            for each, region in sorted(self._regions.items())
            if name in ("", each)
        ]
