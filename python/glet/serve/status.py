"""What a daemon tells the process that started it: one JSON object a line through a pipe."""

import logging
import os
from typing import Literal

import msgspec

logger = logging.getLogger(__name__)

BEAT_S = 0.5


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a daemon's life. `failed`: it cannot start and ends with `exit_code`.

    `model_failed`: it goes on without the model. `serving`: every model of the plan is routed;
    `doors` are the addresses of other protocols.
    `alive`: its loop turns.
    """

    event: Literal["progress", "serving", "model_failed", "failed", "alive"]
    message: str = ""
    endpoint: str = ""
    doors: dict[str, str] = {}
    models: int = 0
    exit_code: int = 1


class StatusPipe:
    """The daemon's end of the pipe; without a descriptor everything is only logged."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        if descriptor is not None:
            # A parent that does not read must not stop the daemon.
            os.set_blocking(descriptor, False)

    def tell(self, event: Event) -> None:
        """Never raises: a parent that does not listen is no reason to stop."""
        is_good = event.event in ("progress", "serving")
        # With somebody at the other end of the pipe, an error is theirs to show.
        level = logging.INFO if is_good or self._descriptor is not None else logging.ERROR
        logger.log(level, "%s", event.message)
        self._write(event)

    def progress(self, message: str) -> None:
        """Tells a step."""
        self.tell(Event(event="progress", message=message))

    def beat(self) -> None:
        """Tells that the daemon's loop turns: call every BEAT_S."""
        self._write(Event(event="alive"))

    def _write(self, event: Event) -> None:
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, msgspec.json.encode(event) + b"\n")
        except BlockingIOError:
            logger.debug("parent does not read, not told: %s", event.message)
        except OSError:
            self._descriptor = None


class LineReader:
    """Lines of a non-blocking descriptor, whole ones only."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._rest = b""
        self.ended = False

    def lines(self) -> list[bytes]:
        """What came since the last call; `ended` is set when no more can come."""
        while True:
            try:
                data = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                break
            if not data:
                self.ended = True
                break
            self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        return lines
