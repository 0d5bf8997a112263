"""What a frontend reports to the controller, out of its counters and its backends' states."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from glet.serve.app_routing import RoutedApp
from glet.types.model import ModelSpec
from glet.types.observation import StageObservation
from glet.wire.counters import AppCounters, FrontendCounters
from glet.wire.messages import BackendState

COUNTED = ("received", "ok", "good", "late", "full", "failed", "unavailable", "invalid",
           "cancelled", "outstanding")  # fmt: skip


def counters(
    stats: Mapping[str, Mapping[str, Any]],
    specs: Mapping[str, ModelSpec],
    withdrawn: Collection[str] = (),
) -> tuple[FrontendCounters, ...]:
    """`stats` of core.FrontendLoop for the models that are known; a removed one has no SLO.

    Those that are withdrawn are not to be planned, and left out.
    """
    return tuple(
        _counted(name, counted, specs[name].slo_ms, specs[name].max_batch)
        for name, counted in stats.items()
        if name in specs and name not in withdrawn
    )


def app_counters(
    stats: Mapping[str, Mapping[str, Any]], apps: Mapping[str, RoutedApp]
) -> tuple[AppCounters, ...]:
    """The same for apps that are served."""
    return tuple(
        AppCounters(
            counted=_counted(name, stats[name], app.spec.slo_ms),
            stages=tuple(
                StageObservation(
                    stage=stage.name,
                    model=stage.model,
                    requests=stage.fan_out,
                    budget_ms=budget_ms,
                )
                for stage, budget_ms in zip(app.spec.stages, app.budgets_ms, strict=True)
            ),
        )
        for name, app in sorted(apps.items())
        if name in stats
    )


def _counted(
    name: str, counted: Mapping[str, Any], slo_ms: float, max_batch: int = 0
) -> FrontendCounters:
    return FrontendCounters(
        model=name,
        slo_ms=slo_ms,
        max_batch=max_batch,
        latency=tuple((upper, count) for upper, count in counted["latency"]),
        **{field: counted[field] for field in COUNTED},
    )


def bare(states: Iterable[BackendState]) -> tuple[BackendState, ...]:
    """States without their repositories, see FrontendReport."""
    return tuple(msgspec.structs.replace(state, models=()) for state in states)
