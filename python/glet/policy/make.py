"""All policies by name."""

from collections.abc import Callable, Mapping

from glet.config.cluster import ControlConfig
from glet.config.load import nearest
from glet.errors import ConfigError
from glet.policy.fleet.guard import Guard, GuardSettings
from glet.policy.fleet.make import AutoscalerSettings, default_settings, make_autoscaler
from glet.policy.fleet.sizing import Sizing, SizingSettings
from glet.policy.fleet_policy import FleetPolicy, FleetPolicySettings, batches_of
from glet.policy.follow import FollowPolicy, FollowSettings
from glet.policy.policy import Policy
from glet.policy.published import PublishedPolicy, PublishedSettings
from glet.policy.static import StaticPolicy
from glet.profiles.device_profile import DeviceProfile

Profiles = Mapping[int, DeviceProfile]
"""By device number."""

# Planners take latencies for this much longer than profiled (plan/problem.py, Rules).
PLANNED_RATIO = 1.1

Make = Callable[[ControlConfig, Profiles, AutoscalerSettings | None], Policy]
POLICIES: dict[str, Make] = {
    "static": lambda *_: StaticPolicy(),
    "follow": lambda config, *_: FollowPolicy(follow_settings(config)),
    "published": lambda config, *_: PublishedPolicy(PublishedSettings(min_rps=config.min_rps)),
    "fleet": lambda config, profiles, autoscaler: _fleet(config, profiles, autoscaler),
}
"""Name -> how it is made of [control], profiles and an autoscaler's settings.

Adding a policy is a line here.
"""


def make_policy(
    name: str,
    config: ControlConfig,
    profiles: Profiles | None = None,
    autoscaler: AutoscalerSettings | None = None,
) -> Policy:
    """Of `fleet`, `autoscaler` are the settings; None: as the one of that name has them.

    Raises ConfigError for a name that is none of POLICIES.
    """
    if name not in POLICIES:
        raise ConfigError(f"no policy is called {name!r}; {nearest(name, POLICIES)}")
    return POLICIES[name](config, profiles or {}, autoscaler)


def _fleet(
    config: ControlConfig, profiles: Profiles, autoscaler: AutoscalerSettings | None
) -> FleetPolicy:
    """What fails, or asks for more than exists, is replaced by the plain sizing rule."""
    chosen = make_autoscaler(autoscaler or default_settings(config.autoscaler))
    guarded = Guard(chosen, GuardSettings(), Sizing(SizingSettings(interval_s=chosen.interval_s)))
    first: dict[str, DeviceProfile] = {}
    for number in sorted(profiles):
        for model in profiles[number].models():
            first.setdefault(model, profiles[number])
    batches = {
        model: batches_of(profile.model(model), config.unit_pct, len(profiles), PLANNED_RATIO)
        for model, profile in first.items()
    }
    settings = FleetPolicySettings(step_pct=config.unit_pct, min_rps=config.min_rps)
    return FleetPolicy(guarded, settings, batches)


def follow_settings(config: ControlConfig) -> FollowSettings:
    """The part of [control] that `follow` goes by."""
    return FollowSettings(
        quantile=config.headroom_quantile,
        window_s=config.headroom_window_s,
        mean_s=config.mean_s,
        grow_step=config.grow_step,
        shrink_step=config.shrink_step,
        shrink_after_s=config.shrink_after_s,
        min_rps=config.min_rps,
    )
