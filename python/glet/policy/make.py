"""All policies by name."""

from collections.abc import Callable

from glet.config.cluster import ControlConfig
from glet.config.load import nearest
from glet.errors import ConfigError
from glet.policy.follow import FollowPolicy, FollowSettings
from glet.policy.policy import Policy
from glet.policy.published import PublishedPolicy, PublishedSettings
from glet.policy.static import StaticPolicy

POLICIES: dict[str, Callable[[ControlConfig], Policy]] = {
    "static": lambda _: StaticPolicy(),
    "follow": lambda config: FollowPolicy(follow_settings(config)),
    "published": lambda config: PublishedPolicy(PublishedSettings(min_rps=config.min_rps)),
}
"""Name -> how it is made of [control]. Adding a policy is a line here."""


def make_policy(name: str, config: ControlConfig) -> Policy:
    """Raises ConfigError for a name that is none of POLICIES."""
    if name not in POLICIES:
        raise ConfigError(f"no policy is called {name!r}; {nearest(name, POLICIES)}")
    return POLICIES[name](config)


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
