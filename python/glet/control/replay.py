"""Rounds of a record held again: the same decisions, or what others would have been."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from glet.control.loop import ControlLoop
from glet.control.round import Round

DECIDED = (
    "trigger",
    "targets",
    "plan",
    "steps",
    "why",
    "unmet",
    "unplanned",
    "corrections",
    "errors",
    "failed",
    "number",
    "device_s",
)
"""What a replay has to give again; times are measured, and all else follows from these."""


class Pair(NamedTuple):
    """A recorded round and the one of the replay, None where none was due."""

    recorded: Round
    replayed: Round | None


class Summary(NamedTuple):
    """What rounds amount to. `unmet_part` is each model's part unmet, over models and rounds."""

    rounds: int
    changes: int
    moves: int
    device_s: float
    unmet_part: float
    failed: int


def replay(rounds: Iterable[Round], loop: ControlLoop) -> list[Pair]:
    """Hands the recorded observations to another loop, in order.

    They show the devices as they were under the recorded plans, whatever the loop decides.
    """
    return [Pair(one, loop.on_observation(one.observation)) for one in rounds]


def first_difference(pairs: Iterable[Pair]) -> str | None:
    """The first decision that is not as recorded, in one line; None when all are."""
    for recorded, replayed in pairs:
        where = f"round {recorded.number} at {recorded.now_s:.3f} s"
        if replayed is None:
            return f"{where}: was held by {recorded.trigger!r}; in the replay none was due"
        for field in DECIDED:
            before, now = getattr(recorded, field), getattr(replayed, field)
            if before != now:
                return f"{where}: {field} was {_short(before, now)}"
    return None


def summary(rounds: Sequence[Round]) -> Summary:
    """Of one run. Devices are counted as the plans use them, each until the next round."""
    device_s = unmet_part = 0.0
    for at, one in enumerate(rounds):
        until_s = rounds[at + 1].now_s if at + 1 < len(rounds) else one.now_s
        device_s += one.wanted * (until_s - one.now_s)
        parts = [
            min(1.0, one.unmet.get(target.model, 0.0) / target.rate_rps)
            for target in one.targets
            if target.rate_rps > 0.0
        ]
        unmet_part += sum(parts) / max(1, len(parts))
    return Summary(
        rounds=len(rounds),
        changes=sum(one.plan is not None for one in rounds),
        moves=sum(one.moves for one in rounds),
        device_s=device_s,
        unmet_part=unmet_part / max(1, len(rounds)),
        failed=sum(bool(one.errors) for one in rounds),
    )


def _short(before: Any, now: Any) -> str:
    """Where two values part, in a few words."""
    if isinstance(before, tuple) and isinstance(now, tuple):
        if len(before) != len(now):
            return f"{len(before)} long, is {len(now)} long in the replay"
        at = next(i for i, (a, b) in enumerate(zip(before, now, strict=True)) if a != b)
        return f"{before[at]} at {at}, is {now[at]} in the replay"
    return f"{_cut(before)}, is {_cut(now)} in the replay"


def _cut(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
