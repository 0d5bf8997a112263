"""Apps out of what backends report: which are served, and how their objectives are split."""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from glet.plan.app_split import Measured, split_slo
from glet.serve.model_loader import native_signature, native_tensor
from glet.types.app import AppSpec, Source
from glet.types.model import ModelSpec
from glet.wire.messages import BackendState

MeasuredModels = tuple[tuple[str, tuple[Measured, ...]], ...]


class RoutedApp(msgspec.Struct, frozen=True, kw_only=True):
    """An app and the budgets of its stages in ms, in their order."""

    spec: AppSpec
    budgets_ms: tuple[float, ...]


def app_routing(
    states: Mapping[str, BackendState], models: Mapping[str, ModelSpec]
) -> dict[str, RoutedApp]:
    """Pure: the apps that these states of backends (by name) have, over the models as they are.

    Of two backends with different ideas of an app, the first by name is right. An app whose name a
    model has, or whose models look different from what it was made for, is not served.
    """
    specs: dict[str, AppSpec] = {}
    for _, state in sorted(states.items()):
        for app in state.apps:
            if app.spec is not None and not app.unloaded:
                specs.setdefault(app.name, app.spec)
    measured = _measured(states) if specs else {}
    return {
        name: RoutedApp(spec=spec, budgets_ms=_budgets(spec, _of(spec, measured)))
        for name, spec in specs.items()
        if name not in models and all(_fits(spec, model, models) for model in spec.models())
    }


def tightest_ms(apps: Mapping[str, RoutedApp]) -> dict[str, float]:
    """The least budget that an app has for each model, by model."""
    found: dict[str, float] = {}
    for app in apps.values():
        for stage, budget_ms in zip(app.spec.stages, app.budgets_ms, strict=True):
            found[stage.model] = min(budget_ms, found.get(stage.model, math.inf))
    return found


def _of(app: AppSpec, measured: Mapping[str, list[Measured]]) -> MeasuredModels:
    return tuple((name, tuple(sorted(measured.get(name, ())))) for name in app.models())


# Asked several times a second, and what was measured at load stays.
@lru_cache(maxsize=256)
def _budgets(app: AppSpec, measured: MeasuredModels) -> tuple[float, ...]:
    return split_slo(app, math.inf, dict(measured)).budgets_ms


def _fits(app: AppSpec, model: str, models: Mapping[str, ModelSpec]) -> bool:
    if model not in models:
        return False
    signature = models[model].signature
    names = tuple(spec.name for spec in signature.inputs)
    return all(
        stage.outputs == signature.outputs and tuple(each.name for each in stage.inputs) == names
        for stage in app.stages
        if stage.model == model
    )


def _measured(states: Mapping[str, BackendState]) -> dict[str, list[Measured]]:
    """Latencies of every model on the gpulets that have it, up to the batch it may run there."""
    found: dict[str, list[Measured]] = {}
    for state in states.values():
        for gpulet in state.gpulets:
            for model in gpulet.models:
                found.setdefault(model.name, []).extend(
                    Measured(gpulet.share_pct, batch, latency_ms)
                    for batch, latency_ms in model.latency_ms
                    if batch <= model.batch
                )
    return {name: points for name, points in found.items() if points}


def set_app(loop: Any, app: RoutedApp) -> None:
    """Tells a core.FrontendLoop."""
    spec = app.spec
    values = [Source(tensor=each.name) for each in spec.signature.inputs]
    rows = []
    for stage, budget_ms in zip(spec.stages, app.budgets_ms, strict=True):
        inputs = [(values.index(each.source), each.split) for each in stage.inputs]
        outputs = [native_tensor(each) for each in stage.outputs]
        rows.append((stage.name, stage.model, stage.each, budget_ms, inputs, outputs))
        values += [Source(stage=stage.name, tensor=each.name) for each in stage.outputs]
    outputs = [values.index(source) for source in spec.outputs]
    loop.set_app(spec.name, native_signature(spec.signature), spec.slo_ms, rows, outputs)
