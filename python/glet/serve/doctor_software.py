"""Checks of what glet is made of: its core, Python, torch, a compiler, the cache. Facts first."""

import os
import platform
import shlex
import shutil
import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import msgspec

import glet
from glet.errors import DeviceError
from glet.serve.compile_cache import LIBRARY, RECORD, default_cache
from glet.serve.doctor_finding import Finding, Wish, found
from glet.serve.doctor_program import ask_program
from glet.serve.torch_path import WANTED, find_torch

MB = 1_000_000
FIRST_PYTHON = (3, 11)
LOW_DISK_MB = 1_000
PROGRAM_LIMIT_S = 10.0
# What AOTInductor asks of a compiler: a shared library with OpenMP, in C++20.
TRIAL = "#include <omp.h>\n#include <vector>\nint cores() { return omp_get_max_threads(); }\n"
TRIAL_FLAGS = ("-std=c++20", "-O1", "-fopenmp", "-shared", "-fPIC")


class Core(msgspec.Struct, frozen=True, kw_only=True):
    """Versions of the Python side and of the compiled core, or why that does not load.

    A core that was built by CMake alone, inside the tree, has no version.
    """

    version: str
    core_version: str
    problem: str


def core_loads(wish: Wish) -> Finding:
    """The compiled core opens, and is of this version."""
    try:
        version, problem = str(import_module("glet._core").__version__), ""
    except ImportError as error:
        version, problem = "", str(error)
    return judge_core(Core(version=glet.__version__, core_version=version, problem=problem))


def judge_core(facts: Core) -> Finding:
    """Nothing is served without it."""
    do = "build it: pip install . in glet's source tree (needs a C++20 compiler)"
    if facts.problem:
        return found("failed", f"glet's core does not load: {facts.problem}", facts, do)
    if facts.core_version not in ("", facts.version):
        says = f"glet is {facts.version}, but its core was built for {facts.core_version}"
        return found("failed", says, facts, do)
    return found("ok", f"glet {facts.version}, and its core loads", facts)


class Python(msgspec.Struct, frozen=True, kw_only=True):
    """Of the interpreter that runs glet."""

    version: tuple[int, int, int]
    implementation: str


def python(wish: Wish) -> Finding:
    """The interpreter's version."""
    major, minor, patch = platform.python_version_tuple()
    digits = "".join(character for character in patch if character.isdigit())
    return judge_python(
        Python(
            version=(int(major), int(minor), int(digits or 0)),
            implementation=platform.python_implementation(),
        )
    )


def judge_python(facts: Python) -> Finding:
    """The oldest that glet is tested with."""
    says = f"{facts.implementation} {'.'.join(map(str, facts.version))}"
    if facts.version[:2] < FIRST_PYTHON:
        wanted = ".".join(map(str, FIRST_PYTHON))
        return found("failed", f"{says} is too old", facts, f"install Python >= {wanted}")
    return found("ok", says, facts)


class Torch(msgspec.Struct, frozen=True, kw_only=True):
    """`interface` is the version that torch's library says of itself, `problem` what is wrong."""

    installed: bool
    version: str = ""
    interface: str = ""
    library: str = ""
    problem: str = ""


def torch(wish: Wish) -> Finding:
    """Torch is there, fits, and its library opens; torch itself is not imported."""
    return judge_torch(look_at_torch())


def look_at_torch() -> Torch:
    """Opens the library through the core, as an executor does."""
    if find_spec("torch") is None:
        return Torch(installed=False)
    try:
        install = find_torch()
    except DeviceError as error:
        return Torch(installed=True, problem=str(error).partition("; ")[0])
    library = str(install.libtorch_cpu)
    try:
        interface = import_module("glet._core").load_torch(library)
    except DeviceError as error:
        problem = str(error)
        return Torch(installed=True, version=install.version, library=library, problem=problem)
    return Torch(installed=True, version=install.version, interface=str(interface), library=library)


def judge_torch(facts: Torch) -> Finding:
    """Missing torch is no fault where nothing but callables or emulated devices is served."""
    do = "pip install 'glet[torch]'"
    if not facts.installed:
        says = "torch is not installed: only model.py and emulated devices can be served"
        return found("warning", says, facts, f"{do} (its CPU build is enough)")
    if facts.problem:
        return found("failed", facts.problem, facts, f"{do}; torch {WANTED} fits")
    says = f"torch {facts.version}; its library opens, C interface {facts.interface}"
    return found("ok", says, facts)


class CppCompiler(msgspec.Struct, frozen=True, kw_only=True):
    """`path` is empty when there is none; `problem` is why a trial did not compile."""

    command: str
    path: str = ""
    version: str = ""
    problem: str = ""


def compiler(wish: Wish) -> Finding:
    """The compiler that models would be compiled with, tried on three lines."""
    return judge_compiler(look_at_compiler(os.environ.get("CXX", "g++")))


def look_at_compiler(command: str) -> CppCompiler:
    """Asks for its version and compiles something with it."""
    path = shutil.which(command)
    if path is None:
        return CppCompiler(command=command)
    reply = ask_program([path, "--version"], PROGRAM_LIMIT_S)
    version = next(iter(reply.text.strip().splitlines()), "")
    with tempfile.TemporaryDirectory(prefix="glet-doctor-") as folder:
        source = Path(folder) / "trial.cpp"
        source.write_text(TRIAL, encoding="utf-8")
        target = str(source.with_suffix(".so"))
        trial = ask_program([path, *TRIAL_FLAGS, str(source), "-o", target], PROGRAM_LIMIT_S)
    problem = ""
    if trial.code is None:
        problem = f"it was not done with three lines after {PROGRAM_LIMIT_S:g} s"
    elif trial.code != 0:
        lines = trial.text.strip().splitlines()
        errors = [line for line in lines if "error" in line]
        problem = next(iter(errors or lines), f"exit code {trial.code}")
    return CppCompiler(command=command, path=path, version=version, problem=problem)


def judge_compiler(facts: CppCompiler) -> Finding:
    """Without one, models still run, in Python."""
    so = "exported models run in Python, slower, one at a time"
    if not facts.path:
        do = "apt install g++" if "CXX" not in os.environ else "apt install g++, or set CXX"
        says = f"no C++ compiler ({facts.command}): {so}"
        return found("warning", says, facts, do)
    if facts.problem:
        says = f"{facts.path} cannot compile for models: {facts.problem}: {so}"
        return found("warning", says, facts, "apt install g++ libgomp1, or set CXX to another")
    return found("ok", f"{facts.version} compiles", facts)


class CacheFolder(msgspec.Struct, frozen=True, kw_only=True):
    """Where compiled models are kept. `problem` says why nothing can be written there."""

    folder: str
    problem: str = ""
    models: int = 0
    size_mb: int = 0
    free_mb: int = 0


def cache(wish: Wish) -> Finding:
    """The compile cache can be written, and what is in it."""
    return judge_cache(look_at_cache(default_cache()))


def look_at_cache(folder: Path) -> CacheFolder:
    """Makes the folder where it is missing, as compiling would, and writes and removes a file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        free_mb = shutil.disk_usage(folder).free // MB
    except OSError as error:
        return CacheFolder(folder=str(folder), problem=error.strerror or str(error))
    records = list(folder.glob(f"*/{RECORD}"))
    files = [path for path in folder.rglob("*") if path.is_file()]
    return CacheFolder(
        folder=str(folder),
        models=sum((record.parent / LIBRARY).is_file() for record in records),
        size_mb=sum(path.stat().st_size for path in files) // MB,
        free_mb=free_mb,
    )


def judge_cache(facts: CacheFolder) -> Finding:
    """Nothing is compiled where its result cannot be kept."""
    folder = shlex.quote(facts.folder)
    if facts.problem:
        says = f"{folder}: cannot keep compiled models here: {facts.problem}"
        return found("failed", says, facts, "set XDG_CACHE_HOME, or say --cache DIR to glet up")
    says = (
        f"{folder} holds {facts.models} compiled models, {facts.size_mb} MB; "
        f"{facts.free_mb / 1000:.1f} GB free"
    )
    if facts.free_mb < LOW_DISK_MB:
        return found(
            "warning", f"{says}: that is little", facts, f"make room; rm -r {folder} is safe"
        )
    return found("ok", says, facts)
