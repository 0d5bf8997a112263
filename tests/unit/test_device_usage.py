"""How much of a device is used: a CPU's by psutil, a GPU's by NVML where that answers."""

from types import SimpleNamespace
from typing import Any

import pytest
from waiting import wait_for

from glet.serve import device_usage
from glet.serve.device_usage import UsageMeter
from glet.types.device import DeviceInfo, DeviceUsage


def test_a_cpu_is_its_cores_and_the_machines_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(total=8e9, available=6e9)
    monkeypatch.setattr(device_usage.psutil, "cpu_percent", lambda percpu: [100.0, 50.0, 10.0])
    monkeypatch.setattr(device_usage.psutil, "virtual_memory", lambda: memory)
    device = DeviceInfo(name="c", kind="cpu", type="cpu", cores=(1, 2, 7))
    assert UsageMeter(device).read() == DeviceUsage(memory_mb=2000.0, utilization=0.3)


def test_of_an_emulated_device_nothing_is_known() -> None:
    assert UsageMeter(DeviceInfo(name="p", kind="profiled", type="x")).read() is None


class NvmlError(Exception):
    """NVML's own."""


def fake_nvml() -> SimpleNamespace:
    """NVML's Python side, which knows every GPU but 9; `asked` and `ended` are what was done."""
    asked: list[Any] = []
    ended: list[bool] = []

    def found(name: Any) -> Any:
        asked.append(name)
        if name == 9:
            raise NvmlError("no GPU 9")
        return name

    return SimpleNamespace(
        asked=asked,
        ended=ended,
        NVMLError=NvmlError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: ended.append(True),
        nvmlDeviceGetHandleByIndex=found,
        nvmlDeviceGetHandleByUUID=found,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=3e9),
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=25),
    )


@pytest.mark.parametrize(("gpu", "asked"), [("0", 0), ("GPU-1-2", "GPU-1-2")])
def test_a_gpu_is_what_nvml_says(monkeypatch: pytest.MonkeyPatch, gpu: str, asked: Any) -> None:
    nvml = fake_nvml()
    monkeypatch.setattr(device_usage, "import_module", lambda name: nvml)
    monkeypatch.setattr(device_usage, "PERIOD_S", 0.01)
    meter = UsageMeter(DeviceInfo(name="g", kind="green", type="x", gpu=gpu))
    wait_for(lambda: meter.read() == DeviceUsage(memory_mb=3000.0, utilization=0.25))
    assert nvml.asked == [asked]
    meter.close()
    wait_for(lambda: nvml.ended)


def test_without_nvml_or_the_gpu_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = fake_nvml()
    monkeypatch.setattr(device_usage, "import_module", lambda name: nvml)
    meter = UsageMeter(DeviceInfo(name="g", kind="mps", type="x", gpu="9"))
    wait_for(lambda: nvml.ended)
    assert meter.read() is None

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(device_usage, "import_module", missing)
    assert UsageMeter(DeviceInfo(name="g", kind="mps", type="x", gpu="0")).read() is None
