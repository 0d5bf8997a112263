"""All planners by name."""

from glet.config.load import nearest
from glet.errors import ConfigError
from glet.plan.edf import EdfPlanner
from glet.plan.elastic import ElasticPlanner
from glet.plan.exhaustive import ExhaustivePlanner
from glet.plan.glet import GletPlanner
from glet.plan.problem import Planner
from glet.plan.selftuning import SelftuningPlanner
from glet.plan.timeshare import TimesharePlanner

PLANNERS: dict[str, type[Planner]] = {
    "glet": GletPlanner,
    "timeshare": TimesharePlanner,
    "edf": EdfPlanner,
    "elastic": ElasticPlanner,
    "selftuning": SelftuningPlanner,
    "exhaustive": ExhaustivePlanner,
}
"""Name -> class; each can be made without arguments. Adding a planner is a line here."""


def make_planner(name: str, *, effort: float = 1.0) -> Planner:
    """`effort` is how much longer than usual `glet` searches; the others do not search.

    Raises ConfigError for a name that is none of PLANNERS.
    """
    if name not in PLANNERS:
        raise ConfigError(f"no planner is called {name!r}; {nearest(name, PLANNERS)}")
    made = PLANNERS[name]
    return made(effort=effort) if issubclass(made, GletPlanner) else made()
