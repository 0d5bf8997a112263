"""Runs the core's load loop for a command: what to send, progress while it runs, the records."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from glet.cli.table import LiveLoad
from glet.clock import Clock
from glet.native import core
from glet.observe.report import LoadedModel, Records
from glet.wire.keys import PLAIN, ClientKeys
from glet.wire.zmq_path import libzmq_path

LOOK_EVERY_S = 0.5
DRAIN_S = 10.0
NS_PER_S = 1e9
Sample = list[tuple[str, NDArray[Any], str | None]]


class ModelLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What one model is sent."""

    name: str
    slo_ms: float
    samples: list[Sample]
    times_s: NDArray[np.float64]
    deadline_ms: float | None = None
    labels: NDArray[np.int64] | None = None
    """The right answer per sample, where known."""
    requests: list[bytes] = []
    """Over HTTP: a whole request per sample."""
    answer_bytes: int = 0
    """Over HTTP: of the first output, when it is float32 and to be read."""

    def loaded(self) -> LoadedModel:
        """What the report needs to know."""
        return LoadedModel(name=self.name, slo_ms=self.slo_ms, labels=self.labels)


class Generated(msgspec.Struct, frozen=True, kw_only=True):
    """A load run that is over."""

    records: Records
    seconds: float
    """How long requests were sent."""
    first_errors: dict[str, str]
    """Model -> code and message of its first failed answer."""


class Reached(NamedTuple):
    """A server: its address, and the keys to connect with."""

    address: str
    keys: ClientKeys = PLAIN


def generate(
    server: Reached,
    loads: Sequence[ModelLoad],
    seconds: float,
    clock: Clock,
    console: Console,
    meanwhile: Callable[[], None] = lambda: None,
) -> Generated:
    """Sends everything at its time and waits for the answers; Ctrl-C ends the sending early.

    `meanwhile` is called about twice a second, by the thread that calls this. Progress goes to
    `console`. Raises PeerLostError when there is no connection to be had.
    """
    loop = core.LoadLoop(libzmq_path(), server.address, drain_s=DRAIN_S, keys=server.keys)
    try:
        for load in loads:
            arrivals_ns = np.asarray(load.times_s * NS_PER_S).astype(np.int64)
            if load.requests:
                loop.add_http_model(
                    load.name,
                    load.requests,
                    arrivals_ns=arrivals_ns,
                    slo_ms=load.slo_ms,
                    answer_bytes=load.answer_bytes,
                )
                continue
            loop.add_model(
                load.name,
                load.samples,
                arrivals_ns=arrivals_ns,
                deadline_ms=load.deadline_ms,
                slo_ms=load.slo_ms,
                read_answer=load.labels is not None,
            )
        start_s = clock.now_s()
        loop.start_open()
        with LiveLoad([load.name for load in loads], console) as live:
            sent_s = _watch(loop, live, start_s, clock, meanwhile)
        progress = loop.progress()
        return Generated(
            records=loop.records(),
            seconds=min(seconds, sent_s),
            first_errors={
                load.name: found["first_error"]
                for load, found in zip(loads, progress, strict=True)
                if found["first_error"]
            },
        )
    finally:
        loop.close()


def _watch(
    loop: core.LoadLoop,
    live: LiveLoad,
    start_s: float,
    clock: Clock,
    meanwhile: Callable[[], None],
) -> float:
    """Until the run is over. When it stopped sending: seconds after the start, or infinity."""
    stopped_s = float("inf")
    while True:
        try:
            over = loop.wait(LOOK_EVERY_S)
            elapsed_s = clock.now_s() - start_s
            if over:
                return stopped_s
            meanwhile()
            if live.due(elapsed_s):
                live.update(elapsed_s, loop.progress())
        except KeyboardInterrupt:
            loop.stop()
            stopped_s = min(stopped_s, clock.now_s() - start_s)
