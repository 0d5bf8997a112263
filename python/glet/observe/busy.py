"""How busy each gpulet is, out of the states that its backend sends. Pure."""

from collections.abc import Collection, Iterable

from glet.observe.devices import DeviceSeries
from glet.wire.messages import BackendState

SPAN_S = 1.0


class BusyGpulets:
    """Over the last second of the executors' own clocks."""

    def __init__(self) -> None:
        self._devices: dict[str, DeviceSeries] = {}

    def take(self, states: Iterable[BackendState]) -> None:
        """The last states of all backends; those that are not among them are forgotten."""
        devices: dict[str, DeviceSeries] = {}
        for state in states:
            devices[state.name] = self._devices.get(state.name) or DeviceSeries()
            devices[state.name].take(state, SPAN_S)
        self._devices = devices

    def ratios(self, silent: Collection[str] = ()) -> dict[tuple[str, int], float]:
        """Part of the time that it ran batches, 0..1, by (backend, gpulet); none of `silent`."""
        found: dict[tuple[str, int], float] = {}
        for name, series in self._devices.items():
            device = series.observed(alive=True)
            if device is not None and name not in silent:
                found.update({(name, gpulet.gpulet): gpulet.busy for gpulet in device.gpulets})
        return found
