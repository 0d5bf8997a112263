"""Run directories: where the ipc sockets of one daemon lie, for its user alone."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from glet.errors import ConfigError
from glet.wire.address import IPC_BYTES

# Room for `/e1234-1234` behind the folder.
NAME_BYTES = 16


class RunDir:
    """A folder (mode 0700) that one process holds at a time, removed with everything in it."""

    def __init__(self, path: Path | None) -> None:
        """None makes a new one. Raises ConfigError when it cannot be had, or another holds it."""
        try:
            if path is None:
                path = Path(tempfile.mkdtemp(prefix="glet-"))
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.chmod(0o700)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"run directory {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise ConfigError(
                f"run directory {path}: another daemon runs there; stop it, or choose another"
            ) from error
        self.path = path
        longest = len(str(path).encode()) + NAME_BYTES
        if longest > IPC_BYTES:
            self.close()
            raise ConfigError(
                f"run directory {path}: its path is too long for sockets; "
                f"at most {IPC_BYTES - NAME_BYTES} bytes are valid"
            )

    def endpoint(self, name: str) -> str:
        """An ipc endpoint in the folder."""
        return f"ipc://{self.path}/{name}"

    def close(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
