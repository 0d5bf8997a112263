"""Objectives of models that apps use: what an app leaves a model may be tighter than its own."""

import math
from collections.abc import Iterable, Mapping

import msgspec

from glet.plan.app_split import profiled, split_slo
from glet.plan.problem import DeviceType, Rules
from glet.types.app import AppSpec
from glet.types.observation import Observation

MOST_APPS = 256
"""That are kept in mind, those of before included."""


class AppObjectives:
    """Splits apps' objectives by the profiles, once: a plan that changes must not move them."""

    def __init__(self, types: Iterable[DeviceType]) -> None:
        self._types = tuple({kind.name: kind for kind in types}.values())
        self._known: dict[AppSpec, dict[str, float]] = {}

    def tightened(self, observation: Observation, apps: Iterable[AppSpec]) -> Observation:
        """The same, no model's objective longer than what these apps leave it."""
        least: dict[str, float] = {}
        for app in apps:
            for model, budget_ms in self._budgets(app).items():
                least[model] = min(budget_ms, least.get(model, math.inf))
        if not least:
            return observation
        models = tuple(
            msgspec.structs.replace(
                model, slo_ms=min(model.slo_ms, least.get(model.model, math.inf))
            )
            for model in observation.models
        )
        return msgspec.structs.replace(observation, models=models)

    def _budgets(self, app: AppSpec) -> Mapping[str, float]:
        if app not in self._known:
            if len(self._known) >= MOST_APPS:
                self._known.clear()
            self._known[app] = self._split(app)
        return self._known[app]

    def _split(self, app: AppSpec) -> dict[str, float]:
        """Nothing for an app with a model that no profile knows: that is served as it is."""
        measured = profiled(app.models(), self._types, Rules())
        if any(model not in measured for model in app.models()):
            return {}
        found: dict[str, float] = {}
        split = split_slo(app, math.inf, measured)
        for stage, budget_ms in zip(app.stages, split.budgets_ms, strict=True):
            found[stage.model] = min(budget_ms, found.get(stage.model, math.inf))
        return found
