"""How much of a device is used now: its memory, and the part of the time that it is at work."""

import logging
import threading
from importlib import import_module
from typing import Any

import psutil

from glet.types.device import GPU_KINDS, DeviceInfo, DeviceUsage

logger = logging.getLogger(__name__)

PERIOD_S = 1.0
MB = 1e6


class UsageMeter:
    """Of one device; read() returns at once.

    A GPU is asked through NVML (extra `gpu`) by a thread of its own, because a driver may hang;
    without NVML nothing is known. A CPU is its cores, and the memory of the whole machine.
    """

    def __init__(self, device: DeviceInfo) -> None:
        self._device = device
        self._last: DeviceUsage | None = None
        self._closed = threading.Event()
        if device.kind in GPU_KINDS:
            threading.Thread(target=self._watch_gpu, name="glet-nvml", daemon=True).start()
        elif device.kind == "cpu":
            # The first answer is over the time since the call before it.
            psutil.cpu_percent(percpu=True)

    def read(self) -> DeviceUsage | None:
        """Since the last call, for a CPU; of the last second, for a GPU; None when not known."""
        if self._device.kind == "cpu":
            self._last = self._cpu()
        return self._last

    def close(self) -> None:
        """Ends the thread at its next turn."""
        self._closed.set()

    def _cpu(self) -> DeviceUsage:
        busy_pct = psutil.cpu_percent(percpu=True)
        mine = [busy_pct[core] for core in self._device.cores if core < len(busy_pct)]
        memory = psutil.virtual_memory()
        return DeviceUsage(
            memory_mb=(memory.total - memory.available) / MB,
            utilization=sum(mine) / len(mine) / 100.0 if mine else 0.0,
        )

    def _watch_gpu(self) -> None:
        try:
            nvml: Any = import_module("pynvml")
        except ImportError:
            return
        try:
            nvml.nvmlInit()
            try:
                handle = _handle(nvml, self._device.gpu)
                while not self._closed.wait(PERIOD_S):
                    self._last = DeviceUsage(
                        memory_mb=nvml.nvmlDeviceGetMemoryInfo(handle).used / MB,
                        utilization=nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100.0,
                    )
            finally:
                nvml.nvmlShutdown()
        except nvml.NVMLError as error:
            self._last = None
            logger.warning("NVML tells nothing of GPU %s: %s", self._device.gpu, error)


def _handle(nvml: Any, gpu: str) -> Any:
    """Of an index, or a UUID as nvidia-smi names it."""
    if gpu.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(gpu))
    return nvml.nvmlDeviceGetHandleByUUID(gpu)
