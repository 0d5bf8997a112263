"""Starts a server, waits until it answers right, and ends it with all its processes."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from starts import BATCH, INPUT, MODELS, PEERS, SERVERS, Launch, Setting, Site, free_ports

START_S = 120.0
STOP_S = 10.0


class Running(NamedTuple):
    """A server that answers."""

    site: Site
    launch: Launch
    pid: int

    def body(self) -> str:
        return json.dumps(self.launch.body)

    def cpu_s(self) -> float:
        """CPU time of all processes of the server so far."""
        top = psutil.Process(self.pid)
        total = 0.0
        for process in (top, *top.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total


@contextmanager
def serve(setting: Setting, model: str, home: Path, work: Path) -> Iterator[Running]:
    """The server with `model`, once it answers right; its whole process group ends with it.

    Raises RuntimeError with the end of its log when it does not answer.
    """
    work.mkdir(parents=True)
    site = Site(home, work, model, *free_ports(3))
    launch = PEERS[setting.peer](site, **setting.options)
    max_batch, wait_ms = BATCH[model]
    env = os.environ | {"PYTHONPATH": str(SERVERS), "OMP_NUM_THREADS": "1"}
    env |= {"PEERS_MODEL": model, "PEERS_MODELS": str(MODELS), "PEERS_MAX_BATCH": str(max_batch)}
    env |= {"PEERS_WAIT_MS": str(wait_ms)} | launch.env
    if setting.peer == "glet":
        env = dict(os.environ)
    log = work / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            launch.command, env=env, cwd=work, stdout=out, stderr=out, start_new_session=True
        )
    try:
        running = Running(site, launch, server.pid)
        wait_until_it_answers(running, server, log)
        yield running
    finally:
        stop(server)


def wait_until_it_answers(running: Running, server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Returns when the server answered a request with the numbers that belong to it."""
    until = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < until:
        answer = ask(running)
        if answer is not None:
            if running.site.model == "echo" and answer != INPUT:
                raise RuntimeError(f"{log}: the echo answered {answer}")
            return
        time.sleep(0.2)
    tail = log.read_text(errors="replace")[-800:]
    raise RuntimeError(f"{' '.join(server.args)} does not answer: {tail}")  # type: ignore[arg-type]


def ask(running: Running, timeout_s: float = 30.0) -> list[float] | None:
    """The 16 numbers of one answer, or None when there is no good one."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.site.http}{running.launch.path}",
        running.body().encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            answer = json.load(response)
    except (OSError, urllib.error.URLError):
        return None
    if isinstance(answer, dict):
        answer = answer["y"] if "y" in answer else answer["outputs"][0]["data"]
    return [float(value) for value in np.ravel(answer)]


def stop(server: "subprocess.Popen[bytes]") -> None:
    """Asks the server's process group to end, and ends what is left of it and its children."""
    # Some servers put their processes into groups of their own.
    started: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(server.pid).children(recursive=True)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        server.wait(STOP_S)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    for process in started:
        # psutil knows a process by its start, too: not one that got its id since.
        with suppress(psutil.NoSuchProcess):
            process.kill()
    server.wait()
