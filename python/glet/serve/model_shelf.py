"""The models that a backend can load, and the child process that compiles them first."""

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from glet.config.load import nearest
from glet.errors import ConfigError, ProfileError
from glet.profiles.latency_csv import LatencyProfile
from glet.serve.child import Child, describe_exit, python
from glet.serve.compile import Progress
from glet.serve.compile_cache import Compiled
from glet.serve.compile_target import compiles_on_gpu
from glet.serve.executor_env import PlainEnv
from glet.serve.poll_loop import PollLoop
from glet.serve.repository import Entry, Form, Repository
from glet.serve.status import LineReader
from glet.types.device import DeviceInfo
from glet.types.model import ModelSpec
from glet.wire.messages import AppState, ModelPhase, ModelSource, ModelState, Runner
from glet.wire.repository_messages import OfferModel

logger = logging.getLogger(__name__)

Stamp = tuple[tuple[str, int, int], ...]


class Read(NamedTuple):
    """What became of an entry that was read again: as in ModelRead.

    `is_another`: what was measured of the model before is not about it.
    """

    error: str = ""
    is_missing: bool = False
    is_stale: bool = False
    is_another: bool = False


class ModelShelf:
    """What is known of each model: an entry, where it runs, or why it cannot; and of `apps`.

    `on_change` is called when a compilation ends or apps are others; `say` takes progress in words.
    """

    def __init__(
        self,
        folder: Path,
        cache: str,
        profile: LatencyProfile | None,
        on_change: Callable[[], None],
        say: Callable[[str], None],
        *,
        gpu: DeviceInfo | None = None,
    ) -> None:
        """`gpu`: networks run on it. Raises ConfigError when the folder is none."""
        self._gpu = gpu
        self._repository = Repository(folder)
        self._cache = cache
        self._profile = profile
        self._on_change = on_change
        self._say = say
        self._entries: dict[str, Entry] = {}
        self._sources: dict[str, ModelSource] = {}
        self._errors: dict[str, str] = {}
        self._wanted: tuple[str, ...] = ()
        self._compiling: tuple[str, ...] = ()
        self._stamps: dict[str, Stamp] = {}
        # Withdrawn models and apps, each with the reason or ''.
        self._withdrawn: dict[str, str] = {}
        self._compiler: Child | None = None
        self._output: LineReader | None = None
        for name in self._repository.names():
            self._look(name)
        self._apps_of: frozenset[tuple[str, int, int]] | None = None
        self._apps: dict[str, AppState] = {}
        self._is_another_plan = False
        self.look_at_apps()

    @property
    def apps(self) -> tuple[AppState, ...]:
        """All apps, sorted."""
        return tuple(self._apps[name] for name in sorted(self._apps))

    def want(self, names: Iterable[str], poll: PollLoop) -> None:
        """Sees to it that these can be loaded: looks for unknown ones, compiles where needed."""
        self._wanted = tuple(dict.fromkeys(names))
        # What no plan names any more and nobody has is not told of for ever.
        known = {*self._wanted, *self._entries}
        self._errors = {
            name: why
            for name, why in self._errors.items()
            if name in known or self._repository.has(name)
        }
        for name in self._wanted:
            if name not in self._entries:
                self._look(name)
        self._is_another_plan = True
        self._compile_next(poll)

    def look_after_plan(self) -> None:
        """Looks at the apps if want() was called since; not there, where a device is waited for."""
        if self._is_another_plan:
            self._is_another_plan = False
            self.look_at_apps()

    def look_at_apps(self) -> None:
        """Reads the apps again when one of the repository's TOML files came, went or changed."""
        try:
            files = self._repository.toml_files()
            if files == self._apps_of:
                return
            found = {name: self._app(name) for name in self._repository.app_names()}
        except OSError as error:
            logger.warning("apps stay as they were, the repository cannot be read: %s", error)
            return
        # What was unloaded stays so until it is offered again.
        unloaded = {n: app for n, app in self._apps.items() if app.unloaded and n in found}
        self._apps, self._apps_of = found | unloaded, files
        self._on_change()

    def source(self, name: str, share_pct: int) -> ModelSource | None:
        """How to load it on a gpulet of that share; None while compiling, or when it cannot be.

        Raises ProfileError when a profiled model has no latency at that share.
        """
        source = self._sources.get(name)
        if source is None or self._profile is None:
            return source
        table = self._profile.table(name, share_pct, source.max_batch)
        return msgspec.structs.replace(source, compute_ms=tuple(table))

    def error(self, name: str) -> str:
        """Why it cannot be loaded, in one line; '' when nothing is wrong."""
        return self._errors.get(name, "")

    def spec(self, name: str) -> ModelSpec | None:
        """None for a model that is not sound."""
        entry = self._entries.get(name)
        return entry.spec if entry is not None else None

    def offer(self, offered: OfferModel, loaded: ModelSource | None) -> Read:
        """Reads an entry again, and serves it from now on; where it is not sound nothing changes.

        `loaded` is what an executor has of the model: with other files, or made for a smaller
        batch, it is stale, and nothing changes either.
        """
        name = offered.name
        if name in self._repository.app_names():
            return self._offer_app(name)
        try:
            entry = self._entry(name, offered.slo_ms, offered.max_batch)
            source = self._uncompiled(entry)
        except (ConfigError, ProfileError) as error:
            return Read(str(error), is_missing=name not in self._repository.names())
        stamp, before = self._repository.stamp(name), self._entries.get(name)
        same = before is not None and stamp == self._stamps.get(name)
        if loaded is not None and not (same and entry.config.max_batch <= loaded.max_batch):
            return Read(is_stale=True)
        self._withdrawn.pop(name, None)
        self._errors.pop(name, None)
        known = self._sources.pop(name, None)
        if known is not None and same and source is None:
            # Compiled already.
            source = model_source(entry, known.runner, known.path)
            source = msgspec.structs.replace(source, library=known.library, note=known.note)
        if not same:
            # What the compiler may be at is the entry before; it comes to this one after that.
            self._compiling = tuple(each for each in self._compiling if each != name)
        self._keep(entry, stamp, source)
        # Nor was it measured at batches that it could not have then.
        is_larger = before is not None and entry.config.max_batch > before.config.max_batch
        return Read(is_another=not same or is_larger)

    def withdraw(self, name: str, reason: str) -> None:
        """Not to be served until it is offered again; what is nowhere is not kept in mind."""
        known = {*self._entries, *self._errors, *self._apps}
        if name not in known and not self._repository.has(name):
            return
        self._withdrawn[name] = reason
        if name in self._apps:
            self._apps[name] = msgspec.structs.replace(
                self._apps[name], unloaded=True, error=reason
            )

    def states(self) -> tuple[ModelState, ...]:
        """All models, sorted."""
        known = {*self._entries, *self._errors}
        return tuple(self._state(name) for name in sorted(known))

    def close(self) -> None:
        """Ends a compilation that runs."""
        if self._compiler is not None:
            self._compiler.kill()
            self._compiler.close()
            self._compiler = None

    def _app(self, name: str) -> AppState:
        try:
            return AppState(name=name, spec=self._repository.app(name))
        except ConfigError as error:
            return AppState(name=name, error=str(error))

    def _offer_app(self, name: str) -> Read:
        app = self._app(name)
        if app.spec is None:
            return Read(app.error)
        for model in app.spec.models():
            if model not in self._entries:
                self._look(model)
        self._withdrawn.pop(name, None)
        self._apps[name] = app
        return Read()

    def _look(self, name: str) -> None:
        self._errors.pop(name, None)
        try:
            stamp, entry = self._repository.stamp(name), self._entry(name)
            source = self._uncompiled(entry)
        except (ConfigError, ProfileError) as error:
            self._errors[name] = str(error)
            return
        self._keep(entry, stamp, source)

    def _entry(self, name: str, slo_ms: float | None = None, max_batch: int | None = None) -> Entry:
        names = self._repository.names()
        if name not in names:
            hint = nearest(name, names)
            raise ConfigError(f"model {name!r}: not in {self._repository.folder}; {hint}")
        return self._repository.entry(name, slo_ms=slo_ms, max_batch=max_batch)

    def _keep(self, entry: Entry, stamp: Stamp, source: ModelSource | None) -> None:
        self._entries[entry.name], self._stamps[entry.name] = entry, stamp
        if source is not None:
            self._sources[entry.name] = source

    def _uncompiled(self, entry: Entry) -> ModelSource | None:
        """The source of an entry that needs no compiler."""
        if self._profile is not None:
            self._profile.shares(entry.name)
            return model_source(entry, "profiled", "")
        if self._gpu is not None:
            return None if compiles_on_gpu(entry) else gpu_source(entry)
        if entry.form is not Form.PROGRAM or entry.config.runner == "python":
            return model_source(entry, "python", str(entry.folder))
        return None

    def _state(self, name: str) -> ModelState:
        error = self._errors.get(name, "")
        state: ModelPhase = "compiling" if name in self._compiling else "known"
        if name in self._withdrawn:
            state, error = "unloaded", self._withdrawn[name]
        elif error:
            state = "failed"
        return ModelState(
            name=name,
            state=state,
            spec=self.spec(name),
            cost=self._cost(name),
            error=error,
        )

    def _cost(self, name: str) -> float:
        entry = self._entries.get(name)
        if entry is None:
            return 0.0
        if self._profile is not None:
            return self._profile.latency_ms(name, max(self._profile.shares(name)), 1)
        # Nothing is measured yet; an objective follows the latency it was set for.
        return entry.config.slo_ms

    def _compile_next(self, poll: PollLoop) -> None:
        if self._compiler is not None:
            return
        names = [n for n in self._wanted if n in self._entries and n not in self._sources]
        self._compiling = tuple(name for name in names if name not in self._errors)
        if not self._compiling:
            return
        cache = ["--cache", self._cache] if self._cache else []
        folder = ["--models", str(self._repository.folder)]
        gpu = ["--gpu"] if self._gpu is not None else []
        command = python("glet.serve.compile", *folder, *cache, *gpu, "--", *self._compiling)
        shown = PlainEnv(self._gpu).variables(()) if self._gpu is not None else {}
        environment = {**os.environ, **shown}
        compiler = self._compiler = Child(command, capture=True, environment=environment)
        self._output = LineReader(compiler.stdout_fd)
        poll.watch(compiler.stdout_fd, lambda: self._on_output(poll))

    def _on_output(self, poll: PollLoop) -> None:
        compiler, output = self._compiler, self._output
        if compiler is None or output is None:
            return
        for line in output.lines():
            try:
                self._on_progress(msgspec.json.decode(line, type=Progress))
            except msgspec.DecodeError as error:
                logger.warning("compiler said %r: %s", line[:200], error)
        if output.ended:
            poll.unwatch(compiler.stdout_fd)
            code = compiler.close(patience_s=1.0)
            self._compiler = self._output = None
            for name in self._compiling:
                if name not in self._sources and name not in self._errors:
                    self._not_compiled(name, f"compiling failed: {describe_exit(code)}")
            self._compiling = ()
            self._compile_next(poll)
        self._on_change()

    def _on_progress(self, progress: Progress) -> None:
        self._say(progress.line())
        entry, result = self._entries.get(progress.model), progress.result
        if result is None or entry is None or entry.name not in self._compiling:
            return
        if result.runner == "refused":
            self._errors[entry.name] = f"model {entry.name!r}: {result.reason}"
        elif self._gpu is not None:
            self._sources[entry.name] = gpu_source(entry, result)
        elif result.runner == "python":
            self._sources[entry.name] = model_source(entry, "python", str(entry.folder))
        else:
            self._sources[entry.name] = model_source(entry, "compiled", result.library)
        self._compiling = tuple(name for name in self._compiling if name != entry.name)

    def _not_compiled(self, name: str, why: str) -> None:
        """The compiler ended without a word about it."""
        entry = self._entries.get(name)
        if self._gpu is None or entry is None or entry.config.runner == "compiled":
            self._errors[name] = f"model {name!r}: {why}"
        else:
            self._sources[name] = gpu_source(
                entry, Compiled(model=name, runner="graph", reason=why)
            )


def gpu_source(entry: Entry, compiled: Compiled | None = None) -> ModelSource:
    """How an executor of a GPU loads an entry: a network, unless model.toml wants Python.

    `compiled`: what became of it where it was to be compiled for the GPU.
    """
    runner: Runner = "python" if entry.config.runner == "python" else "graph"
    source = model_source(entry, runner, str(entry.folder))
    if compiled is None:
        return source
    return msgspec.structs.replace(source, library=compiled.library, note=compiled.reason)


def model_source(entry: Entry, runner: Runner, path: str) -> ModelSource:
    """How an executor loads an entry: `path` is the compiled library, or the entry's folder."""
    return ModelSource(
        name=entry.name,
        runner=runner,
        signature=entry.config.signature,
        slo_ms=entry.config.slo_ms,
        max_batch=entry.config.max_batch,
        path=path,
    )
