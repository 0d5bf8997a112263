"""Models that move between devices: the old one serves until the new one can. Decides only."""

from collections.abc import Mapping

from glet.types.plan import Plan
from glet.wire.messages import BackendState


def still_needed(plan: Plan, device: int, states: Mapping[int, BackendState]) -> tuple[str, ...]:
    """Models that a device has to serve on although the plan has them only elsewhere, sorted.

    Those that are not ready yet on every device where the plan has them. `states` are the last
    ones of the backends by device, without those that are silent.
    """
    mine = {share.model for gpulet in plan.on_device(device) for share in gpulet.models}
    elsewhere: dict[int, set[str]] = {}
    for gpulet in plan.gpulets:
        names = {share.model for share in gpulet.models} - mine
        if names:
            elsewhere.setdefault(gpulet.device, set()).update(names)
    if not elsewhere:
        return ()
    waiting = set().union(*(names - _ready(states.get(d)) for d, names in elsewhere.items()))
    return tuple(sorted(waiting & _ready(states.get(device))))


def _ready(state: BackendState | None) -> set[str]:
    if state is None:
        return set()
    return {
        model.name
        for gpulet in state.gpulets
        if gpulet.state == "ready"
        for model in gpulet.models
        if model.state == "ready"
    }
