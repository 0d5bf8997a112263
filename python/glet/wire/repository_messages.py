"""What frontends tell backends of their repositories: parts of the unions in messages.py."""

from glet.wire.message import Message


class OfferModel(Message, frozen=True, kw_only=True):
    """The model or app may be served: its entry is read again. Answered by ModelRead.

    `slo_ms` and `max_batch` hold in place of the entry's own, until it is offered again.
    """

    request: int
    name: str
    slo_ms: float | None = None
    max_batch: int | None = None


class WithdrawModel(Message, frozen=True, kw_only=True):
    """The model or app is not to be served until it is offered again. Answered by ModelRead.

    `reason` is kept for whoever asks; empty: it was wanted.
    """

    request: int
    name: str
    reason: str = ""


class ModelRead(Message, frozen=True, kw_only=True):
    """Answer to OfferModel and WithdrawModel, after a state that shows what became of it.

    `error` says why the entry cannot be served, `is_missing` that there is none; all is as it was
    then. `is_stale`: what executors have of it is not what its entry is now; it has to be withdrawn
    and offered again.
    """

    request: int
    name: str
    error: str = ""
    is_missing: bool = False
    is_stale: bool = False
