"""Policy `published`: what the published gpulet prototype plans for, for comparison."""

import msgspec

from glet.policy.policy import Target, Targets
from glet.types.observation import Observation


class PublishedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A rate is planned `factor` times as high, `low_factor` times below `low_rps`.

    Rates are looked at again when one grew by `grow_step` (a part) or `grow_rps`, or fell by
    `shrink_step`.
    """

    factor: float = 1.2
    low_factor: float = 1.5
    low_rps: float = 125.0
    grow_step: float = 0.05
    grow_rps: float = 10.0
    shrink_step: float = 0.1
    min_rps: float = 1.0


class PublishedPolicy:
    """The recent maximum of the moving average, times a factor (Choi et al., ATC 2022, prototype).

    With `mean_s` and `peak_s` of [control] at 20 s, `epoch_s` 20, `reorganise_s` 10 and without
    triggers it has the published cadence.
    """

    name = "published"
    plans = True

    def __init__(self, settings: PublishedSettings) -> None:
        self._settings = settings
        self._rates: dict[str, float] = {}

    def targets(self, observation: Observation) -> Targets:
        rates: dict[str, float] = {}
        found = []
        for model in sorted(observation.models, key=lambda model: model.model):
            rate_rps = self._next(self._rates.get(model.model), model.peak_rps)
            rates[model.model] = rate_rps
            found.append(
                Target(model=model.model, rate_rps=self._padded(rate_rps), slo_ms=model.slo_ms)
            )
        self._rates = rates
        return tuple(found)

    def _next(self, before_rps: float | None, now_rps: float) -> float:
        settings = self._settings
        if before_rps is None:
            return now_rps
        grown = now_rps > before_rps * (1.0 + settings.grow_step)
        grown = grown or now_rps > before_rps + settings.grow_rps
        fallen = now_rps < before_rps * (1.0 - settings.shrink_step)
        return now_rps if grown or fallen else before_rps

    def _padded(self, rate_rps: float) -> float:
        settings = self._settings
        factor = settings.low_factor if rate_rps < settings.low_rps else settings.factor
        return max(settings.min_rps, rate_rps * factor)
