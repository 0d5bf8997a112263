"""What a backend tells its executors of borrowed shares; one of their channel's messages."""

import msgspec

from glet.wire.message import Message


class Loan(msgspec.Struct, frozen=True, kw_only=True):
    """A gpulet whose share may be borrowed. `latency_ms`: of models, by number, on both shares."""

    lender: int
    latency_ms: dict[int, tuple[tuple[int, float], ...]] = {}


class SetLoans(Message, frozen=True, kw_only=True):
    """The gpulet may run a batch on its own share and one of these, in place of those before.

    A resize of either gpulet ends a loan.
    """

    step: int
    gpulet: int
    loans: tuple[Loan, ...] = ()
