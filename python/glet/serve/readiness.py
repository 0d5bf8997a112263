"""When a frontend is ready, for health checks; and when all of its plan serves, for `glet up`."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from glet.serve.status import Event
from glet.types.plan import Plan
from glet.wire.messages import BackendState


class Readiness:
    """Ready from the first time on that each planned model serves somewhere or has failed.

    After that a model that is loaded, or that lost all its gpulets, is that model's matter; only
    when none of the planned models can be reached any more, the frontend is of no use.
    """

    def __init__(self, loop: Any) -> None:
        """`loop` is a core.FrontendLoop: its doors say what update() finds."""
        self._loop = loop
        self._has_started = False
        self.is_ready = False
        loop.set_ready(False)

    def update(
        self,
        plan: Plan | None,
        withdrawn: Collection[str],
        states: Mapping[str, BackendState],
        routes: Mapping[str, Collection[Any]],
    ) -> None:
        """`states` of backends by name, `routes` of models that can be reached."""
        if plan is None:
            return
        planned = set(plan.models()) - set(withdrawn)
        serving = {name for name in planned if routes.get(name)}
        if not self._has_started:
            self._has_started = planned <= serving | failed(states)
        is_ready = self._has_started and (bool(serving) or not planned)
        if is_ready != self.is_ready:
            self.is_ready = is_ready
            self._loop.set_ready(is_ready)


def serves_whole(plan: Plan, routes: Mapping[str, Collection[Any]]) -> bool:
    """Whether each model can be reached on as many gpulets as the plan has for it."""
    gpulets = Counter(share.model for gpulet in plan.gpulets for share in gpulet.models)
    return all(len(routes.get(name, ())) >= count for name, count in gpulets.items())


def serving(models: int, endpoint: str, doors: Mapping[str, str], *, emulated: bool) -> Event:
    """What is told to who started the frontend."""
    return Event(
        event="serving",
        message=f"serving {models} {'emulated ' * emulated}model{'s' * (models != 1)} at {endpoint}"
        + "".join(f", {name} at {at}" for name, at in doors.items()),
        endpoint=endpoint,
        doors=dict(doors),
        models=models,
    )


def failed(states: Mapping[str, BackendState]) -> set[str]:
    """Models that a backend has said cannot be loaded."""
    named = {m.name for s in states.values() for m in s.models if m.state == "failed"}
    return named | {
        model.name
        for state in states.values()
        for gpulet in state.gpulets
        for model in gpulet.models
        if model.state == "failed" or (gpulet.error and model.state != "ready")
    }
