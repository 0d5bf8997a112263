"""What the controller tells frontends: parts of the unions in messages.py."""

from typing import Annotated

import msgspec
from msgspec import Meta

from glet.types.plan import Plan
from glet.wire.message import Message


class NewPlan(Message, frozen=True, kw_only=True):
    """What all devices shall look like, by round `round` of the controller. Absolute."""

    round: int
    plan: Plan


class SetAccept(Message, frozen=True, kw_only=True):
    """Which part of the requests of each model frontends let in, 0..1; of others all. Absolute."""

    parts: dict[str, Annotated[float, Meta(ge=0.0, le=1.0)]] = msgspec.field(default_factory=dict)


class RoundDone(Message, frozen=True, kw_only=True):
    """A control round ended: its record, for whoever watches. `record` is a JSON object."""

    round: int
    record: bytes


class Observed(Message, frozen=True, kw_only=True):
    """Once a second: the controller lives, and this is what it sees, by its policy `mode`.

    `observation` is a JSON object, empty before there is any.
    """

    mode: str
    observation: bytes = b""
