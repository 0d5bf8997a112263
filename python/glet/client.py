"""The public client: numpy in, numpy out, over one connection to a frontend.

The connection lives in a thread of the core. It reconnects by itself; what was in flight when it
broke is raised as UnavailableError, because nobody can say whether it ran.
"""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import msgpack
import msgspec

from glet.client_inputs import Array, Inputs, Named, Signatures
from glet.errors import (
    REQUEST_ERRORS,
    ArgumentError,
    InvalidInputError,
    ModelNotFoundError,
    PeerLostError,
    RequestError,
    UnavailableError,
    WireError,
)
from glet.native import core
from glet.wire.keys import Key, client_keys
from glet.wire.zmq_path import libzmq_path

Outputs = Array | dict[str, Array]

DEFAULT_TIMEOUT_S = 60.0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The outputs of a request and where its time went."""

    outputs: Outputs
    """One array when the model has one output, else a dict by name."""
    batch: int
    """Size of the batch that it ran in."""
    queue_ms: float
    batch_ms: float
    execute_ms: float


class Client:
    """A connection to a glet frontend, for any number of threads.

    `address` is `tcp://HOST:PORT` or `ipc://PATH`. Nothing is sent, and no error raised, before
    the first request. `timeout_s` bounds a request that names no deadline; with a deadline it is
    the deadline and some seconds, because the frontend itself says when it is too late. What is not
    answered by then is raised as UnavailableError and taken back, as far as it has not run.

    Arrays are sent as they are: a float64 array for a float32 input is an InvalidInputError.
    Lists and numbers take the dtype of the model's input. numpy has no bfloat16: such tensors are
    uint16 arrays holding the same bits, both ways. Tensors of strings are arrays of bytes or str
    (as UTF-8) on the way in, and arrays of objects, each a `bytes`, on the way out. Ctrl-C takes
    the request back. Does not survive a fork: make one per process.

    Arrays on a GPU of this host (DLPack, `__cuda_array_interface__`: torch, CuPy) are not copied
    here: an executor on a GPU opens their memory. They have to stay as they are until the answer,
    which is on the host. Memory of a pool cannot be opened: an InvalidInputError says what to do.

    `server_key` is the public key of glet there, a file or the key itself (Z85): all that goes over
    tcp is encrypted then. `client_key` is the file of a secret key, where glet asks who is there.
    None takes both from the environment (GLET_SERVER_KEY, GLET_CLIENT_KEY), "" has none.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        server_key: Key = None,
        client_key: Key = None,
    ) -> None:
        """Raises ConfigError when the address or a key is malformed."""
        keys = client_keys(server_key, client_key)
        self._loop = core.ClientLoop(libzmq_path(), address, timeout_s=timeout_s, keys=keys)
        self._signatures = Signatures()

    def infer(self, model: str, inputs: Inputs, *, deadline_ms: float | None = None) -> Outputs:
        """Runs one request: one array when the model has one output, else a dict by name.

        `inputs` is one array, or a dict by input name. `deadline_ms` counts from its arrival at
        the frontend; left out, the model's SLO holds. Raises LateError, OverloadedError,
        ModelNotFoundError, InvalidInputError, UnavailableError, ModelFailedError,
        ProtocolVersionError, or WireError for an answer that is malformed.
        """
        return self.infer_detailed(model, inputs, deadline_ms=deadline_ms).outputs

    def infer_detailed(
        self, model: str, inputs: Inputs, *, deadline_ms: float | None = None, traceparent: str = ""
    ) -> Result:
        """The same, with the batch it ran in and its times.

        `traceparent` is the caller's place in a trace, by W3C Trace Context.
        """
        if self._signatures.needed(model, inputs):
            self._signatures.learn(self.models())
        try:
            arrays = self._signatures.arrays(model, inputs)
            return read_result(
                self._loop.wait(submit(self._loop, model, arrays, deadline_ms, traceparent))
            )
        except (InvalidInputError, ModelNotFoundError):
            self._signatures.forget(model)
            raise

    def models(self) -> dict[str, Any]:
        """What is served: name -> inputs, outputs (lists of [name, dtype, shape]), slo_ms, ..."""
        return self._ask("models")

    def stats(self) -> dict[str, Any]:
        """The frontend's counters and gpulets."""
        return self._ask("stats")

    def observation(self) -> dict[str, Any]:
        """What the controller saw last, and how the plan changed: wire/README.md, section 4."""
        return self._ask("observation")

    def load(
        self, model: str, *, slo_ms: float | None = None, max_batch: int | None = None
    ) -> None:
        """Reads a model or app of the repository again and returns when it serves.

        `slo_ms` and `max_batch` hold in place of its own until it is loaded again. Raises
        ModelNotFoundError, InvalidInputError for an entry that is wrong, ModelFailedError, and
        UnavailableError where there is no room; what served before serves on then.
        """
        self._ask("load", model=model, slo_ms=slo_ms, max_batch=max_batch)

    def unload(self, model: str, *, dependents: bool = False) -> None:
        """Returns when nobody hosts the model or app any more; what was in flight is answered.

        With `dependents` the models of an app go too. Raises ModelNotFoundError, InvalidInputError.
        """
        self._ask("unload", model=model, dependents=dependents)

    def _ask(self, op: str, **fields: Any) -> dict[str, Any]:
        return read_body(self._loop.wait(submit_op(self._loop, op, fields)))

    def close(self) -> None:
        """Ends what is in flight as UnavailableError. Calling it twice is harmless."""
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient:
    """The same for asyncio: one event loop, any number of requests in flight. See Client.

    A task that is cancelled while it waits takes its request back: its place in the queue is free.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        server_key: Key = None,
        client_key: Key = None,
    ) -> None:
        """Raises ConfigError when the address or a key is malformed."""
        keys = client_keys(server_key, client_key)
        self._loop = core.ClientLoop(
            libzmq_path(), address, timeout_s=timeout_s, announce=True, keys=keys
        )
        self._signatures = Signatures()
        self._waiting: dict[int, asyncio.Future[core.Answer]] = {}
        self._event_loop: asyncio.AbstractEventLoop | None = None

    async def infer(
        self, model: str, inputs: Inputs, *, deadline_ms: float | None = None
    ) -> Outputs:
        """See Client.infer."""
        return (await self.infer_detailed(model, inputs, deadline_ms=deadline_ms)).outputs

    async def infer_detailed(
        self, model: str, inputs: Inputs, *, deadline_ms: float | None = None, traceparent: str = ""
    ) -> Result:
        """See Client.infer_detailed."""
        if self._signatures.needed(model, inputs):
            self._signatures.learn(await self.models())
        try:
            arrays = self._signatures.arrays(model, inputs)
            self._listen()
            answer = await self._ended(submit(self._loop, model, arrays, deadline_ms, traceparent))
            return read_result(answer)
        except (InvalidInputError, ModelNotFoundError):
            self._signatures.forget(model)
            raise

    async def models(self) -> dict[str, Any]:
        """See Client.models."""
        return await self._ask("models")

    async def stats(self) -> dict[str, Any]:
        """See Client.stats."""
        return await self._ask("stats")

    async def observation(self) -> dict[str, Any]:
        """See Client.observation."""
        return await self._ask("observation")

    async def load(
        self, model: str, *, slo_ms: float | None = None, max_batch: int | None = None
    ) -> None:
        """See Client.load."""
        await self._ask("load", model=model, slo_ms=slo_ms, max_batch=max_batch)

    async def unload(self, model: str, *, dependents: bool = False) -> None:
        """See Client.unload."""
        await self._ask("unload", model=model, dependents=dependents)

    async def _ask(self, op: str, **fields: Any) -> dict[str, Any]:
        self._listen()
        return read_body(await self._ended(submit_op(self._loop, op, fields)))

    async def aclose(self) -> None:
        """Ends what is in flight as UnavailableError. Calling it twice is harmless."""
        await asyncio.to_thread(self._loop.close)
        self._settle()
        if self._event_loop is not None:
            self._event_loop.remove_reader(self._loop.completion_fd)
            self._event_loop = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _listen(self) -> None:
        running = asyncio.get_running_loop()
        if self._event_loop is running:
            return
        if self._event_loop is not None:
            raise ArgumentError("[AsyncClient] one event loop per client; make another client")
        running.add_reader(self._loop.completion_fd, self._settle)
        self._event_loop = running

    async def _ended(self, request: int) -> core.Answer:
        future: asyncio.Future[core.Answer] = asyncio.get_running_loop().create_future()
        self._waiting[request] = future
        try:
            return await future
        except asyncio.CancelledError:
            self._loop.cancel(request)
            raise
        finally:
            self._waiting.pop(request, None)

    def _settle(self) -> None:
        for answer in self._loop.drain():
            future = self._waiting.get(answer.id)
            if future is not None and not future.done():
                future.set_result(answer)


def submit(
    loop: core.ClientLoop,
    model: str,
    arrays: Sequence[Named],
    deadline_ms: float | None,
    traceparent: str,
) -> int:
    """The id of the request. Raises InvalidInputError, or UnavailableError after close()."""
    try:
        return loop.submit(model, arrays, deadline_ms, traceparent)
    except ArgumentError as error:
        raise InvalidInputError(str(error)) from None
    except PeerLostError as error:
        raise UnavailableError(str(error)) from None


def submit_op(loop: core.ClientLoop, op: str, fields: Mapping[str, Any] | None = None) -> int:
    """The id of the request; `fields` are more keys of its header. Raises UnavailableError after
    close().
    """
    encoded = [
        msgspec.msgpack.encode(key) + msgspec.msgpack.encode(value)
        for key, value in (fields or {}).items()
    ]
    try:
        return loop.submit_op(op, encoded)
    except PeerLostError as error:
        raise UnavailableError(str(error)) from None


def raise_for(answer: core.Answer) -> None:
    """Raises what the answer's code stands for, if any."""
    if not answer.code:
        return
    if answer.code == "wire":
        raise WireError(answer.message)
    kind = REQUEST_ERRORS.get(answer.code)
    if kind is None:
        raise RequestError(f"{answer.code}: {answer.message}")
    raise kind(answer.message or answer.code)


def read_result(answer: core.Answer) -> Result:
    """Raises the request's error, or returns its outputs."""
    raise_for(answer)
    named = answer.take_outputs()
    return Result(
        outputs=named[0][1] if len(named) == 1 else dict(named),
        batch=answer.batch,
        queue_ms=answer.queue_ns / 1e6,
        batch_ms=answer.batch_ns / 1e6,
        execute_ms=answer.execute_ns / 1e6,
    )


def read_body(answer: core.Answer) -> dict[str, Any]:
    """The map that models and stats answer with."""
    raise_for(answer)
    try:
        body = msgpack.unpackb(answer.body)
    except (ValueError, msgpack.UnpackException) as error:
        raise WireError(f"the body of an answer cannot be read: {error}") from None
    if not isinstance(body, dict):
        raise WireError("the body of an answer is not a map")
    return body
