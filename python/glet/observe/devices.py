"""What backends say of their devices, out of the reports of all frontends."""

from collections import deque
from collections.abc import Iterable

from glet.types.observation import DeviceObservation, GpuletObservation, TenantObservation
from glet.wire.counters import ModelCounters
from glet.wire.messages import BackendState, GpuletState, LoadedModel

MS_PER_S = 1000.0
Key = tuple[int, int, int, int]
"""(executor, its generation, gpulet, model): one life of a model on a gpulet."""


class TenantSeries:
    """What a gpulet counted for a model, over the last span of its executor's clock."""

    def __init__(self) -> None:
        self._points: deque[ModelCounters] = deque()

    def add(self, counters: ModelCounters, span_s: float) -> None:
        """Later counters; the same again are nothing new."""
        points = self._points
        if points and counters.at_s <= points[-1].at_s:
            return
        if points and (counters.ok < points[-1].ok or counters.batches < points[-1].batches):
            points.clear()
        points.append(counters)
        while len(points) > 2 and points[1].at_s <= counters.at_s - span_s:
            points.popleft()

    def observed(self, model: LoadedModel) -> TenantObservation:
        """The model as it is now."""
        said = TenantObservation(
            model=model.name,
            state=model.state,
            batch=model.batch,
            latency_ms=model.latency_ms,
            error=model.error,
        )
        if not self._points:
            return said
        first, last = self._points[0], self._points[-1]
        took_s = last.at_s - first.at_s
        batches = last.batches - first.batches
        busy = (last.busy_ms - first.busy_ms) / MS_PER_S / took_s if took_s > 0.0 else 0.0
        return TenantObservation(
            model=said.model,
            state=said.state,
            batch=said.batch,
            served_rps=(last.ok - first.ok) / took_s if took_s > 0.0 else 0.0,
            mean_batch=(last.items - first.items) / batches if batches else 0.0,
            waiting=last.waiting,
            busy=min(1.0, max(0.0, busy)),
            correction=last.correction,
            latency_ms=said.latency_ms,
            error=said.error,
        )


class DeviceSeries:
    """One backend, through all of its lives. The newest state counts, whoever brought it."""

    def __init__(self) -> None:
        self._lives: set[str] = set()
        self._tenants: dict[Key, TenantSeries] = {}
        self.state: BackendState | None = None

    def take(self, state: BackendState, span_s: float) -> None:
        """Ignores what is older than what is known."""
        known = self.state
        if known is not None:
            if state.incarnation == known.incarnation:
                if state.seq <= known.seq:
                    return
            elif state.incarnation in self._lives:
                return
            else:
                self._tenants = {}
        self._lives.add(state.incarnation)
        self.state = state
        self._count(state, span_s)

    def observed(self, *, alive: bool) -> DeviceObservation | None:
        """None before its first state."""
        state = self.state
        if state is None:
            return None
        device = state.device
        return DeviceObservation(
            device=state.number,
            name=state.name,
            type=device.type,
            kind=device.kind,
            alive=alive,
            emulated=device.emulated,
            granularity_pct=device.granularity_pct,
            bad_units=device.bad_units,
            memory_mb=device.memory_mb,
            gpulets=tuple(self._gpulet(gpulet, state) for gpulet in state.gpulets),
        )

    def _count(self, state: BackendState, span_s: float) -> None:
        counted = {(c.gpulet, c.model): c for c in state.counters}
        tenants: dict[Key, TenantSeries] = {}
        for gpulet in state.gpulets:
            for model in gpulet.models:
                counters = counted.get((gpulet.gpulet, model.model))
                key = _key(gpulet, model, state)
                series = self._tenants.get(key) or TenantSeries()
                if counters is not None:
                    series.add(counters, span_s)
                tenants[key] = series
        self._tenants = tenants

    def _gpulet(self, gpulet: GpuletState, state: BackendState) -> GpuletObservation:
        models = tuple(
            self._tenants[_key(gpulet, model, state)].observed(model) for model in gpulet.models
        )
        return GpuletObservation(
            gpulet=gpulet.gpulet,
            share_pct=gpulet.share_pct,
            given_pct=gpulet.given_pct,
            state=gpulet.state,
            busy=min(1.0, sum(model.busy for model in models)),
            models=models,
            error=gpulet.error,
        )


def _key(gpulet: GpuletState, model: LoadedModel, state: BackendState) -> Key:
    return (gpulet.executor, _generation(gpulet.executor, state), gpulet.gpulet, model.model)


def _generation(executor: int, state: BackendState) -> int:
    found: Iterable[int] = (e.generation for e in state.executors if e.executor == executor)
    return next(iter(found), 0)
