"""The environment of executors: what a driver and MPS read when a process opens them."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from glet.plan.layout import PlacedGpulet
from glet.serve.gpus import VISIBLE, as_nvidia_smi_counts
from glet.types.device import GPU_KINDS, DeviceInfo

# A hardware queue per stream: fewer, and gpulets wait for each other (the default is 8). Kernels
# loaded at their first launch stop the whole device for that moment.
DRIVER = {"CUDA_DEVICE_MAX_CONNECTIONS": "32", "CUDA_MODULE_LOADING": "EAGER"}

# GNU OpenMP has a thread without work look for some for milliseconds, on cores that are shared with
# other gpulets, after each batch and each change of share. So many turns are about 0.2 ms.
OPENMP = {"GOMP_SPINCOUNT": "10000"}
OPENMP_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


class ExecutorEnv(Protocol):
    """What a fleet asks about the world that its executors start in.

    `on_death` is called, with the reason, when running executors are of no use any more.
    """

    on_death: Callable[[str], None]

    def ready(self) -> bool:
        """Whether executors can start now."""
        ...

    def variables(self, placed: Sequence[PlacedGpulet]) -> Mapping[str, str]:
        """What is added to this process's environment for an executor of these gpulets."""
        ...

    def before_kill(self, pid: int) -> None:
        """Called when an executor is about to be ended by force."""
        ...

    def close(self) -> None:
        """After the last executor ended."""
        ...


class PlainEnv:
    """Of executors that need nobody else: a GPU is named, cores are left soon.

    What the environment says already of OpenMP's waiting stays.
    """

    def __init__(self, device: DeviceInfo) -> None:
        self.on_death: Callable[[str], None] = lambda why: None
        self._variables: dict[str, str] = {}
        if device.kind in GPU_KINDS:
            order = as_nvidia_smi_counts(os.environ)
            self._variables = {**DRIVER, **order, VISIBLE: device.gpu}
        elif device.kind == "cpu" and not any(name in os.environ for name in OPENMP_SETTINGS):
            self._variables = OPENMP

    def ready(self) -> bool:
        return True

    def variables(self, placed: Sequence[PlacedGpulet]) -> Mapping[str, str]:
        return self._variables

    def before_kill(self, pid: int) -> None:
        """Nobody has to be told."""

    def close(self) -> None:
        """There is nothing to close."""
