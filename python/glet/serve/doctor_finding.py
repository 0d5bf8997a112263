"""The words of `glet doctor`: what a check is, and what it found."""

from typing import Any, Literal

import msgspec

State = Literal["ok", "warning", "failed", "skipped"]
Group = Literal["software", "machine", "serving", "gpu"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to look at: `where` is `module:function`, a function (Wish) -> Finding.

    It is skipped when one of `needs` failed or was skipped, when `part_of` was skipped (it is made
    when that failed, which it may explain), and a `slow` one on a quick run.
    """

    name: str
    group: Group
    where: str
    limit_s: float = 10.0
    needs: tuple[str, ...] = ()
    part_of: str = ""
    slow: bool = False


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for; `models` is the folder of a model repository, or empty."""

    models: str = ""
    quick: bool = False


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found: `says` is one sentence, `do` what to do about it, or empty.

    `facts` are the numbers behind the sentence, fit for JSON. `check` is set by who ran it.
    """

    check: str = ""
    state: State
    says: str
    do: str = ""
    facts: dict[str, Any] = {}


def found(state: State, says: str, facts: msgspec.Struct | None = None, do: str = "") -> Finding:
    """A finding whose facts are the fields of a struct."""
    numbers = {} if facts is None else msgspec.to_builtins(facts)
    return Finding(state=state, says=says, do=do, facts=numbers)
