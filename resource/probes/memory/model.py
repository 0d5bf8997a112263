"""Copies more memory than any cache holds, with a thread per core of its gpulet."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

BYTES_PER_CORE = 64 * 1024 * 1024


class Probe:
    """Made at the first batch, in the gpulet's thread: threads inherit its cores."""

    def __init__(self) -> None:
        cores = len(os.sched_getaffinity(0))
        self._from = [np.ones(BYTES_PER_CORE, np.uint8) for _ in range(cores)]
        self._to = [np.empty_like(source) for source in self._from]
        self._pool = ThreadPoolExecutor(cores) if cores > 1 else None

    def copy(self) -> None:
        copying = self._pool.map if self._pool is not None else map
        # Large copies do not hold the GIL.
        list(copying(np.copyto, self._to, self._from))


made: list[Probe] = []


def infer(x: np.ndarray) -> np.ndarray:
    if not made:
        made.append(Probe())
    made[0].copy()
    return x
