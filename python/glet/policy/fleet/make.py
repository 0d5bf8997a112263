"""All autoscalers by name."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from glet.config.load import nearest
from glet.errors import ConfigError
from glet.policy.fleet.additive import Additive, AdditiveSettings, AiadSettings
from glet.policy.fleet.expected import Expected, ForecastSettings, History
from glet.policy.fleet.fair_share import FairShare, FairShareSettings
from glet.policy.fleet.faro import Faro, FaroSettings
from glet.policy.fleet.mark import Mark, MarkSettings
from glet.policy.fleet.one_shot import OneShot, OneShotSettings
from glet.policy.fleet.ours import Glet, GletSettings
from glet.policy.fleet.sizing import Sizing, SizingSettings
from glet.policy.fleet.static import Static, StaticSettings
from glet.policy.fleet.threshold import Threshold, ThresholdV1Settings, ThresholdV2Settings
from glet.policy.forecast.forecaster import Forecaster
from glet.types.fleet import Autoscaler

AutoscalerSettings = (
    StaticSettings
    | FairShareSettings
    | OneShotSettings
    | AiadSettings
    | AdditiveSettings
    | MarkSettings
    | ThresholdV1Settings
    | ThresholdV2Settings
    | SizingSettings
    | FaroSettings
    | GletSettings
)
"""What a TOML file of resource/policies holds; its key `policy` says which of these it is."""

Forecasters = Mapping[str, Forecaster]

AUTOSCALERS: dict[type[msgspec.Struct], Callable[[Any, History, Forecasters], Autoscaler]] = {
    StaticSettings: lambda settings, _, __: Static(settings),
    FairShareSettings: lambda settings, _, __: FairShare(settings),
    OneShotSettings: lambda settings, _, __: OneShot(settings),
    AiadSettings: lambda settings, _, __: Additive(settings),
    AdditiveSettings: lambda settings, _, __: Additive(settings),
    MarkSettings: lambda s, days, made: Mark(s, Expected(s.forecast, days, made)),
    ThresholdV1Settings: lambda settings, _, __: Threshold(settings),
    ThresholdV2Settings: lambda settings, _, __: Threshold(settings),
    SizingSettings: lambda settings, _, __: Sizing(settings),
    FaroSettings: lambda s, days, made: Faro(s, Expected(s.forecast, days, made)),
    GletSettings: lambda s, days, made: Glet(
        s, Expected(ForecastSettings(method=s.method), days, made)
    ),
}
"""Settings -> how it is made of them. Adding an autoscaler is a line here and one in the union."""


def names() -> tuple[str, ...]:
    """Of all autoscalers, sorted: the values of `policy` in their files."""
    return tuple(sorted(str(kind.__struct_config__.tag) for kind in AUTOSCALERS))


def make_autoscaler(
    settings: AutoscalerSettings,
    history: History | None = None,
    forecasters: Forecasters | None = None,
) -> Autoscaler:
    """`history` is what forecasts are fitted to, requests per interval by model, shape (days,
    intervals); `forecasters` by model are taken instead. Those that do not forecast need neither.
    """
    return AUTOSCALERS[type(settings)](settings, history or {}, forecasters or {})


def default_settings(name: str) -> AutoscalerSettings:
    """The settings of that autoscaler as they are without a file. Raises ConfigError."""
    for kind in AUTOSCALERS:
        if kind.__struct_config__.tag == name:
            made: AutoscalerSettings = kind()  # type: ignore[assignment]
            return made
    raise ConfigError(f"no autoscaler is called {name!r}; {nearest(name, names())}")
