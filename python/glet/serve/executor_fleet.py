"""The executors of a device: started, steered step by step, watched, started again."""

import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec
import zmq

from glet.clock import Clock
from glet.plan.layout import PlacedGpulet
from glet.serve.child import STOPPED_LIMIT_S, Child, describe_exit, python, was_killed
from glet.serve.executor import ExecutorOptions
from glet.serve.executor_process import ExecutorProcess, FleetOptions
from glet.serve.hosted import (
    HostedGpulet,
    Room,
    forget_failures,
    hung,
    judged,
    record_end,
    record_start,
    revive,
)
from glet.serve.next_steps import next_steps
from glet.serve.poll_loop import PollLoop
from glet.serve.reorganise import Part, is_whole, retire_surplus, why_not_whole
from glet.serve.run_dir import RunDir
from glet.wire.channel import RouterChannel
from glet.wire.heartbeat import Liveness
from glet.wire.messages import (
    VERSION,
    ExecutorBeat,
    ExecutorReady,
    ExecutorToBackend,
    Hello,
    LoadModel,
    Step,
    StepDone,
    Steps,
    StepsDone,
)

logger = logging.getLogger(__name__)

START_LIMIT_S = 20.0
FROZEN_AFTER_S = 2.5
# Importing a large library can keep a healthy executor from beating for seconds.
FROZEN_IN_STEP_AFTER_S = 15.0
STEP_LIMIT_S = 120.0
END_LIMIT_S = 2.0


class ExecutorFleet:
    """Owns the executors and the socket to them.

    `on_change` is called when a report changed, `on_news` when somebody waits for the change.
    `on_step` hears of every step that ended, `on_crash` of a step that an executor died in,
    `on_hang` of a model for which an executor is ended.
    """

    def __init__(
        self,
        options: FleetOptions,
        run_dir: RunDir,
        poll: PollLoop,
        clock: Clock,
        context: "zmq.Context[zmq.Socket[bytes]]",
    ) -> None:
        self._options = options
        self._run_dir = run_dir
        self._poll = poll
        self._clock = clock
        hello = Hello(version=VERSION, role="backend", name=options.backend)
        self._channel: RouterChannel[ExecutorToBackend] = RouterChannel(
            context, run_dir.endpoint("x"), ExecutorToBackend, hello
        )
        self._alive: Liveness[int] = Liveness(FROZEN_AFTER_S)
        self._patient: Liveness[int] = Liveness(FROZEN_IN_STEP_AFTER_S)
        self._placed: tuple[PlacedGpulet, ...] = ()
        self._keep: frozenset[str] = frozenset()
        # Models by gpulet of the last plan that was there as a whole.
        self._whole: dict[int, set[str]] = {}
        self._empty_since_s = clock.now_s()
        self._generations: dict[int, int] = {}
        self._is_stopping = False
        self._steps = 0
        self._is_whole: bool | None = None
        self.processes: dict[int, ExecutorProcess] = {}
        self.on_change: Callable[[], None] = lambda: None
        self.on_news: Callable[[], None] = lambda: None
        self.on_step: Callable[[Step, StepDone], None] = lambda step, done: None
        self.on_crash: Callable[[Step], None] = lambda step: None
        self.on_hang: Callable[[str], None] = lambda model: None
        options.env.on_death = self.restart
        poll.watch(self._channel.socket, self._on_executors)

    def arrange(self, placed: Sequence[PlacedGpulet], keep: Sequence[str] = ()) -> None:
        """What should be hosted from now on; what should not stays until retire().

        Models in `keep` serve on where they are until another call.
        """
        if self._placed and not placed:
            self._empty_since_s = self._clock.now_s()
        is_another = self._placed != tuple(placed)
        self._placed, self._keep = tuple(placed), frozenset(keep)
        for number in self._wanted_executors() - self.processes.keys():
            self._add_process(number)
        for process in self.processes.values():
            if is_another:
                forget_failures(process.hosted)
            if revive(process.hosted, self._share_of(process), process.pending):
                self.on_news()
        self.on_change()

    def give_up(self, model: str) -> None:
        """The model need not serve on until the next plan is whole."""
        for models in self._whole.values():
            models.discard(model)

    def why_not_whole(self) -> str:
        """Why a step towards what should be hosted failed, in one line, or ''."""
        return why_not_whole(self._parts())

    def retire(self, room: Room, seq: int) -> bool:
        """What should not be hosted is draining since state `seq`, make before break.

        Returns whether all that should be hosted is (see `reorganise.is_whole`).
        """
        parts, whole = self._parts(), self._judge(room)
        if retire_surplus(parts, room, seq, self._keep, self._whole, is_made=whole):
            self.on_news()
        if whole:
            self._whole = {g.number: {share.model for share in g.models} for g in self._placed}
        return whole

    def executor_of(self, gpulet: int) -> int:
        """The number of the executor that hosts a gpulet."""
        return gpulet if self._options.per_gpulet else 0

    def hosted(self) -> Mapping[int, HostedGpulet]:
        """All gpulets that executors know of, by number."""
        return {n: g for process in self.processes.values() for n, g in process.hosted.items()}

    def advance(self, room: Room) -> None:
        """Starts what has to run, ends what hangs, sends each executor its next step."""
        now_s, self._is_whole = self._clock.now_s(), None
        for process in list(self.processes.values()):
            if process.child is None:
                self._start_if_due(process, now_s)
            elif why := self._why_end(process, now_s):
                process.error = why
                logger.error("executor killed executor=%d: %s", process.number, why)
                self._kill(process.child)
            elif process.state == "ready" and not process.pending:
                self._send_next(process, room)

    def stop(self) -> None:
        """Has all executors drain and end; they are not started again."""
        self._is_stopping = True
        for process in self.processes.values():
            process.state = "stopping"
            if process.child is not None:
                process.child.signal(signal.SIGTERM)

    def running(self) -> int:
        """How many executors have not ended."""
        return sum(process.child is not None for process in self.processes.values())

    def close(self) -> None:
        """Ends by force what still runs."""
        for process in self.processes.values():
            if process.child is not None:
                self._poll.unwatch(process.child.exit_fd)
                self._options.env.before_kill(process.child.pid)
                process.child.close(0.0)
                process.child = None
        self._options.env.close()
        self._poll.unwatch(self._channel.socket)
        self._channel.close()

    def _parts(self) -> list[Part]:
        """What each executor has and should have, also of those that do not run yet."""
        parts = [
            Part(p.hosted, self._share_of(p), p.state == "ready" and not p.pending)
            for p in self.processes.values()
        ]
        missing = [
            placed
            for placed in self._placed
            if not placed.error and self.executor_of(placed.number) not in self.processes
        ]
        return [*parts, Part({}, tuple(missing), not missing)]

    def restart(self, why: str) -> None:
        """Ends all executors by force; they are started again, with backoff."""
        for process in self.processes.values():
            if process.child is not None and process.state != "stopping":
                process.error = why
                process.child.kill()

    def _kill(self, child: Child) -> None:
        self._options.env.before_kill(child.pid)
        child.kill()

    def _wanted_executors(self) -> set[int]:
        if not self._options.per_gpulet:
            idle_s = self._clock.now_s() - self._empty_since_s
            is_wanted = bool(self._placed) or idle_s < self._options.release_after_s
            return {0} if is_wanted else set()
        return {placed.number for placed in self._placed if not placed.error}

    def _share_of(self, process: ExecutorProcess) -> tuple[PlacedGpulet, ...]:
        if not self._options.per_gpulet:
            return self._placed
        return tuple(placed for placed in self._placed if placed.number == process.number)

    def _start_if_due(self, process: ExecutorProcess, now_s: float) -> None:
        if self._is_stopping or process.number not in self._wanted_executors():
            del self.processes[process.number]
            self.on_news()
            return
        if now_s < process.start_at_s or not self._options.env.ready():
            return
        process.generation += 1
        self._generations[process.number] = process.generation
        options = ExecutorOptions(
            backend=self._options.backend,
            executor=process.number,
            generation=process.generation,
            control=self._channel.endpoint,
            data=self._options.data
            or self._run_dir.endpoint(f"e{process.number}-{process.generation}"),
            parent_pid=os.getpid(),
            drain_s=self._options.drain_s,
            runners=self._options.runners,
            log_level=self._options.log_level,
            server_key=self._options.server_key,
        )
        child = Child(
            python("glet.serve.executor", msgspec.json.encode(options).decode()),
            environment={**os.environ, **self._options.env.variables(self._share_of(process))},
        )
        process.child, process.state, process.error = child, "starting", ""
        process.started_s = now_s
        process.backoff.began()
        self._poll.watch(child.exit_fd, lambda: self._on_exit(process, child))
        logger.info(
            "executor started executor=%d generation=%d pid=%d",
            process.number,
            process.generation,
            child.pid,
        )
        self.on_news()

    def _on_exit(self, process: ExecutorProcess, child: Child) -> None:
        now_s = self._clock.now_s()
        self._poll.unwatch(child.exit_fd)
        code = child.close(END_LIMIT_S)
        if process.state != "stopping":
            process.restarts += 1
            process.error = process.error or describe_exit(code)
            process.start_at_s = process.backoff.died(now_s, killed=was_killed(code))
            logger.warning(
                "executor died executor=%d generation=%d: %s restart_in_s=%.1f",
                process.number,
                process.generation,
                process.error,
                process.start_at_s - now_s,
            )
            for step in process.pending:
                self.on_crash(step)
        process.state = "dead"
        self._channel.forget(process.peer)
        self._alive.forget(process.number)
        self._patient.forget(process.number)
        process.child, process.endpoint, process.peer = None, "", b""
        process.pending, process.counters = (), ()
        process.hosted.clear()
        self.on_news()

    def _why_end(self, process: ExecutorProcess, now_s: float) -> str:
        """Why an executor has to be ended by force, or ''."""
        since_s = now_s - process.started_s
        if process.state == "stopping":
            limit_s = self._options.drain_s + END_LIMIT_S
            return f"did not end within {limit_s:.0f} s" if since_s > limit_s else ""
        if process.state == "starting":
            return f"not ready within {START_LIMIT_S:.0f} s" if since_s > START_LIMIT_S else ""
        if process.pending and now_s - process.pending_s > STEP_LIMIT_S:
            return f"{type(process.pending[-1]).__name__} took over {STEP_LIMIT_S:.0f} s"
        is_late = self._alive.silence_s(process.number, now_s) > STOPPED_LIMIT_S
        if is_late and process.child is not None and process.child.is_stopped():
            return "was stopped by a signal"
        # A load may keep a process from beating.
        liveness = self._patient if process.pending else self._alive
        if not liveness.alive(process.number, now_s):
            return "gave no sign of life"
        hanging = hung(process.hosted, process.counters, self._options.hang_s * 1000.0)
        if hanging is None:
            return ""
        if not process.error:
            self.on_hang(hanging.source.name)
        return f"model {hanging.source.name!r} hangs: a batch of it does not end"

    def _send_next(self, process: ExecutorProcess, room: Room) -> None:
        mine = self._share_of(process)
        if process.number not in self._wanted_executors():
            if self._is_released(process, room):
                self._end(process)
            if self._options.per_gpulet or process.state == "stopping":
                return
        is_whole = partial(self._judge, room)
        steps = next_steps(process.hosted, mine, room, self._steps + 1, is_whole)
        if not steps:
            return
        self._steps, self._is_whole = max(step.step for step in steps), False
        placed = {gpulet.number: gpulet for gpulet in mine}
        for step in steps:
            if step.gpulet in placed:
                record_start(process.hosted, step, placed[step.gpulet])
        process.pending, process.pending_s = steps, self._clock.now_s()
        process.backoff.began()
        self._channel.send(process.peer, steps[0] if len(steps) == 1 else Steps(steps=steps))
        self.on_change()

    def _judge(self, room: Room) -> bool:
        """Whether the plan is there; once for a turn in which no step is sent."""
        if self._is_whole is None:
            self._is_whole = is_whole(self._parts(), room)
        return self._is_whole

    def _is_released(self, process: ExecutorProcess, room: Room) -> bool:
        """Whether nobody sends requests to what an executor still has."""
        seqs = [gpulet.retired_seq for gpulet in process.hosted.values()]
        if not self._options.per_gpulet:
            return not seqs
        return all(seq is not None and room.released(seq) for seq in seqs)

    def _add_process(self, number: int) -> None:
        # Numbers of generations are not used again: frontends tell the lives apart by them.
        generation = self._generations.get(number, 0)
        self.processes[number] = ExecutorProcess(number, generation=generation)

    def _end(self, process: ExecutorProcess) -> None:
        if process.child is not None:
            process.state, process.started_s = "stopping", self._clock.now_s()
            process.child.signal(signal.SIGTERM)

    def _on_executors(self) -> None:
        now_s = self._clock.now_s()
        for peer, message in self._channel.receive():
            if isinstance(message, ExecutorReady):
                self._on_ready(peer, message)
            process = next((p for p in self.processes.values() if p.peer == peer), None)
            if process is None:
                continue
            self._alive.heard(process.number, now_s)
            self._patient.heard(process.number, now_s)
            if isinstance(message, StepDone):
                self._on_steps_done(process, (message,))
            elif isinstance(message, StepsDone):
                self._on_steps_done(process, message.done)
            elif isinstance(message, ExecutorBeat):
                process.counters = message.counters

    def _on_ready(self, peer: bytes, ready: ExecutorReady) -> None:
        process = self.processes.get(ready.executor)
        if process is None or process.generation != ready.generation or process.state != "starting":
            return
        process.peer, process.endpoint, process.state = peer, ready.endpoint, "ready"
        process.backoff.serves(self._clock.now_s())
        logger.info("executor ready executor=%d endpoint=%s", process.number, ready.endpoint)
        self.on_news()

    def _on_steps_done(self, process: ExecutorProcess, done: Sequence[StepDone]) -> None:
        steps = process.pending
        if not steps or [step.step for step in steps] != [each.step for each in done]:
            return
        process.pending = ()
        process.backoff.serves(self._clock.now_s())
        for step, told in zip(steps, done, strict=True):
            end = judged(step, told)
            record_end(process.hosted, step, end)
            self.on_step(step, end)
            if end.error or isinstance(step, LoadModel):
                self.on_news()
        self.on_change()

    def is_quick(self, step: LoadModel) -> bool:
        """Whether the executor had the model on another gpulet, and nothing was to be measured."""
        hosted = self.processes[self.executor_of(step.gpulet)].hosted.items()
        there = any(step.source.name in g.models for n, g in hosted if n != step.gpulet)
        return there and bool(step.latency_ms)

    def is_busy(self) -> bool:
        """Whether a step is on its way."""
        return any(process.pending for process in self.processes.values())
