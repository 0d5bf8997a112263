"""The check of MPS: asked where one runs, else one is started, asked and stopped."""

import os
import shutil
import tempfile
from pathlib import Path

import msgspec

from glet.clock import Clock, SystemClock
from glet.errors import DeviceError
from glet.serve.child import Child, describe_exit, python
from glet.serve.doctor_finding import Finding, Wish, found
from glet.serve.gpus import MPS_CONTROL
from glet.serve.mps_control import LIMIT_S, MpsControl, numbers, own_control, usual_control

START_LIMIT_S = 10.0
PAUSE_S = 0.1
CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
IN_CONTAINER = (
    "in a container run the daemon inside it, as glet does; a daemon outside needs --ipc=host, its "
    "pipe directory mounted with CUDA_MPS_PIPE_DIRECTORY set, and the same user id"
)


class Mps(msgspec.Struct, frozen=True, kw_only=True):
    """`path` is empty where MPS is not installed. `running`: a daemon was there at `pipes`.

    `problem` says why it, or else one of our own, could not be asked; empty when it answered.
    """

    path: str
    pipes: str
    running: bool = False
    servers: int = 0
    hangs: bool = False
    problem: str = ""
    container: bool = False


def mps(wish: Wish) -> Finding:
    """Whether executors could be clients of MPS here; no setting of a card is touched."""
    return judge_mps(look_at_mps(SystemClock()))


def look_at_mps(clock: Clock) -> Mps:
    """A daemon that is there is only asked. One of our own lives for a moment, without a client.

    Without a client it makes no context on any device.
    """
    path = shutil.which(MPS_CONTROL) or ""
    usual = usual_control(path)
    about = Mps(path=path, pipes=usual.pipes, container=any(m.exists() for m in CONTAINER_MARKS))
    if not path:
        return about
    try:
        reply = usual.reply("get_server_list")
    except DeviceError as error:
        return msgspec.structs.replace(about, problem=str(error))
    if reply.code is None:
        return msgspec.structs.replace(about, hangs=True)
    if reply.code == 0:
        return msgspec.structs.replace(about, running=True, servers=len(numbers(reply.text)))
    return msgspec.structs.replace(about, problem=try_own(path, clock))


def try_own(path: str, clock: Clock) -> str:
    """Starts a daemon in a new folder, asks it, stops it. What went wrong, or ''."""
    folder = Path(tempfile.mkdtemp(prefix="glet-mps-"))
    try:
        control = own_control(path, folder)
        environment = {**os.environ, **control.environment}
        command = python("glet.serve.mps_child", str(os.getpid()), path, "-f")
        child = Child(command, environment=environment)
        try:
            return _wait(control, child, clock)
        finally:
            child.close(LIMIT_S)
    except DeviceError as error:
        return str(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(control: MpsControl, child: Child, clock: Clock) -> str:
    until_s = clock.now_s() + START_LIMIT_S
    why = "it did not start"
    while clock.now_s() < until_s:
        code = child.exit_code()
        if code is not None:
            return f"a daemon of our own ended at once ({describe_exit(code)})"
        try:
            control.servers()
            control.quit()
            return ""
        except DeviceError as error:
            why = str(error)
        clock.sleep_s(PAUSE_S)
    return why


def judge_mps(facts: Mps) -> Finding:
    """MPS is a choice: gpulets of one process do not need it."""
    if not facts.path:
        says = f"MPS is not installed ({MPS_CONTROL} is not in PATH)"
        return found("skipped", f"{says}; gpulets in one process do not need it", facts)
    if facts.hangs:
        return found(
            "failed",
            f"the MPS daemon at {facts.pipes} does not answer within {LIMIT_S:g} s; "
            "CUDA programs that find it will hang as well",
            facts,
            "have its owner end it, or set CUDA_MPS_PIPE_DIRECTORY to an empty folder",
        )
    if facts.running:
        servers = f"{facts.servers} server{'s' * (facts.servers != 1)}"
        return found("ok", f"an MPS daemon runs at {facts.pipes} with {servers}", facts)
    if facts.problem:
        do = "see its log in CUDA_MPS_LOG_DIRECTORY; partition green needs no MPS"
        if facts.container:
            do = IN_CONTAINER
        return found("warning", f"MPS is installed, and cannot be used: {facts.problem}", facts, do)
    return found("ok", "MPS is installed; a daemon was started, answered and was stopped", facts)
