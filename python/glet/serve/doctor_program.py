"""Asks a program a question and gives up in time, whatever the program and its children do."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

PATIENCE_S = 2.0


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """`code` is None when the limit was over; `text` is what it wrote to both streams."""

    code: int | None
    text: str

    @property
    def last_line(self) -> str:
        lines = self.text.strip().splitlines()
        return lines[-1].strip() if lines else ""


def ask_program(
    command: Sequence[str],
    limit_s: float,
    *,
    says: str = "",
    environment: Mapping[str, str] | None = None,
) -> Reply:
    """Runs it with `says` on its standard input. Raises OSError when it cannot be started."""
    # Files and not pipes: a child of the program may hold a pipe open for as long as it lives.
    with tempfile.TemporaryFile() as question, tempfile.TemporaryFile() as answer:
        question.write(says.encode())
        question.seek(0)
        process = subprocess.Popen(
            command,
            stdin=question,
            stdout=answer,
            stderr=answer,
            env=environment,
            process_group=0,
        )
        try:
            code: int | None = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                # What hangs in a driver cannot be killed: it is left behind.
                with suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE_S)
        answer.seek(0)
        return Reply(code=code, text=answer.read().decode("utf-8", "replace"))
