"""All planners by name."""

from glet.config.load import nearest
from glet.errors import ConfigError
from glet.plan.problem import Planner

PLANNERS: dict[str, type[Planner]] = {}
"""Name -> class; each can be made without arguments. Adding a planner is a line here."""


def make_planner(name: str) -> Planner:
    """Raises ConfigError for a name that is none of PLANNERS."""
    if name not in PLANNERS:
        raise ConfigError(f"no planner is called {name!r}; {nearest(name, PLANNERS)}")
    return PLANNERS[name]()
