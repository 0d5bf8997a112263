"""The frontend's controller as its child: started, watched, started again."""

import logging
import os
import signal
from collections.abc import Callable

import msgspec

from glet.clock import Clock
from glet.config.cluster import ClusterConfig
from glet.serve.child import STOPPED_LIMIT_S, Child, describe_exit, python, was_killed
from glet.serve.poll_loop import PollLoop
from glet.wire.heartbeat import Backoff

logger = logging.getLogger(__name__)

END_S = 2.0
# A thread of the controller writes to its standard output, also while a planner is at work.
BEAT_S = 0.5
FROZEN_AFTER_S = 3.0
# Its imports alone take a minute where it gets a few percent of a core, being nice.
START_LIMIT_S = 180.0


class ControllerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a frontend tells the controller at its start.

    `leader` is the frontend's name: plans go to it. `run_dir` is the controller's own folder; it
    binds there, or at the cluster's `control.address` where that is given.
    """

    leader: str
    run_dir: str
    cluster: ClusterConfig
    parent_pid: int
    log_level: str = "info"


def controller_endpoint(run_dir: str) -> str:
    """Where a controller is reached that has this folder."""
    return f"ipc://{run_dir}/control"


class ControllerChild:
    """Through all its starts. The frontend serves by the last plan while there is none."""

    def __init__(self, options: ControllerOptions, clock: Clock) -> None:
        """Nothing runs before the first tick()."""
        self._options = msgspec.json.encode(options)
        self._clock = clock
        self.on_end: Callable[[], None] = lambda: None
        self._backoff = Backoff()
        self._child: Child | None = None
        self._poll: PollLoop | None = None
        self._start_at_s = float("-inf")
        self._starts = 0
        self._beat_s: float | None = None
        self._begun_s: float | None = None
        self.error = ""

    @property
    def pid(self) -> int:
        """0 while there is none."""
        return self._child.pid if self._child is not None else 0

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return max(0, self._starts - 1)

    @property
    def begun_s(self) -> float:
        """When it was first heard of since it was started last; not yet: when that is overdue."""
        return self._begun_s if self._begun_s is not None else self._start_at_s + START_LIMIT_S

    def tick(self, poll: PollLoop) -> None:
        """Starts it when it is time; in the frontend's main thread, with which it ends."""
        now_s = self._clock.now_s()
        if self._child is not None or now_s < self._start_at_s:
            return
        self._poll = poll
        file = os.memfd_create("controller", 0)
        try:
            os.write(file, self._options)
            command = python("glet.serve.controller", f"/proc/self/fd/{file}")
            self._child = Child(command, pass_fds=[file], capture=True)
        except OSError as error:
            self._failed(f"cannot be started: {error.strerror}")
            return
        finally:
            os.close(file)
        self._starts += 1
        self._start_at_s, self._beat_s, self._begun_s = now_s, None, None
        self._backoff.began()
        os.set_blocking(self._child.stdout_fd, False)
        poll.watch(self._child.stdout_fd, self._on_beat)
        poll.watch(self._child.exit_fd, self._on_exit)

    def is_frozen(self) -> bool:
        """Whether none of its threads runs any more."""
        if self._child is None:
            return False
        beat_s, limit_s = self._beat_s, FROZEN_AFTER_S
        if beat_s is None:
            beat_s, limit_s = self._start_at_s, START_LIMIT_S
        silent_s = self._clock.now_s() - beat_s
        return silent_s > limit_s or (silent_s > STOPPED_LIMIT_S and self._child.is_stopped())

    def serves(self) -> None:
        """It was heard for the first time since its start."""
        self._backoff.serves(self._clock.now_s())

    def kill(self) -> None:
        """By force; it is started again."""
        if self._child is not None:
            self._child.kill()

    def close(self) -> None:
        """Ends it."""
        if self._child is None:
            return
        if self._poll is not None:
            self._poll.unwatch(self._child.exit_fd)
            self._poll.unwatch(self._child.stdout_fd)
        self._child.signal(signal.SIGTERM)
        self._child.close(END_S)
        self._child = None

    def _on_beat(self) -> None:
        if self._child is None or self._poll is None:
            return
        try:
            came = os.read(self._child.stdout_fd, 4096)
        except BlockingIOError:
            return
        if came:
            self._beat_s = self._clock.now_s()
            self._begun_s = self._begun_s or self._beat_s
        else:
            self._poll.unwatch(self._child.stdout_fd)

    def _on_exit(self) -> None:
        child, self._child = self._child, None
        if child is None or self._poll is None:
            return
        self._poll.unwatch(child.exit_fd)
        self._poll.unwatch(child.stdout_fd)
        code = child.close(END_S)
        self._failed(describe_exit(code), killed=was_killed(code))
        self.on_end()

    def _failed(self, why: str, *, killed: bool = False) -> None:
        now_s = self._clock.now_s()
        self._start_at_s = self._backoff.died(now_s, killed=killed)
        self.error = why
        logger.warning(
            "controller ended (%s), the last plan goes on; starting it again in %.1f s",
            why,
            self._start_at_s - now_s,
        )
