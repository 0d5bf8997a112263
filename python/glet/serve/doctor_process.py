"""The process that runs the doctor's checks, replaced when a check took it down."""

import os
import select
import signal
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

import msgspec

from glet.clock import Clock
from glet.serve.child import describe_exit, python
from glet.serve.doctor_finding import Check, Finding, Wish

START_S = 30.0
PATIENCE_S = 2.0
MOST_LOG_BYTES = 64 << 10


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One line to the process; a Finding comes back, one line as well."""

    check: Check
    wish: Wish


class CheckProcess:
    """Runs checks one at a time, elsewhere. A context manager; the process starts when needed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._worker: _Worker | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def run(self, check: Check, wish: Wish) -> Finding:
        """What the check found; failed when it threw, crashed or took longer than it may."""
        limit_s = check.limit_s
        if self._worker is None:
            self._worker = _Worker(self._clock)
            limit_s += START_S
        answer = self._worker.ask(Job(check=check, wish=wish), limit_s)
        if isinstance(answer, Finding):
            return answer
        self._close()
        return Finding(
            state="failed",
            says=f"the check {answer}",
            do="run glet doctor again; if this stays, the library or driver it looks at is broken",
        )

    def _close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()


class _Worker:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard = b""
        with ExitStack() as opening:
            self._log = opening.enter_context(tempfile.TemporaryFile())
            self._answers, answers = os.pipe()
            opening.callback(os.close, self._answers)
            jobs, to_jobs = os.pipe()
            self._jobs = opening.enter_context(os.fdopen(to_jobs, "wb", buffering=0))
            try:
                self._process = subprocess.Popen(
                    python("glet.serve.doctor_worker", str(answers), str(os.getpid())),
                    stdin=jobs,
                    stdout=self._log,
                    stderr=self._log,
                    pass_fds=(answers,),
                    process_group=0,
                )
            finally:
                os.close(jobs)
                os.close(answers)
            self._open = opening.pop_all()

    def ask(self, job: Job, limit_s: float) -> Finding | str:
        """The finding, or what became of the check instead, in words."""
        # A pipe that broke is told apart below, by the end of the answers.
        with suppress(BrokenPipeError):
            self._jobs.write(msgspec.json.encode(job) + b"\n")
        poller = select.poll()
        poller.register(self._answers, select.POLLIN)
        until_s = self._clock.now_s() + limit_s
        while b"\n" not in self._heard:
            left_s = until_s - self._clock.now_s()
            if left_s <= 0.0 or not poller.poll(left_s * 1000.0):
                return f"did not end within {limit_s:g} s"
            chunk = os.read(self._answers, 1 << 16)
            if not chunk:
                return self._last_words()
            self._heard += chunk
        line, _, self._heard = self._heard.partition(b"\n")
        return msgspec.json.decode(line, type=Finding)

    def close(self) -> None:
        """Ends the process with all that it started; one that cannot be killed is left behind."""
        self._jobs.close()
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, number)
            if self._ended():
                break
        self._open.close()

    def _ended(self) -> bool:
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _last_words(self) -> str:
        """How the process ended; it closed its pipe, so its end is near."""
        if not self._ended():
            return "closed its pipe without an answer"
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - MOST_LOG_BYTES))
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        code = self._process.returncode
        if code > 0 and lines:
            return f"threw {lines[-1]}"
        return f"took its process down: {describe_exit(code)}"
