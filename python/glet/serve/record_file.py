"""The record of a controller: a JSON object per line, in the file as soon as it is written."""

import logging
import os

from glet.errors import ConfigError

logger = logging.getLogger(__name__)


class RecordFile:
    """Appends lines; without a path it forgets them."""

    def __init__(self, path: str) -> None:
        """Raises ConfigError when the file cannot be written."""
        self._path = path
        self._file: int | None = None
        if not path:
            return
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._file = os.open(path, flags, 0o644)
        except OSError as error:
            raise ConfigError(f"record {path}: cannot be written: {error.strerror}") from error

    def append(self, line: bytes) -> None:
        """A line with its end. Never raises: serving goes on when a disk is full."""
        rest = memoryview(line)
        try:
            while self._file is not None and rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            logger.error("record %s ends here: %s", self._path, error.strerror)
            self.close()

    def close(self) -> None:
        """Calling it twice is harmless."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
