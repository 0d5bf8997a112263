"""Waiting in tests: for a condition, never for a time. What never comes fails the test."""

from collections.abc import Callable
from typing import TypeVar

from glet.clock import SystemClock

# A busy machine takes tens of seconds for what an idle one does in one.
WAIT_S = 90.0
PAUSE_S = 0.05

T = TypeVar("T")


def wait_for(
    what: Callable[[], T],
    poll: Callable[[float], object] | None = None,
    limit_s: float = WAIT_S,
) -> T:
    """What `what` gives once that is true; meanwhile `poll` is called, to sleep or to turn a loop.

    Fails after `limit_s`.
    """
    clock = SystemClock()
    until_s = clock.now_s() + limit_s
    while not (found := what()):
        assert clock.now_s() < until_s, f"not within {limit_s:.0f} s"
        (poll or clock.sleep_s)(PAUSE_S)
    return found
