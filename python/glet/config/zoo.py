"""The sample models of `resource/models/zoo.toml`, and the apps of `resource/apps/`."""

from typing import Annotated, Literal

import msgspec

from glet.config.app import AppConfig
from glet.config.load import load, nearest
from glet.config.model import ModelConfig
from glet.config.resource import resource
from glet.errors import ConfigError
from glet.types.model import TensorSpec


class ZooModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One sample: where its definition is, and what its `model.toml` will say."""

    file: str
    builder: str
    description: str
    slo_ms: float
    max_batch: Annotated[int, msgspec.Meta(ge=1)]
    input: tuple[TensorSpec, ...]
    output: tuple[TensorSpec, ...]
    integers_below: Annotated[int, msgspec.Meta(ge=1)] = 2
    dataset: Literal["", "digits"] = ""

    def config(self, samples: str = "") -> ModelConfig:
        """The `model.toml` of the exported entry."""
        return ModelConfig(
            slo_ms=self.slo_ms,
            max_batch=self.max_batch,
            input=self.input,
            output=self.output,
            description=self.description,
            samples=samples,
        )


def zoo() -> dict[str, ZooModel]:
    """All samples by name."""
    return load(resource("models", "zoo.toml"), dict[str, ZooModel])


def zoo_model(name: str) -> ZooModel:
    """The sample of that name. Raises ConfigError that gives the nearest name."""
    models = zoo()
    if name not in models:
        raise ConfigError(f"no sample model is called {name!r}; {nearest(name, models)}")
    return models[name]


def zoo_apps() -> dict[str, AppConfig]:
    """All sample apps by name."""
    files = sorted(resource("apps").glob("*.toml"))
    return {file.stem: load(file, AppConfig) for file in files}


def zoo_app(name: str) -> AppConfig:
    """The sample app of that name. Raises ConfigError that gives the nearest name."""
    apps = zoo_apps()
    if name not in apps:
        raise ConfigError(f"no sample app is called {name!r}; {nearest(name, apps)}")
    return apps[name]
