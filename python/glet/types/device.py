"""A device: one GPU, or the CPU of a host treated as one."""

from typing import Literal

import msgspec

PartitionKind = Literal["cpu", "profiled"]
PARTITION_KINDS: tuple[PartitionKind, ...] = ("cpu", "profiled")


class DeviceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend knows of its device.

    `cores` are the numbers of the CPU cores it may use (none when `profiled`). Shares are given in
    steps of `granularity_pct`, rounded down. `memory_mb` is 0 where it is not known. `emulated`
    devices take as long as a profile says and compute nothing.
    """

    name: str
    kind: PartitionKind
    type: str
    cores: tuple[int, ...] = ()
    granularity_pct: float = 1.0
    memory_mb: int = 0
    emulated: bool = False

    @property
    def max_gpulets(self) -> int:
        """How many gpulets of at least one core the device can hold; 100 when `profiled`."""
        return len(self.cores) if self.kind == "cpu" else 100
