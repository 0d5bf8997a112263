"""The root of all messages of the control plane; see messages.py."""

import re

import msgspec


def _op(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag=_op):
    """Root of all messages. Unknown keys are ignored: a newer peer may say more."""
