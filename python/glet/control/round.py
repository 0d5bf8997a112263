"""What a control round saw, wanted and decided: the line of a record."""

import msgspec

from glet.plan.diff import PlanStep
from glet.policy.policy import Target
from glet.profiles.correction import Correction
from glet.types.observation import Observation
from glet.types.plan import Plan


class Round(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="round"):
    """One turn of the control loop.

    `trigger` is why it was held, `why` what became of it, a few words each. `plan` is what shall
    serve from now on, None: as before; `steps` lead there, `moves` of them load a model anew.
    `wanted` are how many devices the plan in force uses, `in_use` those that host anything now,
    `device_s` how long devices were in use since the loop began, in all, and `cost` is that times
    the price. `unmet` in requests/s is of the targets. `unplanned` are models that no profile lets
    plan: they are served as they were. `corrections` are what latencies are planned with. With
    `errors` the round failed and the plan is the last; `failed` counts such rounds. `times_ms` are
    what its parts took, and not part of the decision.
    """

    number: int
    now_s: float
    trigger: str
    observation: Observation
    targets: tuple[Target, ...] = ()
    why: str = ""
    plan: Plan | None = None
    steps: tuple[PlanStep, ...] = ()
    moves: int = 0
    wanted: int = 0
    in_use: int = 0
    device_s: float = 0.0
    cost: float = 0.0
    unmet: dict[str, float] = {}
    unplanned: tuple[str, ...] = ()
    corrections: tuple[Correction, ...] = ()
    errors: tuple[str, ...] = ()
    failed: int = 0
    times_ms: dict[str, float] = {}
