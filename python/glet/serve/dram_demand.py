"""How much of a GPU's memory bandwidth a model draws, alone: counted, or estimated.

NVML counts for the whole device (GPM; Hopper and newer, extra `gpu`): nothing else may run then.
Where they are not there, a batch is taken to move its weights and tensors once (the memory side of
the roofline, Williams et al., CACM 2009), which is the least that it can move.
"""

from collections.abc import Callable
from importlib import import_module
from types import TracebackType
from typing import Any, Self

from glet.clock import Clock
from glet.errors import DeviceError

# Samples that lie closer together say little (NVML, "GPM": 100 ms at least).
SPAN_S = 0.3


class DramCounter:
    """The counter of one device; a context manager."""

    def __init__(self, gpu: str) -> None:
        """`gpu` as nvidia-smi names it, an index or a UUID. Raises DeviceError without GPM."""
        try:
            self._nvml: Any = import_module("pynvml")
        except ImportError as error:
            raise DeviceError("NVML's Python side is not installed: glet[gpu]") from error
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            raise DeviceError(f"NVML does not answer: {error}") from error
        try:
            self._handle = (
                self._nvml.nvmlDeviceGetHandleByIndex(int(gpu))
                if gpu.isdigit()
                else self._nvml.nvmlDeviceGetHandleByUUID(gpu)
            )
            has_gpm = bool(self._nvml.nvmlGpmQueryDeviceSupport(self._handle).isSupportedDevice)
        except self._nvml.NVMLError as error:
            self.close()
            raise DeviceError(f"GPU {gpu} has no GPM counters: {error}") from error
        if not has_gpm:
            self.close()
            raise DeviceError(f"GPU {gpu} has no GPM counters: it is older than Hopper")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets NVML go."""
        self._nvml.nvmlShutdown()

    def drawn(self, work: Callable[[], object], clock: Clock) -> float:
        """Part of the bandwidth, 0..1, while `work` runs again and again. Raises DeviceError."""
        nvml = self._nvml
        samples: list[Any] = []
        try:
            for _ in range(2):
                samples.append(nvml.nvmlGpmSampleAlloc())
            nvml.nvmlGpmSampleGet(self._handle, samples[0])
            until_s = clock.now_s() + SPAN_S
            while clock.now_s() < until_s:
                work()
            nvml.nvmlGpmSampleGet(self._handle, samples[1])
            asked = nvml.c_nvmlGpmMetricsGet_t()
            asked.version = nvml.NVML_GPM_METRICS_GET_VERSION
            asked.numMetrics = 1
            asked.sample1, asked.sample2 = samples
            asked.metrics[0].metricId = nvml.NVML_GPM_METRIC_DRAM_BW_UTIL
            nvml.nvmlGpmMetricsGet(asked)
            percent = float(asked.metrics[0].value)
        except nvml.NVMLError as error:
            raise DeviceError(f"GPM counters do not answer: {error}") from error
        finally:
            for sample in samples:
                nvml.nvmlGpmSampleFree(sample)
        if not 0.0 <= percent <= 100.0:
            raise DeviceError(f"GPM counters say {percent} % of the memory bandwidth")
        return percent / 100.0


def estimated(moved_bytes: float, latency_ms: float, peak_bytes_per_s: float) -> float | None:
    """Part of the bandwidth, 0..1; None where the peak is not known."""
    if peak_bytes_per_s <= 0.0 or latency_ms <= 0.0:
        return None
    return min(1.0, moved_bytes / (latency_ms / 1000.0) / peak_bytes_per_s)


def peak_bytes_per_s() -> float:
    """Of the first GPU by torch's facts of it; 0 where this torch does not tell."""
    import torch

    if not torch.cuda.is_available():
        return 0.0
    facts = torch.cuda.get_device_properties(0)
    clock_khz = float(getattr(facts, "memory_clock_rate", 0.0))
    bits = float(getattr(facts, "memory_bus_width", 0.0))
    # Double data rate.
    return 2.0 * clock_khz * 1000.0 * bits / 8.0
