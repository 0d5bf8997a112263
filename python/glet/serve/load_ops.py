"""The ops `load` and `unload` of the wire (wire/README.md, section 1)."""

from collections.abc import Callable
from typing import Any

import msgspec

from glet.errors import InvalidInputError, RequestError
from glet.serve.loading import Loading, checked_override

OPS = ("load", "unload")

Answer = Callable[[dict[str, Any]], None]


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the header beside `op` and `id`."""

    model: str
    slo_ms: float | None = None
    max_batch: int | None = None
    dependents: bool = False


def change(loading: Loading, op: str, header: bytes, answer: Answer) -> None:
    """Begins a load or an unload; `answer` gets the answer without `id`, once, now or later.

    `header` is the message's, in msgpack.
    """

    def done(error: RequestError | None) -> None:
        if error is None:
            answer({"op": op, "body": {"model": asked.model}})
        else:
            answer(_error(error))

    try:
        asked = msgspec.msgpack.decode(header, type=Header)
        if op == "load":
            loading.load(asked.model, checked_override(asked.slo_ms, asked.max_batch), done)
        else:
            loading.unload(asked.model, done, dependents=asked.dependents)
    except msgspec.DecodeError as error:
        answer(_error(InvalidInputError(f"{op}: {error}; `model` names the model")))
    except RequestError as error:
        answer(_error(error))


def _error(error: RequestError) -> dict[str, Any]:
    return {"op": "error", "error": error.code, "message": str(error)}
