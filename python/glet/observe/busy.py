"""Devices as their backends say, and how busy each gpulet is. Pure."""

from collections.abc import Collection, Iterable

from glet.observe.devices import DeviceSeries
from glet.types.observation import DeviceObservation
from glet.wire.messages import BackendState

SPAN_S = 1.0


class BusyDevices:
    """Rates are over the last second of the executors' own clocks."""

    def __init__(self) -> None:
        self._series: dict[str, DeviceSeries] = {}

    def take(self, states: Iterable[BackendState]) -> None:
        """The last states of all backends; those that are not among them are forgotten."""
        series: dict[str, DeviceSeries] = {}
        for state in states:
            series[state.name] = self._series.get(state.name) or DeviceSeries()
            series[state.name].take(state, SPAN_S)
        self._series = series

    def devices(self, silent: Collection[str] = ()) -> tuple[DeviceObservation, ...]:
        """By number. Of backends that are `silent` as they were last heard, and not alive."""
        seen = [series.observed(alive=name not in silent) for name, series in self._series.items()]
        return tuple(sorted((d for d in seen if d is not None), key=lambda d: d.device))

    def ratios(self, silent: Collection[str] = ()) -> dict[tuple[str, int], float]:
        """Part of the time that it ran batches, 0..1, by (backend, gpulet); none of `silent`."""
        return {
            (device.name, gpulet.gpulet): gpulet.busy
            for device in self.devices(silent)
            if device.alive
            for gpulet in device.gpulets
        }
