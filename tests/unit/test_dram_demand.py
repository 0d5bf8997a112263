"""What a model draws of a GPU's memory bandwidth, by an NVML that is made up."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from glet.errors import DeviceError
from glet.serve.dram_demand import SPAN_S, DramCounter, estimated


class NVMLError(Exception):
    pass


class FakeNvml:
    """GPM of one device; samples are read at the fake clock's time."""

    NVMLError = NVMLError
    NVML_GPM_METRICS_GET_VERSION = 0x1000A
    NVML_GPM_METRIC_DRAM_BW_UTIL = 10

    def __init__(self, percent: float = 37.5, *, has_gpm: bool = True) -> None:
        self.percent = percent
        self.has_gpm = has_gpm
        self.open = 0
        self.samples = 0
        self.asked: list[object] = []
        self.fails = ""

    def nvmlInit(self) -> None:  # noqa: N802
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object:  # noqa: N802
        return ("index", index)

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> object:  # noqa: N802
        return ("uuid", uuid)

    def nvmlGpmQueryDeviceSupport(self, handle: object) -> Any:  # noqa: N802
        return SimpleNamespace(isSupportedDevice=int(self.has_gpm))

    def nvmlGpmSampleAlloc(self) -> object:  # noqa: N802
        self.samples += 1
        return object()

    def nvmlGpmSampleFree(self, sample: object) -> None:  # noqa: N802
        self.samples -= 1

    def nvmlGpmSampleGet(self, handle: object, sample: object) -> None:  # noqa: N802
        if self.fails:
            raise NVMLError(self.fails)
        self.asked.append(handle)

    def c_nvmlGpmMetricsGet_t(self) -> Any:  # noqa: N802
        return SimpleNamespace(metrics=[SimpleNamespace(metricId=0, value=0.0)])

    def nvmlGpmMetricsGet(self, asked: Any) -> None:  # noqa: N802
        assert (asked.version, asked.numMetrics) == (0x1000A, 1)
        assert asked.sample1 is not asked.sample2
        assert asked.metrics[0].metricId == 10
        asked.metrics[0].value = self.percent


class Clock:
    """Each look is a tenth of a second later."""

    def __init__(self) -> None:
        self.s = 0.0

    def now_s(self) -> float:
        self.s += 0.1
        return self.s

    def sleep_s(self, seconds: float) -> None:
        self.s += seconds


def use(monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml | None) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml)  # type: ignore[arg-type]


def test_it_is_counted_while_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    use(monkeypatch, nvml)
    clock = Clock()
    runs: list[float] = []
    with DramCounter("GPU-1") as counter:
        assert counter.drawn(lambda: runs.append(clock.s), clock) == 0.375
    assert runs[-1] - runs[0] <= SPAN_S
    assert len(runs) > 1
    assert nvml.asked == [("uuid", "GPU-1")] * 2
    assert (nvml.open, nvml.samples) == (0, 0)


@pytest.mark.parametrize(
    ("nvml", "why"),
    [
        (None, "glet[gpu]"),
        (FakeNvml(has_gpm=False), "GPU 3 has no GPM counters: it is older than Hopper"),
    ],
)
def test_without_counters_it_says_why(
    monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml | None, why: str
) -> None:
    use(monkeypatch, nvml)
    with pytest.raises(DeviceError) as error:
        DramCounter("3")
    assert why in str(error.value)
    assert nvml is None or nvml.open == 0


@pytest.mark.parametrize(("fails", "percent"), [("Not Supported", 1.0), ("", float("nan"))])
def test_counters_that_break_are_one_error(
    monkeypatch: pytest.MonkeyPatch, fails: str, percent: float
) -> None:
    nvml = FakeNvml(percent)
    use(monkeypatch, nvml)
    with DramCounter("0") as counter:
        nvml.fails = fails
        with pytest.raises(DeviceError, match="GPM counters"):
            counter.drawn(lambda: None, Clock())
    assert (nvml.open, nvml.samples) == (0, 0)


def test_an_estimate_is_what_has_to_be_moved() -> None:
    assert estimated(48e6, 0.1, 4.8e12) == pytest.approx(0.1)
    assert estimated(48e9, 0.1, 4.8e12) == 1.0
    assert estimated(48e6, 0.1, 0.0) is None
