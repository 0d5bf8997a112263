"""A bed of executor processes: gpulets that a backend would host in processes of their own.

Executors are started, told and ended as by serve/executor_fleet.py, under the MPS daemon where the
kind is `mps`. Requests reach them through a frontend's loop in this process, over ipc.
"""

import os
import select
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import zmq
from bed import Bed, Gpulets, device_of
from bed_load import BedLoad, OverWire, Route
from bed_models import Models
from study import Study

from glet.clock import SystemClock
from glet.errors import DeviceError
from glet.native import core
from glet.plan.layout import PlacedGpulet
from glet.serve.child import Child, describe_exit, python
from glet.serve.executor import ExecutorOptions
from glet.serve.executor_env import ExecutorEnv, PlainEnv
from glet.serve.mps import MpsClients
from glet.serve.poll_loop import PollLoop
from glet.wire.channel import RouterChannel
from glet.wire.messages import (
    VERSION,
    ExecutorReady,
    ExecutorToBackend,
    Hello,
    Step,
    StepDone,
)
from glet.wire.zmq_path import libzmq_path

LIMIT_S = 60.0
STEP_LIMIT_S = 600.0
END_LIMIT_S = 10.0
POLL_S = 0.05
RUNNERS = 64


class World:
    """Where executors of a kind start; a context manager that ends them all, and an MPS daemon
    that it had to start.
    """

    def __init__(self, gpulets: Gpulets) -> None:
        """Raises ConfigError where there is no MPS, DeviceError when its daemon does not speak."""
        clock = SystemClock()
        device = device_of(gpulets, "bench")
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)
        poll = PollLoop(clock)
        self._env: ExecutorEnv = (
            MpsClients(device, self.folder, poll, clock, limit_memory=False)
            if gpulets.kind == "mps"
            else PlainEnv(device)
        )
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        hello = Hello(version=VERSION, role="backend", name="bench")
        self.channel: RouterChannel[Any] = RouterChannel(
            self._context, f"ipc://{self.folder}/control", ExecutorToBackend, hello
        )
        self._started = 0
        self._alive: list[Executor] = []
        until_s = clock.now_s() + LIMIT_S
        try:
            while not self._env.ready():
                if clock.now_s() > until_s:
                    raise DeviceError(f"the MPS daemon did not speak within {LIMIT_S:g} s")
                poll.run_once(POLL_S)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self, placed: Sequence[PlacedGpulet]) -> "Executor":
        """An executor for these gpulets, ready for steps. Raises DeviceError when it ends."""
        number, self._started = self._started, self._started + 1
        options = ExecutorOptions(
            backend="bench",
            executor=number,
            generation=1,
            control=self.channel.endpoint,
            data=f"ipc://{self.folder}/e{number}",
            parent_pid=os.getpid(),
            drain_s=1.0,
            runners=RUNNERS,
            log_level="warning",
        )
        child = Child(
            python("glet.serve.executor", msgspec.json.encode(options).decode()),
            environment={**os.environ, **self._env.variables(placed)},
        )
        made = Executor(self.channel, child, number)
        self._alive.append(made)
        made.wait_ready()
        return made

    def end(self, executor: "Executor") -> None:
        """It drains and ends, by force when it does not."""
        self._alive.remove(executor)
        executor.end(self._env)

    def close(self) -> None:
        for executor in list(self._alive):
            self.end(executor)
        self._env.close()
        self.channel.close()
        self._context.term()
        self._folder.cleanup()


class Executor:
    """A process and the line to it."""

    def __init__(self, channel: Any, child: Child, number: int) -> None:
        self.number = number
        self.endpoint = ""
        self._channel = channel
        self._child = child
        self._peer = b""

    def wait_ready(self) -> None:
        """Raises DeviceError when it ends, or says nothing for a minute."""
        while True:
            peer, message = self._next(LIMIT_S, "did not start")
            if isinstance(message, ExecutorReady) and message.executor == self.number:
                self._peer, self.endpoint = peer, message.endpoint
                return

    def perform(self, step: Step) -> StepDone:
        """Waits for it. Raises DeviceError with what the executor says of a step that failed."""
        self._channel.send(self._peer, step)
        while True:
            peer, message = self._next(STEP_LIMIT_S, f"did not end {type(step).__name__}")
            if peer == self._peer and isinstance(message, StepDone):
                if message.error:
                    raise DeviceError(f"{type(step).__name__}: {message.error}")
                return message

    def end(self, env: ExecutorEnv) -> None:
        self._child.signal(signal.SIGTERM)
        if not select.select([self._child.exit_fd], [], [], END_LIMIT_S)[0]:
            env.before_kill(self._child.pid)
            self._child.kill()
        self._child.close(END_LIMIT_S)

    def _next(self, limit_s: float, what: str) -> tuple[bytes, Any]:
        """What any executor says next; beats of this one are a sign of life."""
        poller = zmq.Poller()
        poller.register(self._channel.socket, zmq.POLLIN)
        poller.register(self._child.exit_fd, zmq.POLLIN)
        clock = SystemClock()
        until_s = clock.now_s() + limit_s
        while True:
            for peer, message in self._channel.receive():
                if isinstance(message, ExecutorReady | StepDone):
                    return peer, message
            code = self._child.exit_code()
            if code is not None:
                raise DeviceError(f"the executor {what}: {describe_exit(code)}")
            left_s = until_s - clock.now_s()
            if left_s < 0.0:
                raise DeviceError(f"the executor {what} within {limit_s:g} s")
            poller.poll(round(1000.0 * left_s) + 1)


class ProcessBed(Bed):
    """A bed whose gpulets are hosted by executors: one for all, or one for each."""

    def __init__(
        self,
        gpulets: Gpulets,
        models: Models,
        study: Study | None,
        margin_ms: float,
        world: World,
    ) -> None:
        self._world = world
        super().__init__(gpulets, models, study, margin_ms)

    def _open(self) -> None:
        self._hosts: dict[int, Executor] = {}
        self._frontend: Any = core.FrontendLoop(libzmq_path())
        # Loads come and go within a bed, and executors keep their folder.
        self._listen = self._frontend.bind(f"ipc://{self._world.folder}/c{id(self):x}")
        self._frontend.start()

    def close(self) -> None:
        """Ends the executors."""
        self._frontend.close()
        for executor in {id(host): host for host in self._hosts.values()}.values():
            self._world.end(executor)
        self._hosts.clear()

    def new_load(self) -> BedLoad:
        return OverWire(self._frontend, self._listen)

    def route(self, gpulet: int, model: str, weight: float = 1.0) -> Route:
        return Route(self._hosts[gpulet].number, gpulet, self.numbers[model], weight)

    def measure_ns(self, gpulet: int, model: str, batch: int, repeats: int) -> list[int]:
        raise DeviceError("an executor measures when a model is loaded, and not at a call")

    def borrowed(self) -> float:
        """None: a process has one gpulet."""
        return 0.0

    def perform(self, step: Step) -> StepDone:
        return self._hosts[step.gpulet].perform(step)

    def add(self, gpulet: PlacedGpulet) -> None:
        """With a process of its own where gpulets are processes."""
        host = next(iter(self._hosts.values()), None)
        if host is None or self._gpulets.per_gpulet:
            host = self._world.start((gpulet,))
            self._frontend.add_executor(host.number, host.endpoint)
        self._hosts[gpulet.number] = host
        super().add(gpulet)

    def remove(self, number: int) -> None:
        """What is queued finishes first, and its process ends with it."""
        host = self._hosts[number]
        super().remove(number)
        del self._hosts[number]
        if self._gpulets.per_gpulet:
            self._frontend.remove_executor(host.number)
            self._world.end(host)


@contextmanager
def a_bed(gpulets: Gpulets, models: Models, study: Study | None, margin_ms: float) -> Iterator[Bed]:
    """An empty bed of the kind, with the world that it needs."""
    if gpulets.load == "in process":
        with Bed(gpulets, models, study, margin_ms) as bed:
            yield bed
        return
    with World(gpulets) as world, ProcessBed(gpulets, models, study, margin_ms, world) as process:
        yield process
