"""When a device may end what a new plan does not want any more. Decides; does not act.

Made comes before broken, model by model. What the last whole plan served goes only once the new one
is there as a whole, so that a step that fails leaves it serving.
"""

from collections.abc import Mapping, Sequence, Set
from functools import cache
from typing import NamedTuple

from glet.plan.layout import PlacedGpulet
from glet.serve.hosted import HostedGpulet, Room, failure, retire, unready
from glet.serve.next_steps import missing_steps


class Part(NamedTuple):
    """One executor's part of a device. `is_idle`: it runs, and no step is on its way."""

    hosted: dict[int, HostedGpulet]
    wanted: tuple[PlacedGpulet, ...]
    is_idle: bool


def why_not_whole(parts: Sequence[Part]) -> str:
    """Why a step towards the plan failed, in one line, or ''."""
    errors = (failure(part.hosted, part.wanted) for part in parts)
    return next((error for error in errors if error), "")


def is_whole(parts: Sequence[Part], room: Room) -> bool:
    """Whether the plan is there, but for gpulets that have to become smaller.

    Without the models of which it was known before that they cannot be loaded.
    """
    return (
        all(part.is_idle or not part.wanted for part in parts)
        and not why_not_whole(parts)
        and not room.awaits()
        and all(_has_all(part, room) for part in parts)
        and not _stuck(parts, room)
    )


def retire_surplus(
    parts: Sequence[Part],
    room: Room,
    seq: int,
    keep: Set[str],
    whole: Mapping[int, Set[str]],
    *,
    is_made: bool,
) -> bool:
    """Has what is not wanted any more drain since state `seq`; whether anything changed.

    A model stays where it is until it is ready everywhere it should be, while it is in `keep`, and,
    where the last whole plan had it (`whole`: models by gpulet), until the new one is whole, as
    `is_made` says. Only where a model finds no memory, what is in its way goes first.
    """
    # Mostly nothing is surplus, and nobody asks.
    waiting = cache(lambda: set().union(*(unready(part.hosted, part.wanted) for part in parts)))
    stuck = cache(lambda: _stuck(parts, room))

    def stays(gpulet: int, model: str) -> bool:
        if stuck():
            return model in waiting() - stuck()
        if model in waiting() or model in keep:
            return True
        return not is_made and model in whole.get(gpulet, ())

    changed = [retire(part.hosted, part.wanted, seq, stays) for part in parts]
    return any(changed)


def _has_all(part: Part, room: Room) -> bool:
    return next(missing_steps(part.hosted, part.wanted, room, 0), None) is None


def _stuck(parts: Sequence[Part], room: Room) -> set[str]:
    """Models for which there is no memory as long as others are there."""
    return {
        model.source.name
        for part in parts
        for placed in part.wanted
        if (gpulet := part.hosted.get(placed.number)) is not None
        if any(share.model not in gpulet.models for share in placed.models)
        for model in room.wanted_models(gpulet.placed_with(placed.models))
        if model.source.name not in gpulet.models
        and not room.fits(placed.number, model.source.name)
    }
