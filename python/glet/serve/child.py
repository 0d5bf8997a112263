"""Child processes of a daemon: none outlives its parent, each death is noticed at once."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

from glet.errors import PeerLostError

_PR_SET_PDEATHSIG = 1
# A child that is silent for so long and stopped by a signal does not go on by itself.
STOPPED_LIMIT_S = 1.0


class Child:
    """A process in a group of its own. The thread that starts it has to live as long as it does.

    `exit_fd` is readable once it ended; wait() and close() then free what is left of it.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        pass_fds: Sequence[int] = (),
        capture: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """With `capture` its standard output is read by `stdout_fd`. Raises OSError.

        `environment` is all of it; None: as this process has it.
        """
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if capture else None,
            pass_fds=tuple(pass_fds),
            env=environment,
            process_group=0,
        )
        self.pid = self._process.pid
        self.exit_fd = os.pidfd_open(self.pid)

    @property
    def stdout_fd(self) -> int:
        """Only with `capture`."""
        return self._process.stdout.fileno() if self._process.stdout is not None else -1

    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def is_stopped(self) -> bool:
        """Whether it is stopped by a signal, so that nothing of it runs."""
        try:
            with open(f"/proc/{self.pid}/stat", encoding="utf-8", errors="replace") as file:
                return file.read().rpartition(")")[2].split()[:1] == ["T"]
        except OSError:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Harmless once it ended."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends the whole group by force."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def close(self, patience_s: float = 0.0) -> int:
        """Waits this long for the end, then kills. Frees everything; returns the exit code."""
        try:
            code = self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.wait()
        if self.exit_fd >= 0:
            os.close(self.exit_fd)
            self.exit_fd = -1
        if self._process.stdout is not None:
            self._process.stdout.close()
        return code


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of glet under this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def end_with_parent(parent_pid: int, number: signal.Signals) -> None:
    """Has the kernel send this process `number` when its parent ends.

    Raises PeerLostError when the parent is gone already.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number.value, 0, 0, 0)
    if os.getppid() != parent_pid:
        raise PeerLostError(f"parent process {parent_pid} ended before its child was ready")


def was_killed(code: int) -> bool:
    """Whether an exit code says that somebody ended the process, not what it did itself."""
    return -code in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def describe_exit(code: int) -> str:
    """An exit code in words."""
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"exit code {code}"
