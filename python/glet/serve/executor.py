"""The executor: the process that hosts gpulets of one device. Its backend starts and steers it.

`python -m glet.serve.executor OPTIONS` with ExecutorOptions as JSON.
"""

import logging
import math
import signal
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import zmq

from glet import log
from glet.clock import Clock, SystemClock
from glet.config.security import SecurityConfig
from glet.errors import GletError
from glet.native import core
from glet.serve.child import end_with_parent
from glet.serve.poll_loop import PollLoop
from glet.serve.step_worker import StepWorker
from glet.serve.zmq_gates import NO_KEYS, cluster_gate
from glet.wire.channel import DealerChannel
from glet.wire.counters import ModelCounters
from glet.wire.keys import cluster_pair
from glet.wire.messages import (
    VERSION,
    BackendToExecutor,
    ExecutorBeat,
    ExecutorReady,
    Hello,
    Step,
    Steps,
    StepsDone,
)
from glet.wire.zmq_path import libzmq_path

logger = logging.getLogger(__name__)

BEAT_S = 0.5
POLL_S = 1.0
DRAIN_POLL_S = 0.01
# After its drain a process has this long to end before the kernel ends it.
LAST_S = 5.0


class ExecutorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend tells an executor at its start. `data` is where it binds for requests.

    `server_key` is the file of the cluster's secret key; empty: nothing is encrypted.
    """

    backend: str
    executor: int
    generation: int
    control: str
    data: str
    parent_pid: int
    drain_s: float
    runners: int
    log_level: str = "info"
    server_key: str = ""


class Executor:
    """Engine, data loop and the line to the backend; run() is the process."""

    def __init__(self, options: ExecutorOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._engine: Any = core.Engine()
        keys = cluster_pair(SecurityConfig(server_key=options.server_key))
        self._loop: Any = core.ExecutorLoop(libzmq_path(), self._engine, keys or NO_KEYS)
        self._gate = cluster_gate(self._loop.zmq_context(), keys)
        self._steps = StepWorker(self._engine, clock, options.runners)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        hello = Hello(version=VERSION, role="executor", name=_name(options))
        self._channel: DealerChannel[BackendToExecutor] = DealerChannel(
            self._context, options.control, BackendToExecutor, hello
        )

    def run(self) -> None:
        """Serves until SIGTERM, then drains: at most the options' `drain_s`."""
        with PollLoop(self._clock) as poll:
            endpoint = self._loop.bind(self._options.data)
            self._loop.start()
            self._channel.send(
                ExecutorReady(
                    executor=self._options.executor,
                    generation=self._options.generation,
                    endpoint=endpoint,
                )
            )
            poll.watch(self._channel.socket, self._on_backend)
            poll.watch(self._steps.done_fd, self._on_done)
            poll.every(BEAT_S, self._beat)
            logger.info("ready endpoint=%s", endpoint)
            while not poll.stopping:
                poll.run_once(POLL_S)
            self._drain(poll)
        logger.info("stopped")

    def close(self) -> None:
        """Closes everything; what is still queued is answered unavailable."""
        self._loop.close()
        self._steps.close(patience_s=1.0)
        self._engine.close()
        self._channel.close()
        self._context.term()

    def _drain(self, poll: PollLoop) -> None:
        signal.alarm(math.ceil(self._options.drain_s + LAST_S))
        self._loop.stop_admitting()
        until_s = self._clock.now_s() + self._options.drain_s
        while self._loop.outstanding() > 0 and self._clock.now_s() < until_s:
            poll.run_once(DRAIN_POLL_S)

    def _on_backend(self) -> None:
        for message in self._channel.receive():
            if isinstance(message, Steps):
                self._steps.submit(*message.steps)
            elif isinstance(message, Step):
                self._steps.submit(message)

    def _on_done(self) -> None:
        for done in self._steps.take_done():
            self._channel.send(done[0] if len(done) == 1 else StepsDone(done=done))

    def _beat(self) -> None:
        if self._channel.refused:
            self._channel.greet()
        self._engine.close_idle_imports()
        now_s = self._clock.now_s()
        counters = tuple(_counters(stats, now_s) for stats in self._engine.stats())
        self._channel.send(ExecutorBeat(outstanding=self._loop.outstanding(), counters=counters))


def _counters(stats: Any, now_s: float) -> ModelCounters:
    return ModelCounters(
        gpulet=stats.gpulet,
        model=stats.model,
        ok=stats.ok,
        late=stats.late,
        full=stats.full,
        failed=stats.failed,
        cancelled=stats.cancelled,
        batches=stats.batches,
        items=stats.items,
        borrowed=stats.borrowed,
        waiting=stats.waiting,
        correction=stats.correction,
        busy_ms=stats.busy_ns / 1e6,
        running_ms=stats.running_ns / 1e6,
        at_s=now_s,
    )


def _name(options: ExecutorOptions) -> str:
    return f"{options.backend}/{options.executor}"


def main(argv: Sequence[str]) -> int:
    """The process; its exit code."""
    options = msgspec.json.decode(argv[0], type=ExecutorOptions)
    log.setup(f"executor {_name(options)}", options.log_level)
    try:
        end_with_parent(options.parent_pid, signal.SIGTERM)
        executor = Executor(options, SystemClock())
        try:
            executor.run()
        finally:
            executor.close()
    except GletError as error:
        logger.error("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
