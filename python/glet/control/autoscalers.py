"""Autoscalers from their files."""

from pathlib import Path

from glet.config.load import load, nearest
from glet.config.resource import resource
from glet.errors import ConfigError
from glet.policy.fleet.make import AutoscalerSettings, default_settings, names


def autoscaler_files() -> dict[str, Path]:
    """The files that glet brings along, by name."""
    return {path.stem: path for path in sorted(resource("policies").glob("*.toml"))}


def chosen_autoscaler(name: str) -> AutoscalerSettings:
    """For `[control] autoscaler`: of an autoscaler by its name as it is without a file, else what
    autoscaler_settings() finds.

    Raises ConfigError.
    """
    if name in names():
        return default_settings(name)
    if name.endswith(".toml") or name in autoscaler_files():
        return autoscaler_settings(name)
    hint = nearest(name, {*names(), *autoscaler_files()})
    raise ConfigError(f"no autoscaler is called {name!r}; {hint}")


def autoscaler_settings(name: str) -> AutoscalerSettings:
    """Of a file, or of one of autoscaler_files() by its name.

    Raises ConfigError with file and field, or with the nearest name.
    """
    files = autoscaler_files()
    if name.endswith(".toml"):
        return load(Path(name), AutoscalerSettings)  # type: ignore[arg-type]
    if name not in files:
        raise ConfigError(f"no autoscaler is called {name!r}; {nearest(name, files)}")
    return load(files[name], AutoscalerSettings)  # type: ignore[arg-type]
