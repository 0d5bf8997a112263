"""What a container leaves of the machine: CPU time and memory, of cgroup versions 1 and 2."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
# Version 1 says "no limit" with the largest number of whole pages.
UNLIMITED_BYTES = 1 << 60


class MemoryLimit(msgspec.Struct, frozen=True, kw_only=True):
    """The tightest limit above this process, and what of it is free; file cache counts as free."""

    limit_bytes: int
    free_bytes: int


def cpu_quota(root: Path = ROOT, own: Path = OWN) -> float | None:
    """How many cores' time this process may use; None without a limit."""
    quotas = []
    for folder in _folders(root, own, "cpu"):
        found = _numbers(folder / "cpu.max")
        if not found:
            found = _numbers(folder / "cpu.cfs_quota_us") + _numbers(folder / "cpu.cfs_period_us")
        if len(found) == 2 and found[0] > 0 and found[1] > 0:
            quotas.append(found[0] / found[1])
    return min(quotas, default=None)


def memory_limit(root: Path = ROOT, own: Path = OWN) -> MemoryLimit | None:
    """None without a limit."""
    limits = []
    for folder in _folders(root, own, "memory"):
        limit = _numbers(folder / "memory.max") or _numbers(folder / "memory.limit_in_bytes")
        if not limit or limit[0] >= UNLIMITED_BYTES:
            continue
        used = _numbers(folder / "memory.current") or _numbers(folder / "memory.usage_in_bytes")
        taken = (used[0] if used else 0) - _file_cache(folder / "memory.stat")
        limits.append(MemoryLimit(limit_bytes=limit[0], free_bytes=limit[0] - max(0, taken)))
    return min(limits, key=lambda limit: limit.free_bytes, default=None)


def _folders(root: Path, own: Path, controller: str) -> Iterator[Path]:
    """The folders that hold for this process, its own and all above, as far as they are there.

    In a container the path may be the host's, of which nothing but the root can be seen.
    """
    lines = []
    with suppress(OSError):
        lines = own.read_text(encoding="utf-8").splitlines()
    for line in lines:
        _, names, path = line.split(":", 2)
        if names == "":
            mount = root
        elif controller in names.split(","):
            mount = next((m for m in (root / names, root / controller) if m.is_dir()), root)
        else:
            continue
        inner = Path(path.lstrip("/"))
        for part in (inner, *inner.parents):
            if (mount / part).is_dir():
                yield mount / part


def _numbers(path: Path) -> list[int]:
    """The whole numbers of a file; empty when it is not there or says `max`."""
    try:
        return [int(word) for word in path.read_text(encoding="utf-8").split()]
    except (OSError, ValueError):
        return []


def _file_cache(path: Path) -> int:
    """Bytes of files that were not used lately: the kernel takes them back when it needs memory."""
    with suppress(OSError, ValueError):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file"):
                return int(value)
    return 0
