"""The one loop of a daemon's main thread: sockets, descriptors, timers, signals."""

import math
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType

import zmq

from glet.clock import Clock

Source = int | zmq.Socket[bytes]
_STOP = (signal.SIGTERM, signal.SIGINT)


class PollLoop:
    """Calls back what is readable or due. It owns none of what it watches.

    SIGTERM and SIGINT only raise the flag `stopping` and wake the loop. As a context it puts the
    signal handlers in place, and back at its end; for the main thread.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._poller = zmq.Poller()
        self._callbacks: dict[Source, Callable[[], None]] = {}
        self._timers: list[tuple[float, float, Callable[[], None]]] = []
        self.stopping = False

    def __enter__(self) -> "PollLoop":
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup_before = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, self._on_signal) for number in _STOP}
        self.watch(self._woken, self._drain_wakeups)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        self.unwatch(self._woken)
        os.close(self._woken)
        os.close(self._wake)

    def watch(self, source: Source, on_readable: Callable[[], None]) -> None:
        """Calls back whenever the socket or descriptor is readable (level-triggered)."""
        self._callbacks[source] = on_readable
        self._poller.register(source, zmq.POLLIN)

    def unwatch(self, source: Source) -> None:
        """Before the source is closed; harmless when it is not watched."""
        if self._callbacks.pop(source, None) is not None:
            self._poller.unregister(source)

    def every(self, period_s: float, callback: Callable[[], None]) -> None:
        """Calls back now and then every `period_s`; missed turns are not made up for."""
        self._timers.append((self._clock.now_s(), period_s, callback))

    def run_once(self, limit_s: float) -> None:
        """Waits until something happens, a timer is due or `limit_s` passed, and calls back."""
        due_s = min((timer[0] for timer in self._timers), default=float("inf"))
        wait_s = max(0.0, min(limit_s, due_s - self._clock.now_s()))
        for source, _ in self._poller.poll(math.ceil(wait_s * 1000.0)):
            # A callback before this one may have closed and unwatched the source.
            callback = self._callbacks.get(source)
            if callback is not None:
                callback()
        now_s = self._clock.now_s()
        for index, (at_s, period_s, callback) in enumerate(self._timers):
            if at_s <= now_s:
                self._timers[index] = (now_s + period_s, period_s, callback)
                callback()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    def _drain_wakeups(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._woken, 4096)
