"""Compiles the exported programs of a repository for this machine, once, into a cache.

As a process: `python -m glet.serve.compile --models DIR [--cache DIR] [--gpu] [NAME ...]` prints
one JSON object a line (see Progress). Nothing here imports torch: each program is compiled by a
process of its own (glet.serve.aoti).
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from glet.clock import Clock, SystemClock
from glet.errors import GletError
from glet.serve.compile_cache import (
    LIBRARY,
    Cache,
    Compiled,
    cache_key,
    default_cache,
)
from glet.serve.compile_target import CompileTarget, cpu_target, gpu_target
from glet.serve.compiler import Compiler
from glet.serve.repository import Entry, Repository
from glet.serve.torch_path import find_torch

Event = Literal["compiling", "cached", "compiled", "python", "graph", "refused"]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a run over `total` models. `compiling` repeats while it lasts."""

    event: Event
    model: str
    index: int
    total: int
    elapsed_s: float = 0.0
    result: Compiled | None = None
    target: str = "cpu"

    def line(self) -> str:
        """The step in words."""
        where = f"({self.index} of {self.total})"
        reason = self.result.reason if self.result is not None else ""
        if self.event == "compiling":
            after = f" {self.elapsed_s:.0f} s" if self.elapsed_s >= 1 else ""
            return f"compiling {self.model} for {self.target} {where}...{after}"
        if self.event == "compiled":
            return f"compiled {self.model} for {self.target} {where} in {self.elapsed_s:.1f} s"
        if self.event == "cached":
            return f"{self.model} was compiled before {where}"
        if self.event == "python":
            return f"{self.model} runs in Python {where}: {reason}"
        if self.event == "graph":
            return f"{self.model} runs as CUDA graphs {where}: {reason}"
        return f"{self.model} cannot be served {where}: {reason}"


def compile_entries(
    entries: Sequence[Entry],
    cache: Cache,
    clock: Clock,
    report: Callable[[Progress], None],
    target: CompileTarget | None = None,
) -> list[Compiled]:
    """Compiles what is not compiled yet, for the CPU unless told; one result per entry, in order.

    A model that cannot be compiled is marked for the Python runner (on a GPU for CUDA graphs), with
    the reason; only with `runner = "compiled"` in its model.toml it is refused instead. Raises
    DeviceError when torch is missing or the cache cannot be written.
    """
    where = target or cpu_target()
    with Compiler(cache, clock, where) as compiler:
        return [
            _Step(entry, (index, len(entries)), (where, clock), report).run(cache, compiler)
            for index, entry in enumerate(entries, start=1)
        ]


def find_compiled(
    entry: Entry, cache: Cache, target: CompileTarget | None = None
) -> Compiled | None:
    """What is known of an entry without compiling; None when it would have to be compiled."""
    where = target or cpu_target()
    reason = where.why_not(entry)
    if reason:
        return Compiled(model=entry.name, runner=where.uncompiled, reason=reason)
    found = cache.find(_key(entry, where), entry.name)
    return _strict(entry, found) if found is not None else None


class _Step:
    """One entry of a run: its place in it, when it began, and whom to tell."""

    def __init__(
        self,
        entry: Entry,
        place: tuple[int, int],
        world: tuple[CompileTarget, Clock],
        report: Callable[[Progress], None],
    ) -> None:
        self._entry = entry
        self._place = place
        self._target, clock = world
        self._clock = clock
        self._report = report
        self._start_s = clock.now_s()

    def run(self, cache: Cache, compiler: Compiler) -> Compiled:
        result = find_compiled(self._entry, cache, self._target)
        if result is None:
            return self._compile(cache, compiler)
        self._tell("cached" if result.runner == "compiled" else result.runner, result)
        return result

    def _compile(self, cache: Cache, compiler: Compiler) -> Compiled:
        self._tell("compiling")
        key = _key(self._entry, self._target)
        with cache.lock(key):
            # Another process may have compiled it while this one waited for the lock.
            result = cache.find(key, self._entry.name) or self._publish(cache, key, compiler)
        result = _strict(self._entry, result)
        self._tell(result.runner, result)
        return result

    def _publish(self, cache: Cache, key: str, compiler: Compiler) -> Compiled:
        made = compiler.compile(self._entry, lambda: self._tell("compiling"))
        if isinstance(made, str):
            # Not cached: a compiler that is missing today may be there tomorrow.
            return Compiled(model=self._entry.name, runner=self._target.uncompiled, reason=made)
        library = made.folder / LIBRARY
        result = Compiled(
            model=self._entry.name,
            runner=self._target.uncompiled if made.needs else "compiled",
            reason=made.needs,
            compile_s=self._elapsed_s(),
            library_bytes=0 if made.needs else library.stat().st_size,
        )
        return cache.publish(key, made.folder, result)

    def _tell(self, event: Event, result: Compiled | None = None) -> None:
        index, total = self._place
        self._report(
            Progress(
                event=event,
                model=self._entry.name,
                index=index,
                total=total,
                elapsed_s=self._elapsed_s(),
                result=result,
                target=self._target.says,
            )
        )

    def _elapsed_s(self) -> float:
        return round(self._clock.now_s() - self._start_s, 3)


def _strict(entry: Entry, result: Compiled) -> Compiled:
    if entry.config.runner == "compiled" and result.runner in ("python", "graph"):
        return msgspec.structs.replace(result, runner="refused")
    return result


def _key(entry: Entry, target: CompileTarget) -> str:
    return cache_key(entry.path, find_torch().version, target.key_of(entry))


def main(argv: Sequence[str] | None = None) -> int:
    """The process: JSON lines on standard output, errors in one line, exit code 0, 1 or 2."""
    parser = argparse.ArgumentParser(prog="python -m glet.serve.compile", description=__doc__)
    parser.add_argument("--models", type=Path, required=True, metavar="DIR")
    parser.add_argument("--cache", type=Path, default=default_cache(), metavar="DIR")
    parser.add_argument("--gpu", action="store_true", help="for the first GPU")
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    options = parser.parse_args(argv)

    def write_line(progress: Progress) -> None:
        sys.stdout.write(msgspec.json.encode(progress).decode() + "\n")
        sys.stdout.flush()

    clock = SystemClock()
    try:
        repository = Repository(options.models)
        entries = [repository.entry(name) for name in options.names or repository.names()]
        target = gpu_target() if options.gpu else None
        results = compile_entries(entries, Cache(options.cache, clock), clock, write_line, target)
    except GletError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 1 if any(result.runner == "refused" for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
