"""Where compiled models are kept, and under what key. Never imports torch.

<cache>/<key>/compiled.json    what became of the program, see Compiled
<cache>/<key>/model.so         the library, when it can be served without Python
<cache>/<key>/*.cubin          its kernels, when it is for a GPU

An entry appears by a rename, so it is whole or not there. It is good for one target (this machine's
CPU, or a kind of GPU in it), one torch and one content of `model.pt2`: all three are in the key.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import msgspec

from glet.clock import Clock
from glet.errors import DeviceError

FORMAT = 1
# The generated code asks for its thread count when it runs, see glet.serve.aoti.
THREADING = "dynamic threads"
LIBRARY = "model.so"
RECORD = "compiled.json"
LOCK_LIMIT_S = 3600.0
_LOCK_POLL_S = 0.2


class Compiled(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a model: `compiled` (a library), `refused` (cannot be served), or what serves
    it uncompiled: `python`, on a GPU `graph`.

    `reason` says why it is not compiled, in one line.
    """

    model: str
    runner: Literal["compiled", "python", "graph", "refused"]
    reason: str = ""
    library: str = ""
    compile_s: float = 0.0
    library_bytes: int = 0


class Cache:
    """The folder of compiled models. Safe to share between processes."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self._clock = clock

    def find(self, key: str, model: str) -> Compiled | None:
        """What is cached under the key, told of `model`; None when there is nothing whole."""
        folder = self.folder / key
        try:
            found = msgspec.json.decode((folder / RECORD).read_bytes(), type=Compiled)
        except (OSError, msgspec.DecodeError):
            return None
        library = folder / LIBRARY
        if found.runner == "compiled" and not library.is_file():
            return None
        path = str(library) if found.runner == "compiled" else ""
        return msgspec.structs.replace(found, model=model, library=path)

    def publish(self, key: str, made: Path, result: Compiled) -> Compiled:
        """Moves the folder `made` (on the same file system) into the cache under the key."""
        (made / RECORD).write_bytes(msgspec.json.encode(result))
        target = self.folder / key
        shutil.rmtree(target, ignore_errors=True)
        os.replace(made, target)
        path = str(target / LIBRARY) if result.runner == "compiled" else ""
        return msgspec.structs.replace(result, library=path)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Holds the name against all other processes. Raises DeviceError after an hour's wait."""
        self._create()
        with open(self.folder / f".{name}.lock", "w") as file:
            give_up_s = self._clock.now_s() + LOCK_LIMIT_S
            while not _try_lock(file.fileno()):
                if self._clock.now_s() > give_up_s:
                    raise DeviceError(f"{file.name}: held by another process for an hour")
                self._clock.sleep_s(_LOCK_POLL_S)
            yield

    @contextmanager
    def work_folder(self) -> Iterator[Path]:
        """A folder to compile in, removed at the end; what crashed processes left goes as well."""
        with self.lock("work"):
            for left in self.folder.glob(".work-*"):
                _remove_unless_locked(left)
            work = Path(tempfile.mkdtemp(prefix=".work-", dir=self.folder))
            descriptor = os.open(work, os.O_RDONLY)
            _try_lock(descriptor)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
            os.close(descriptor)

    def _create(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DeviceError(
                f"{self.folder}: cannot keep compiled models here: {error.strerror}; "
                "choose another folder with --cache"
            ) from error


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/glet`, or `~/.cache/glet`."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "glet"


def cache_key(program: Path, torch_version: str, machine: str) -> str:
    """Key of an exported program compiled by this torch for this machine."""
    digest = hashlib.sha256()
    with open(program, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    for part in (torch_version, machine, THREADING, str(FORMAT)):
        digest.update(b"\0" + part.encode())
    return digest.hexdigest()[:32]


def this_machine() -> str:
    """The CPU as far as generated code depends on it: architecture, model and instruction sets."""
    wanted = ("vendor_id", "cpu family", "model", "model name", "flags", "Features")
    found: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in wanted:
                found.setdefault(name.strip(), value.strip())
    return "\n".join([platform.machine(), *(f"{name}={found[name]}" for name in sorted(found))])


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_unless_locked(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        if _try_lock(descriptor):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)
