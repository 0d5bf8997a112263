"""`glet up` on the made-up GPU."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from waiting import WAIT_S

FAKE_GPU = Path(__file__).resolve().parents[1] / "fake_gpu"


def environment(fake_cuda: Path) -> dict[str, str]:
    """Of a process that finds the made-up GPU and a stand-in for torch."""
    path = os.pathsep.join(filter(None, (str(FAKE_GPU), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "LD_LIBRARY_PATH": str(fake_cuda), "PYTHONPATH": path}


@contextmanager
def up(arguments: Sequence[str], env: Mapping[str, str]) -> Iterator[list[str]]:
    """What it said until it served, as the last line says. SIGTERM ends it well."""
    process = subprocess.Popen(
        [sys.executable, "-m", "glet.cli.main", "up", *arguments],
        env=dict(env),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        said: list[str] = []
        while not said or not said[-1].startswith("serving"):
            assert select.select([process.stdout], [], [], WAIT_S)[0], said
            line = process.stdout.readline()
            assert line, said
            said.append(line.strip())
        yield said
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(WAIT_S)
        finally:
            process.kill()
            process.stdout.close()
    assert process.returncode == 0
