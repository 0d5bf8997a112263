"""How much of its device's memory this process uses."""

from pathlib import Path

from glet.types.device import PartitionKind

MB = 1e6


def used_memory_mb(kind: PartitionKind) -> float:
    """What is used of the device's memory now; 0 where that says nothing.

    On a CPU this process's proportional set size: what it shares with other processes counts in
    part. On a GPU what everybody uses: its memory has no owner that every driver would tell.
    """
    if kind == "cpu":
        return _proportional_set_mb()
    return 0.0 if kind == "profiled" else _gpu_mb()


def _proportional_set_mb() -> float:
    try:
        text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0.0
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == "Pss":
            return int(value.split()[0]) * 1024 / MB
    return 0.0


def _gpu_mb() -> float:
    import torch

    if not torch.cuda.is_available():
        return 0.0
    free, total = torch.cuda.mem_get_info()
    return float(total - free) / MB
