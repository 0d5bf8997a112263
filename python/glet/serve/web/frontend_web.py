"""The web side of one frontend: takes what the doors ask, answers now or later."""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from glet.serve.web import published
from glet.serve.web.cuda_memory import CudaMemory
from glet.serve.web.dispatch import Web
from glet.serve.web.operations import Loads, Operations
from glet.serve.web.request import WebAnswer, WebRequest
from glet.serve.web.routes import Routes
from glet.serve.web.settings import LogSettings, TraceSettings
from glet.serve.web.shared_memory import SharedMemory


class FrontendWeb:
    """Between a core.FrontendLoop and the operations; take() is called while `fd` is readable."""

    def __init__(
        self,
        loop: Any,
        loads: Loads,
        models: Callable[[], Mapping[str, Mapping[str, Any]]],
        is_ready: Callable[[], bool],
        trace: TraceSettings | None = None,
    ) -> None:
        """`models` is what the frontend answers to `models`."""
        self._loop = loop
        self.models = models
        self.is_ready = is_ready
        taken: set[str] = set()
        self.memory = SharedMemory(loop.add_shm, loop.remove_shm, taken=taken)
        self.cuda = CudaMemory(
            loop.add_device_memory, loop.remove_shm, lambda: published.on_gpu(models()), taken
        )
        self.trace = trace or TraceSettings()
        log = LogSettings(logging.getLogger("glet"))
        operations = Operations(self, loads, self.memory, self.cuda, log, self.trace)
        self._web = Web(operations, self.reply)

    @property
    def fd(self) -> int:
        """Readable while take() has something to do."""
        return int(self._loop.web_fd())

    @property
    def routes(self) -> Routes:
        """Of HTTP, to add others to."""
        return self._web.routes

    def take(self) -> None:
        """Answers what waits, but for what is answered later."""
        for door, call, protocol, method, target, headers, body in self._loop.take_web():
            request = WebRequest(
                door=door,
                call=call,
                protocol=protocol,
                method=method,
                target=target,
                headers=tuple(headers),
                body=body,
            )
            answer = self._web.handle(request)
            if answer is not None:
                self.reply(request, answer)

    def close(self) -> None:
        """Lets go of shared memory; the loop still runs, or is closed."""
        self.memory.unregister()
        self.cuda.unregister()

    def counted(self) -> Mapping[str, Mapping[str, Any]]:
        """See Host in operations.py."""
        counted: Mapping[str, Mapping[str, Any]] = self._loop.stats()
        return counted

    def wall_ms(self) -> float:
        """See Host in operations.py."""
        return datetime.now(UTC).timestamp() * 1000.0

    def reply(self, request: WebRequest, answer: WebAnswer) -> None:
        """Once for each request."""
        self._loop.answer_web(
            request.door, request.call, answer.status, list(answer.headers), answer.body
        )
