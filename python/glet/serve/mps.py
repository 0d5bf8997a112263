"""Partition `mps`: an MPS control daemon, and the environment that makes executors its clients."""

import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from glet.clock import Clock
from glet.errors import ConfigError, DeviceError
from glet.plan.layout import PlacedGpulet
from glet.serve.child import Child, describe_exit, python
from glet.serve.executor_env import DRIVER
from glet.serve.gpus import MPS_CONTROL, VISIBLE, as_nvidia_smi_counts
from glet.serve.mps_ask import MpsAsk
from glet.serve.mps_control import own_control, usual_control
from glet.serve.poll_loop import PollLoop
from glet.types.device import DeviceInfo
from glet.wire.heartbeat import Backoff

logger = logging.getLogger(__name__)

TICK_S = 0.5
CHECK_S = 5.0
# A daemon that ended so often without a word will not start at all.
DEATHS = 3
# On a busy machine a daemon may be late once.
MISSES = 2
START_LIMIT_S = 20.0
END_LIMIT_S = 3.0
SHARE = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
MEMORY = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"


class MpsClients:
    """Owns a daemon, or uses one that runs already; an ExecutorEnv for its clients.

    A daemon that runs where the environment says, or at the usual place, is used and left alone.
    Else one is started in `folder`, which sees this device alone, and is stopped at the end. A
    daemon that ends or falls silent is started again; `on_death` is called, because processes
    under the old one and under the new one would take turns on the device.

    A gpulet is an executor, whose share is fixed when it starts: another share is another gpulet,
    made beside the old one.
    """

    def __init__(
        self, device: DeviceInfo, folder: Path, poll: PollLoop, clock: Clock, *, limit_memory: bool
    ) -> None:
        """Raises ConfigError when MPS is not installed, or cannot be started here."""
        program = shutil.which(MPS_CONTROL)
        if program is None:
            raise ConfigError(
                f"partition mps: MPS is not installed ({MPS_CONTROL} is not in PATH); "
                "install the driver's utilities"
            )
        self._device = device
        self._folder = folder
        self._poll = poll
        self._clock = clock
        self._ask = MpsAsk()
        self._limit_memory = limit_memory
        self._backoff = Backoff()
        self._child: Child | None = None
        self._started_s = 0.0
        self._start_at_s = 0.0
        self._asked_s = clock.now_s()
        self._missed = 0
        self._deaths = 0
        self.on_death: Callable[[str], None] = lambda why: None
        self._control = usual_control(program)
        self._ready = self._control.answers()
        self._is_own = self._is_new = not self._ready
        self._why = ""
        if self._ready:
            logger.info("uses the MPS daemon at %s", self._control.pipes)
        else:
            self._use_own(program)
        poll.every(TICK_S, self._check)

    @property
    def pid(self) -> int:
        """Of the daemon, while it was started here and runs; else 0."""
        return self._child.pid if self._child is not None else 0

    def ready(self) -> bool:
        """Starts the daemon when it is due, and asks whether it speaks by now.

        Raises ConfigError when it ended some times and never spoke.
        """
        if self._deaths >= DEATHS:
            raise ConfigError(
                f"partition mps: the MPS daemon does not start ({self._why}); "
                "glet doctor says more; partition green needs no MPS"
            )
        now_s = self._clock.now_s()
        if self._is_own and self._child is None and now_s >= self._start_at_s:
            self._start(now_s)
        starts = self._child is not None and not self._ready
        if starts and self._ask.answers(self._control):
            logger.info("MPS daemon started pid=%d pipes=%s", self.pid, self._control.pipes)
            self._ready, self._deaths = True, 0
            self._backoff.serves(now_s)
        return self._ready

    def variables(self, placed: Sequence[PlacedGpulet]) -> Mapping[str, str]:
        """A share is a cap: clients may take the same SMs, and none takes more than its share."""
        share_pct = max((gpulet.share_pct for gpulet in placed), default=100)
        made = {**DRIVER, **as_nvidia_smi_counts(os.environ), **self._control.environment}
        made[SHARE] = str(share_pct)
        # A daemon that sees one device alone calls it 0, whatever it is called outside.
        made[VISIBLE] = "0" if self._is_own else self._device.gpu
        if self._limit_memory and self._device.memory_mb:
            made[MEMORY] = f"0={max(1, self._device.memory_mb * share_pct // 100)}M"
        return made

    def before_kill(self, pid: int) -> None:
        """Has the server end what the client has on the device; what cannot be is logged."""
        try:
            if self._ask.terminate(self._control, pid):
                logger.info("MPS client terminated pid=%d", pid)
        except DeviceError as error:
            logger.warning("MPS client not terminated pid=%d: %s", pid, error)

    def close(self) -> None:
        """Stops the daemon if it was started here. Idempotent."""
        self._ask.close()
        self._ready = False
        if self._child is None:
            return
        try:
            self._control.quit()
        except DeviceError as error:
            logger.warning("MPS daemon does not quit: %s", error)
        self._poll.unwatch(self._child.exit_fd)
        self._child.close(END_LIMIT_S)
        self._child = None

    def _use_own(self, program: str) -> None:
        try:
            self._control = own_control(program, self._folder)
        except DeviceError as error:
            raise ConfigError(f"partition mps: {error}") from error
        self._is_own = True

    def _start(self, now_s: float) -> None:
        environment = {
            **os.environ,
            **as_nvidia_smi_counts(os.environ),
            **self._control.environment,
            VISIBLE: self._device.gpu,
        }
        command = python("glet.serve.mps_child", str(os.getpid()), self._control.program, "-f")
        child = Child(command, environment=environment)
        self._child, self._started_s = child, now_s
        self._backoff.began()
        self._poll.watch(child.exit_fd, lambda: self._on_exit(child))

    def _on_exit(self, child: Child) -> None:
        self._poll.unwatch(child.exit_fd)
        self._died(describe_exit(child.close(END_LIMIT_S)))

    def _died(self, why: str) -> None:
        was_ready = self._ready
        self._why = why
        self._ask.forget()
        # One that spoke once is started again for as long as this process lives.
        self._deaths += not was_ready and self._is_new
        self._is_new &= not was_ready
        self._child, self._ready, self._missed = None, False, 0
        self._start_at_s = self._backoff.died(self._clock.now_s())
        logger.warning("MPS daemon at %s is gone: %s", self._control.pipes, why)
        if was_ready:
            self.on_death(f"the MPS daemon is gone: {why}")

    def _has_missed(self) -> bool:
        now_s = self._clock.now_s()
        if not self._ask.waits and now_s - self._asked_s < CHECK_S:
            return False
        if not self._ask.waits:
            self._asked_s = now_s
        answered = self._ask.answers(self._control)
        if answered is not None:
            self._missed = 0 if answered else self._missed + 1
        return self._missed >= MISSES

    def _check(self) -> None:
        """A daemon that is there and says nothing is as good as none."""
        if self._ready:
            if not self._has_missed():
                return
            why = "it does not answer"
        elif self._child is not None and self._clock.now_s() - self._started_s > START_LIMIT_S:
            why = f"it did not answer within {START_LIMIT_S:.0f} s of its start"
        else:
            return
        if self._child is not None:
            self._poll.unwatch(self._child.exit_fd)
            self._child.kill()
            self._child.close(END_LIMIT_S)
        elif not self._is_own:
            self._use_own(self._control.program)
        self._died(why)
