"""Apps among the tasks of `glet-schedule`: which they are, and which tasks for models they make."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from glet.config.app import AppConfig, resolve
from glet.config.load import load, nearest
from glet.config.zoo import zoo, zoo_apps
from glet.errors import ConfigError
from glet.plan.app_split import app_tasks, profiled, split_slo
from glet.plan.problem import DeviceType, Rules, Task
from glet.serve.repository import APP, Repository
from glet.types.app import AppSpec


class AppTask(NamedTuple):
    """An app, the rate it is asked for, and within what time each answer is due."""

    app: AppSpec
    rate_rps: float
    slo_ms: float

    @property
    def model_tasks(self) -> tuple[Task, ...]:
        """Its models, for whoever only asks which they are."""
        return tuple(
            Task(model=model, rate_rps=self.rate_rps, slo_ms=self.slo_ms)
            for model in self.app.models()
        )


def parse_app(text: str) -> AppTask:
    """`FILE=RPS` of --app: an `app.toml` in a model repository, another file over the sample
    models, or the name of a sample app. Raises ConfigError for anything else.
    """
    name, _, number = text.rpartition("=")
    try:
        rate_rps = float(number)
    except ValueError:
        rate_rps = math.nan
    if not name or not (math.isfinite(rate_rps) and rate_rps > 0.0):
        raise ConfigError(f"--app {text!r}; give FILE=RPS, as in models/game/app.toml=20")
    path = Path(name)
    if path.name == APP and path.is_file():
        path = path.resolve()
        app = Repository(path.parents[1]).app(path.parent.name)
    elif path.is_file():
        app = _over_samples(path.stem, load(path, AppConfig), str(path))
    else:
        samples = zoo_apps()
        if name not in samples:
            raise ConfigError(f"--app {text!r}: no such file or sample; {nearest(name, samples)}")
        app = _over_samples(name, samples[name], name)
    return AppTask(app, rate_rps, app.slo_ms)


def apps_among(
    tasks: Iterable[Task], models: Path | None, types: Iterable[DeviceType]
) -> tuple[list[Task], list[AppTask]]:
    """Tasks for models, and those that name an app: of the repository `models`, else a sample.

    A name that a profile of `types` has is a model's.
    """
    profiled_names = {name for device in types for name in device.profile.models()}
    repository = Repository(models) if models is not None else None
    names = set(repository.app_names() if repository else zoo_apps()) - profiled_names
    plain, apps = [], []
    for task in tasks:
        if task.model not in names:
            plain.append(task)
            continue
        if repository is not None:
            app = repository.app(task.model)
        else:
            app = _over_samples(task.model, zoo_apps()[task.model], task.model)
        apps.append(AppTask(app, task.rate_rps, task.slo_ms))
    return plain, apps


def expand(
    apps: Sequence[AppTask], types: Sequence[DeviceType], rules: Rules
) -> tuple[list[Task], list[str]]:
    """Tasks for the models of all apps, and a note per app that says how its SLO was split."""
    tasks: list[Task] = []
    notes = []
    for app, rate_rps, slo_ms in apps:
        tasks += app_tasks(app, rate_rps, types, rules, slo_ms=slo_ms)
        known = profiled(app.models(), types, rules)
        split = split_slo(app, rate_rps, known, slo_ms=slo_ms)
        stages = ", ".join(
            f"{stage.name} ({f'{stage.fan_out} x ' * (stage.fan_out > 1)}{stage.model}) "
            f"{budget_ms:.4g} ms"
            for stage, budget_ms in zip(app.stages, split.budgets_ms, strict=True)
        )
        notes.append(f"app {app.name!r}, {rate_rps:g} rps within {slo_ms:g} ms: {stages}")
    return tasks, notes


def _over_samples(name: str, config: AppConfig, where: str) -> AppSpec:
    specs = {model: entry.config().spec(model) for model, entry in zoo().items()}
    try:
        return resolve(name, config, specs)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
