"""What a frontend shows of itself: a page for Prometheus, and the state that a dashboard draws."""

from collections.abc import Mapping
from typing import Any

import msgspec

import glet
from glet.clock import Clock
from glet.observe.busy import BusyDevices
from glet.observe.history import History
from glet.observe.metrics import Snapshot, render_metrics
from glet.serve.control_report import COUNTED
from glet.serve.frontend_report import models_body, stats_body
from glet.serve.process_usage import process_usage
from glet.serve.watched import Watched
from glet.wire.counters import FrontendCounters

LOOK_S = 1.0


class Monitor:
    """Looks once a second; call tick() every LOOK_S."""

    def __init__(self, watched: Watched, clock: Clock) -> None:
        self._watched = watched
        self._clock = clock
        self._started_s = clock.now_s()
        self._devices = BusyDevices()
        self._history = History()

    def tick(self) -> None:
        """Takes what is counted now."""
        slo_ms = self._slo_ms()
        self._devices.take(self._watched.states().values())
        self._history.add(
            [_counters(name, c, slo_ms) for name, c in self._watched.stats().items()],
            self._clock.now_s(),
        )

    def metrics(self, *, triton: bool) -> str:
        """The page for Prometheus."""
        watched = self._watched
        routing, control = watched.routing(), watched.control
        silent = watched.silent()
        serving: dict[str, bool] = {name: bool(routing.routes.get(name)) for name in routing.models}
        for name, app in routing.apps.items():
            serving[name] = all(routing.routes.get(model) for model in app.spec.models())
        return render_metrics(
            Snapshot(
                version=glet.__version__,
                role="frontend",
                process=process_usage(),
                models=watched.stats(),
                serving=serving,
                slo_ms=self._slo_ms(),
                states=watched.states(),
                silent=silent,
                busy=self._devices.ratios(silent),
                controller=control.status() if control is not None else None,
                changes=control.changed if control is not None else {},
                failed_rounds=control.failed_rounds if control is not None else 0,
                traces=watched.tracing.counts() if watched.tracing is not None else None,
            ),
            triton=triton,
        )

    def state(self, after: int = 0) -> dict[str, Any]:
        """What a dashboard draws; of the history what is later than sample `after`.

        `models` and `stats` are those of section 4 of wire/README.md, `devices` are
        DeviceObservations with the `usage` and `error` of their backend, `history` is that of
        observe/history.py.
        """
        watched = self._watched
        now_s = self._clock.now_s()
        states, silent, control = watched.states(), watched.silent(), watched.control
        return {
            "version": glet.__version__,
            "models": models_body(states, watched.routing()),
            "stats": stats_body(states, silent, watched.stats(), now_s - self._started_s),
            "devices": [
                {
                    **msgspec.to_builtins(device),
                    "product": states[device.name].device.product,
                    "usage": msgspec.to_builtins(states[device.name].usage),
                    "error": states[device.name].error,
                }
                for device in self._devices.devices(silent)
                if device.name in states
            ],
            "controller": control.status() if control is not None else None,
            "changes": control.changes() if control is not None else [],
            "history": self._history.columns(after, now_s),
        }

    def _slo_ms(self) -> dict[str, float]:
        routing = self._watched.routing()
        models = {name: spec.slo_ms for name, spec in routing.models.items()}
        return models | {name: app.spec.slo_ms for name, app in routing.apps.items()}


def _counters(
    name: str, counted: Mapping[str, Any], slo_ms: Mapping[str, float]
) -> FrontendCounters:
    return FrontendCounters(
        model=name,
        slo_ms=slo_ms.get(name, 0.0),
        latency=tuple((upper, count) for upper, count in counted["latency"]),
        **{field: counted[field] for field in COUNTED},
    )
