"""Talks to an MPS control daemon through its program, and never waits long for it.

The words are those of NVIDIA's MPS documentation, "nvidia-cuda-mps-control". glet changes no
setting of a card: MPS works in compute mode Default.
"""

import os
import re
from pathlib import Path

import msgspec

from glet.errors import DeviceError
from glet.serve.doctor_program import Reply, ask_program
from glet.serve.gpus import MPS_CONTROL

PIPES = "CUDA_MPS_PIPE_DIRECTORY"
LOGS = "CUDA_MPS_LOG_DIRECTORY"
USUAL_PIPES = "/tmp/nvidia-mps"
LIMIT_S = 2.0
_NUMBER = re.compile(r"^\d+$", re.MULTILINE)


class MpsControl(msgspec.Struct, frozen=True, kw_only=True):
    """A control daemon, there or not: found by its pipe directory."""

    program: str
    pipes: str
    logs: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process a client of this daemon."""
        return {PIPES: self.pipes, **({LOGS: self.logs} if self.logs else {})}

    def reply(self, command: str) -> Reply:
        """What its program said, without a code when it hung. Raises DeviceError without one."""
        try:
            return ask_program(
                [self.program],
                LIMIT_S,
                says=f"{command}\n",
                environment={**os.environ, **self.environment},
            )
        except OSError as error:
            raise DeviceError(f"{self.program}: {error.strerror}") from error

    def ask(self, command: str) -> str:
        """The daemon's answer. Raises DeviceError when there is none, or none in time."""
        reply = self.reply(command)
        if reply.code is None:
            raise DeviceError(
                f"the MPS daemon at {self.pipes} did not answer {command!r} in {LIMIT_S:g} s"
            )
        if reply.code != 0:
            raise DeviceError(
                f"the MPS daemon at {self.pipes} refused {command!r}: "
                f"{reply.last_line or f'exit code {reply.code}'}"
            )
        return reply.text

    def answers(self) -> bool:
        """Whether a daemon runs there, and speaks."""
        try:
            self.ask("get_server_list")
        except DeviceError:
            return False
        return True

    def servers(self) -> tuple[int, ...]:
        """Process ids of its servers: one per user. Raises DeviceError."""
        return numbers(self.ask("get_server_list"))

    def terminate(self, pid: int) -> bool:
        """Ends a client's work on the device before its process is killed; whether it was found.

        A client that is killed with kernels under way can take the others down with it. Raises
        DeviceError.
        """
        for server in self.servers():
            if pid in numbers(self.ask(f"get_client_list {server}")):
                self.ask(f"terminate_client {server} {pid}")
                return True
        return False

    def quit(self) -> None:
        """Ends the daemon and its servers. Raises DeviceError."""
        self.ask("quit -t 1")


def usual_control(program: str) -> MpsControl:
    """The daemon that this process's environment names, or where one usually is."""
    pipes = os.environ.get(PIPES, USUAL_PIPES)
    return MpsControl(program=program, pipes=pipes, logs=os.environ.get(LOGS, ""))


def own_control(program: str, folder: Path) -> MpsControl:
    """A daemon in a folder of its own, which is made. Raises DeviceError when it cannot be."""
    pipes, logs = folder / "p", folder / "l"
    # The daemon's socket has a name, which a path of the kernel's limit of 108 bytes has to hold.
    longest = len(str(pipes / "control_privileged").encode())
    if longest > 107:
        raise DeviceError(f"{pipes} is too long for the sockets of {MPS_CONTROL}")
    try:
        for path in (pipes, logs):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise DeviceError(f"{folder}: {error.strerror}") from error
    return MpsControl(program=program, pipes=str(pipes), logs=str(logs))


def numbers(text: str) -> tuple[int, ...]:
    """Process ids of an answer: a line each; words are left out."""
    return tuple(int(number) for number in _NUMBER.findall(text.replace("\r", "")))
