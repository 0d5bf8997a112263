"""A model repository: a folder with one folder per model. Reading it never imports torch.

<name>/model.toml    signature, objective, largest batch (glet.config.model)
<name>/model.pt2     an exported program, or
<name>/model.pt      TorchScript, or
<name>/model.py      `def infer(*arrays)` or `def load()` that returns such a callable

<name>/app.toml      an app: a graph of models beside it (glet.config.app)
"""

import ast
import os
import re
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from glet.config.app import AppConfig, resolve
from glet.config.load import load, nearest, one_line
from glet.config.model import ModelConfig
from glet.errors import ConfigError
from glet.serve.program import mismatches, read_program
from glet.types.app import AppSpec
from glet.types.model import ModelSpec, TensorSpec

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
CALLABLES = ("infer", "load")
APP = "app.toml"
MODEL = "model.toml"


class Form(Enum):
    """What a model is stored as; the value is the file's name. First found wins."""

    PROGRAM = "model.pt2"
    TORCHSCRIPT = "model.pt"
    CALLABLE = "model.py"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One model of a repository."""

    name: str
    folder: Path
    form: Form
    config: ModelConfig

    @property
    def path(self) -> Path:
        return self.folder / self.form.value

    @property
    def spec(self) -> ModelSpec:
        return self.config.spec(self.name)


class Samples(msgspec.Struct, frozen=True, kw_only=True):
    """Inputs to try a model with: one array (n, ...) per input, and what is right where known."""

    inputs: dict[str, NDArray[Any]]
    labels: NDArray[np.int64] | None


class Repository:
    """The models and apps under one folder. Holds no state: every call looks at the disk again."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ConfigError(
                f"{folder}: is not a folder; a model repository is a folder of models"
            )
        self.folder = folder

    def names(self) -> list[str]:
        """Names of all models, sound or not, sorted."""
        return [name for name in self._folders() if not self._is_app(name)]

    def has(self, name: str) -> bool:
        """Whether there is an entry of that name, sound or not. Never fails."""
        return is_model_name(name) and (self.folder / name).is_dir()

    def app_names(self) -> list[str]:
        """Names of all apps, sound or not, sorted."""
        return [name for name in self._folders() if self._is_app(name)]

    def toml_files(self) -> frozenset[tuple[str, int, int]]:
        """Path, time of the last change in ns and size of each: others than before when an entry
        came, went or changed. Only looks, reads nothing. Raises OSError without the folder.
        """
        found = set()
        for folder in os.listdir(self.folder):
            for file in (APP, MODEL):
                path = f"{self.folder}/{folder}/{file}"
                with suppress(FileNotFoundError, NotADirectoryError):
                    seen = os.stat(path)
                    found.add((path, seen.st_mtime_ns, seen.st_size))
        return frozenset(found)

    def app(self, name: str) -> AppSpec:
        """The app of that name. Raises ConfigError with what is wrong, in one line."""
        return self.app_config(name)[1]

    def app_config(self, name: str) -> tuple[AppConfig, AppSpec]:
        """Its file as it is, and resolved over the models beside it. Raises like app()."""
        folder = self.folder / name
        try:
            if not is_model_name(name) or not self._is_app(name):
                raise ConfigError(f"not in {self.folder}; {nearest(name, self.app_names())}")
            if (folder / MODEL).exists():
                raise ConfigError(f"has both {APP} and model.toml; a folder is one or the other")
            config = load(folder / APP, AppConfig)
            return config, resolve(name, config, self._specs(config))
        except ConfigError as error:
            text = str(error).removeprefix(f"{folder}/")
            raise ConfigError(f"app {name!r}: {text}") from error

    def check_app(self, name: str) -> str | None:
        """Everything that is wrong with an app in one line, or None."""
        try:
            self.app(name)
        except ConfigError as error:
            return str(error).removeprefix(f"app {name!r}: ")
        return None

    def _specs(self, config: AppConfig) -> dict[str, ModelSpec]:
        """What the models that an app names look like, by name; of others nothing is read."""
        wanted = {stage.model for stage in config.stage}
        apps = wanted & set(self.app_names())
        if apps:
            raise ConfigError(f"{min(apps)!r} is an app; a stage names a model")
        missing = wanted - set(self.names())
        if missing:
            raise ConfigError(
                f"there is no model {min(missing)!r} in {self.folder}; "
                f"{nearest(min(missing), self.names())}"
            )
        return {name: self.entry(name).spec for name in sorted(wanted)}

    def _folders(self) -> list[str]:
        return sorted(
            path.name
            for path in self.folder.iterdir()
            if path.is_dir() and not path.name.startswith((".", "__"))
        )

    def _is_app(self, name: str) -> bool:
        return (self.folder / name / APP).is_file()

    def entries(self) -> list[Entry]:
        """All entries. Raises ConfigError for the first one that is wrong."""
        return [self.entry(name) for name in self.names()]

    def entry(
        self, name: str, *, slo_ms: float | None = None, max_batch: int | None = None
    ) -> Entry:
        """The entry of that name. Raises ConfigError with all that is wrong, in one line.

        What is given holds in place of what `model.toml` says.
        """
        given = {"slo_ms": slo_ms, "max_batch": max_batch}
        entry, problems = self._look(
            name, {key: value for key, value in given.items() if value is not None}
        )
        if entry is None or problems:
            raise ConfigError(f"model {name!r}: {'; '.join(problems)}")
        return entry

    def check(self, name: str) -> str | None:
        """Everything wrong with an entry in one line, or None. Reads the whole model file."""
        entry, problems = self._look(name)
        if entry is not None:
            problems += _damage(entry)
            problems += _sample_problems(entry)
        return "; ".join(problems) or None

    def stamp(self, name: str) -> tuple[tuple[str, int, int], ...]:
        """What files an entry has, when they were written and their bytes: another one, another
        entry. Empty when it cannot be read.
        """
        if not is_model_name(name):
            return ()
        try:
            files = [path for path in (self.folder / name).iterdir() if path.is_file()]
            found = [(path.name, path.stat()) for path in sorted(files)]
        except OSError:
            return ()
        return tuple((file, status.st_mtime_ns, status.st_size) for file, status in found)

    def _look(
        self, name: str, changes: Mapping[str, Any] | None = None
    ) -> tuple[Entry | None, list[str]]:
        folder = self.folder / name
        if not is_model_name(name) or not folder.is_dir():
            return None, [f"not in {self.folder}; {nearest(name, self.names())}"]
        if self._is_app(name):
            return None, ["is an app, no model"]
        problems = []
        form = next((form for form in Form if (folder / form.value).is_file()), None)
        if form is None:
            problems.append(f"has none of {', '.join(form.value for form in Form)}")
        config = None
        if not (folder / MODEL).is_file():
            problems.append("has no model.toml")
        else:
            try:
                config = load(folder / MODEL, ModelConfig)
            except ConfigError as error:
                problems.append(str(error).removeprefix(f"{folder}/"))
        if form is None or config is None:
            return None, problems
        try:
            config = msgspec.convert(
                {**msgspec.structs.asdict(config), **(changes or {})}, ModelConfig
            )
        except msgspec.ValidationError as error:
            return None, [*problems, one_line(str(error))]
        entry = Entry(name=name, folder=folder, form=form, config=config)
        return entry, problems + _contradictions(entry)


def is_model_name(name: str) -> bool:
    """Letters, digits, `_`, `-` and `.` only: safe in paths, plans and on the wire."""
    return _NAME.match(name) is not None


def read_samples(entry: Entry) -> Samples | None:
    """The entry's samples in the dtypes of its inputs, or None when it has none.

    Raises ConfigError when the file is damaged or does not fit the signature.
    """
    if not entry.config.samples:
        return None
    path = entry.folder / entry.config.samples
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"model {entry.name!r}: {path.name} cannot be read: {error}") from error
    inputs = {}
    for spec in entry.config.input:
        array = arrays.get(spec.name)
        if array is None or array.shape[1:] != spec.shape:
            has = "is missing" if array is None else f"has items of shape {list(array.shape[1:])}"
            raise ConfigError(
                f"model {entry.name!r}: in {path.name}, {spec.name!r} {has}; "
                f"it must be (n, {', '.join(str(size) for size in spec.shape)})"
            )
        inputs[spec.name] = _as_input(entry, path.name, spec, array)
    counts = {len(array) for array in (*inputs.values(), *_labels(arrays))}
    if len(counts) != 1:
        raise ConfigError(f"model {entry.name!r}: the arrays in {path.name} differ in length")
    labels = arrays["labels"].astype(np.int64) if "labels" in arrays else None
    return Samples(inputs=inputs, labels=labels)


def _as_input(entry: Entry, file: str, spec: TensorSpec, array: NDArray[Any]) -> NDArray[Any]:
    """In the dtype in which numpy has the input."""
    if spec.is_bytes == (array.dtype.kind in "SU"):
        return array.astype(object if spec.is_bytes else spec.dtype)
    raise ConfigError(
        f"model {entry.name!r}: in {file}, {spec.name!r} is {array.dtype.name}; "
        f"model.toml says {spec.dtype}"
    )


def _labels(arrays: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    return [arrays["labels"]] if "labels" in arrays else []


def _contradictions(entry: Entry) -> list[str]:
    tensor = entry.config.bytes_tensor
    if tensor is not None and entry.form is not Form.CALLABLE:
        return [f"{tensor!r} is of bytes, which needs model.py; this is {entry.form.value}"]
    if entry.form is not Form.PROGRAM and entry.config.runner == "compiled":
        return [f"runner = 'compiled' needs model.pt2, this is {entry.form.value}"]
    if entry.form is not Form.PROGRAM and entry.config.compile == "aoti":
        return [f"compile = 'aoti' needs model.pt2, this is {entry.form.value}"]
    try:
        if entry.form is Form.PROGRAM:
            program = read_program(entry.path)
            return mismatches(program, entry.config.signature, entry.config.max_batch)
        if entry.form is Form.TORCHSCRIPT:
            _check_torchscript(entry.path)
        else:
            _check_callable(entry.path)
    except ConfigError as error:
        return [str(error)]
    return []


def _check_torchscript(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            if not any("/code/" in name for name in archive.namelist()):
                raise ConfigError(
                    "model.pt holds tensors but no code; save with torch.jit.save, or export"
                )
    except (zipfile.BadZipFile, EOFError) as error:
        raise ConfigError(f"model.pt is corrupt or no TorchScript: {error}") from error


def _check_callable(path: Path) -> None:
    """Looks without running anything: serving decides when a model's code runs."""
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        at = f"model.py:{line}" if line else "model.py"
        raise ConfigError(f"{at}: {getattr(error, 'msg', error)}") from error
    named = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            named |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.ImportFrom | ast.Import):
            named |= {alias.asname or alias.name for alias in node.names}
    if not named & set(CALLABLES):
        raise ConfigError("model.py defines neither infer(*arrays) nor load()")


def _damage(entry: Entry) -> list[str]:
    if entry.form is Form.CALLABLE:
        return []
    try:
        with zipfile.ZipFile(entry.path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError):
        return []  # said already
    return [f"{entry.form.value} is corrupt: checksum of {broken} does not match"] if broken else []


def _sample_problems(entry: Entry) -> list[str]:
    problems = []
    try:
        read_samples(entry)
    except ConfigError as error:
        problems.append(str(error).removeprefix(f"model {entry.name!r}: "))
    labels = entry.config.labels
    if labels and not (entry.folder / labels).is_file():
        problems.append(f"labels file {labels!r} is missing")
    return problems
