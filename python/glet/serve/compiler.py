"""Runs the compiling process (glet.serve.aoti) and says in one line why it failed, if it did."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from glet.clock import Clock
from glet.serve.aoti import REASON, RESULT, CompileResult
from glet.serve.compile_cache import LIBRARY, Cache
from glet.serve.compile_target import CompileTarget
from glet.serve.repository import Entry

COMPILE_LIMIT_S = 1800.0
REPORT_EVERY_S = 15.0


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """A folder with the library alone, or `needs`: why it cannot run without torch's Python."""

    folder: Path
    needs: str


class Compiler:
    """Compiles programs one after another; a context manager that owns its work folder.

    The folder is made at the first program, so that a run with nothing to do writes nothing, and
    shared by all, because AOTInductor's look at the CPU takes longer than many a model.
    """

    def __init__(self, cache: Cache, clock: Clock, target: CompileTarget) -> None:
        self._cache = cache
        self._clock = clock
        self._target = target
        self._open = ExitStack()
        self._work: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def compile(self, entry: Entry, tick: Callable[[], None]) -> Output | str:
        """The compiled program, or why there is none. `tick` is called every few seconds."""
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None:
            return f"no C++ compiler: {compiler} is not installed; apt install g++"
        if self._work is None:
            self._work = self._open.enter_context(self._cache.work_folder())
        out = Path(tempfile.mkdtemp(prefix="out-", dir=self._work))
        reason = self._run(entry, out, self._work, tick)
        if reason:
            shutil.rmtree(out)
            return f"compiling failed: {reason}"
        result = msgspec.json.decode((out / RESULT).read_bytes(), type=CompileResult)
        (out / RESULT).unlink()
        if result.needs:
            (out / LIBRARY).unlink()
        return Output(folder=out, needs=result.needs)

    def _run(self, entry: Entry, out: Path, work: Path, tick: Callable[[], None]) -> str:
        # For a GPU the whole entry: precision and order in memory are part of the code there.
        what = ["--gpu", str(entry.folder)] if self._target.on_gpu else [str(entry.path)]
        environment = {
            **os.environ,
            **self._target.environment,
            # Generated sources and objects go with the work folder; no pool of more processes.
            "TORCHINDUCTOR_CACHE_DIR": str(work / "inductor"),
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
        }
        log = work / "log.txt"
        with open(log, "wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "glet.serve.aoti", *what, str(out)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
            try:
                code = self._wait(process, tick)
            finally:
                _stop(process)
        if code is None:
            return f"not done after {COMPILE_LIMIT_S:.0f} s"
        return _why(code, out, log) if code else ""

    def _wait(self, process: "subprocess.Popen[bytes]", tick: Callable[[], None]) -> int | None:
        """Exit code, or None past the limit."""
        give_up_s = self._clock.now_s() + COMPILE_LIMIT_S
        while self._clock.now_s() < give_up_s:
            try:
                return process.wait(REPORT_EVERY_S)
            except subprocess.TimeoutExpired:
                tick()
        return None


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Ends the compiling process with everything it started (g++), if it still runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _why(code: int, out: Path, log: Path) -> str:
    if (out / REASON).is_file():
        return (out / REASON).read_text(encoding="utf-8")
    if code < 0:
        return f"the compiler was ended by {signal.Signals(-code).name} (out of memory?)"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {code}"
