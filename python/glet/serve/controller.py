"""The controller: the process that runs the control loop. A frontend starts it, and outlives it.

`python -m glet.serve.controller FILE`, the file with ControllerOptions as JSON.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec
import zmq

from glet import log
from glet.clock import Clock, SystemClock
from glet.control.make import make_loop
from glet.control.objectives import AppObjectives
from glet.control.record import line_of
from glet.control.round import Round
from glet.errors import GletError
from glet.observe.observer import LEAST_SPAN_S, Observer
from glet.policy.policy import let_in
from glet.serve.child import end_with_parent
from glet.serve.controller_child import BEAT_S, ControllerOptions, controller_endpoint
from glet.serve.poll_loop import PollLoop
from glet.serve.record_file import RecordFile
from glet.serve.run_dir import RunDir
from glet.serve.zmq_gates import cluster_gate
from glet.types.app import AppSpec
from glet.types.observation import Observation
from glet.wire.address import check_bind
from glet.wire.channel import RouterChannel
from glet.wire.control_messages import NewPlan, Observed, RoundDone, SetAccept
from glet.wire.heartbeat import Liveness
from glet.wire.keys import cluster_pair
from glet.wire.message import Message
from glet.wire.messages import VERSION, FrontendReport, FrontendToController, Hello

logger = logging.getLogger(__name__)

TELL_S = 1.0
POLL_S = 1.0
FORGET_S = 5.0
NICENESS = 10


class Decides(Protocol):
    """What a round is held by: glet.control.loop.ControlLoop."""

    def on_observation(self, observation: Observation) -> Round | None: ...


class Controller:
    """Observer, control loop and the line to the frontends; run() is the process."""

    def __init__(
        self,
        options: ControllerOptions,
        mode: str,
        loop: Decides,
        record: RecordFile,
        clock: Clock,
        objectives: AppObjectives | None = None,
    ) -> None:
        """Raises ConfigError when its address is taken or open to others."""
        control = options.cluster.control
        self._loop = loop
        self._record = record
        self._clock = clock
        self._leader = options.leader
        self._mode = mode
        self._observer = Observer(mean_s=control.mean_s, peak_s=control.peak_s)
        self._objectives = objectives or AppObjectives(())
        self._apps: dict[str, AppSpec] = {}
        self._observation: Observation | None = None
        self._plan: NewPlan | None = None
        self._accept = SetAccept()
        # Connections of the leader that were sent the plan: a new one may have lost the message.
        self._told: set[bytes] = set()
        self._alive: Liveness[bytes] = Liveness(FORGET_S)
        self._run_dir = RunDir(Path(options.run_dir)) if not control.address else None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            if control.address:
                check_bind(control.address, beyond=options.cluster.binds_beyond)
            keys = cluster_pair(options.cluster.security)
            self._gate = cluster_gate(self._context.underlying, keys)
            self._channel: RouterChannel[FrontendToController] = RouterChannel(
                self._context,
                control.address or controller_endpoint(options.run_dir),
                FrontendToController,
                Hello(version=VERSION, role="controller"),
                keys,
            )
        except GletError:
            self._free()
            raise
        self.endpoint = self._channel.endpoint

    def run(self) -> None:
        """Until SIGTERM."""
        with PollLoop(self._clock) as poll:
            poll.watch(self._channel.socket, self.receive)
            poll.every(TELL_S, self.tell)
            logger.info("listens at %s", self.endpoint)
            while not poll.stopping:
                poll.run_once(POLL_S)
        logger.info("stopped")

    def close(self) -> None:
        """Closes everything."""
        self._channel.close()
        self._record.close()
        self._free()

    def receive(self) -> None:
        """Takes what frontends said, and holds a round when one is due."""
        has_news = False
        now_s = self._clock.now_s()
        for peer, message in self._channel.receive():
            self._alive.heard(peer, now_s)
            if isinstance(message, FrontendReport):
                has_news = self._observer.report(message, now_s) or has_news
                self._apps = {
                    app.name: app.spec
                    for state in message.states
                    for app in state.apps
                    if app.spec is not None
                }
        self._send_plan()
        if has_news and self._observer.alive(now_s):
            self._observation = self._objectives.tightened(
                self._observer.observe(now_s), self._apps.values()
            )
            if self._observation.span_s < LEAST_SPAN_S:
                return
            held = self._loop.on_observation(self._observation)
            if held is not None:
                self._publish(held)

    def tell(self) -> None:
        """Sends everybody what is seen, and forgets who is gone."""
        for peer in self._alive.silent(self._clock.now_s()):
            self._alive.forget(peer)
            self._channel.forget(peer)
            self._told.discard(peer)
        seen = self._observation
        said = msgspec.json.encode(seen) if seen is not None else b""
        self._send_all(Observed(mode=self._mode, observation=said))
        self._send_all(self._accept)

    def _publish(self, held: Round) -> None:
        line = line_of(held)
        self._record.append(line)
        for error in held.errors:
            logger.warning("round %d failed: %s", held.number, error)
        if held.plan is not None:
            logger.info("round %d plans anew: %s, %s", held.number, held.trigger, held.why)
            self._plan = NewPlan(round=held.number, plan=held.plan)
            self._told.clear()
            self._send_plan()
        accept = SetAccept(parts=let_in(held.targets))
        if accept != self._accept and not held.errors:
            self._accept = accept
            self._send_all(accept)
        self._send_all(RoundDone(round=held.number, record=line))

    def _send_plan(self) -> None:
        if self._plan is None:
            return
        for peer, hello in self._channel.peers.items():
            if hello.name != self._leader or peer in self._told:
                continue
            if self._channel.send(peer, self._plan):
                self._told.add(peer)

    def _send_all(self, message: Message) -> None:
        for peer in self._channel.peers:
            self._channel.send(peer, message)

    def _free(self) -> None:
        self._context.term()
        if self._run_dir is not None:
            self._run_dir.close()


def make_controller(options: ControllerOptions, clock: Clock) -> Controller:
    """With the loop that the cluster asks for. Raises ConfigError and ProfileError."""
    made = make_loop(options.cluster, clock=clock)
    record = RecordFile(options.cluster.control.record)
    try:
        controller = Controller(
            options, made.header.control.mode, made.loop, record, clock, made.objectives
        )
    except GletError:
        record.close()
        raise
    record.append(line_of(made.header))
    return controller


def beat(descriptor: int) -> None:
    """Tells the frontend for ever that this process runs; ends with the frontend."""
    os.set_blocking(descriptor, False)
    rest = threading.Event()
    with suppress(BrokenPipeError):
        while True:
            # Full: the frontend does not read, and is told nothing new by more.
            with suppress(BlockingIOError):
                os.write(descriptor, b".")
            rest.wait(BEAT_S)


def main(argv: Sequence[str]) -> int:
    """The process; its exit code."""
    options = msgspec.json.decode(Path(argv[0]).read_bytes(), type=ControllerOptions)
    log.setup("controller", options.log_level)
    try:
        end_with_parent(options.parent_pid, signal.SIGTERM)
        os.nice(NICENESS)
        threading.Thread(target=beat, args=(sys.stdout.fileno(),), daemon=True).start()
        controller = make_controller(options, SystemClock())
        try:
            controller.run()
        finally:
            controller.close()
    except GletError as error:
        logger.error("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
