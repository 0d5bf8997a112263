"""Runs checks of the doctor, a job a line on standard input, a finding a line on a pipe.

`python -m glet.serve.doctor_worker PIPE PARENT`. What a check throws beyond glet's own errors and
the system's ends this process, as a crash would; glet.serve.doctor_process reads its last line.
"""

import os
import signal
import sys
from importlib import import_module
from types import FrameType
from typing import BinaryIO

import msgspec

from glet.errors import GletError
from glet.serve.child import end_with_parent
from glet.serve.doctor_finding import Check, Finding, Wish
from glet.serve.doctor_process import Job


def main(jobs: BinaryIO, answers: BinaryIO) -> None:
    """Until there are no more jobs."""
    for line in jobs:
        job = msgspec.json.decode(line, type=Job)
        answers.write(msgspec.json.encode(run(job.check, job.wish)) + b"\n")
        answers.flush()


def run(check: Check, wish: Wish) -> Finding:
    """Calls the check's function."""
    module, _, function = check.where.partition(":")
    try:
        finding: Finding = getattr(import_module(module), function)(wish)
    except (GletError, OSError) as error:
        return Finding(state="failed", says=str(error))
    return finding


def _leave(number: int, frame: FrameType | None) -> None:
    # An exception, so that a check ends what it started.
    sys.exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)
    end_with_parent(int(sys.argv[2]), signal.SIGTERM)
    main(sys.stdin.buffer, os.fdopen(int(sys.argv[1]), "wb"))
