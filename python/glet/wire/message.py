"""The root of all messages of the control plane; see messages.py."""

import re
from typing import Annotated

import msgspec
from msgspec import Meta

Number = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""Of a thing, as the core keeps it: 32 bits."""
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
NotNegative = Annotated[float, Meta(ge=0.0, le=1e18)]
"""Neither endless nor NaN: sums and differences of such are numbers."""


def _op(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag=_op):
    """Root of all messages. Unknown keys are ignored: a newer peer may say more."""
