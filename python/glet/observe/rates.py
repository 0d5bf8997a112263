"""Moving averages and recent maxima of a rate that is measured now and then."""

import math
from collections import deque


class MovingMean:
    """Exponentially weighted mean of a rate, by the time that passed and not by the calls made.

    A rate r that held for t seconds moves the mean by 1 - exp(-t / mean_s) towards r, so cutting
    a span in two with the same rate changes nothing. What came before the first span is unknown
    and not taken for 0: the weights of what is known are scaled to 1, as in Adam (Kingma and Ba,
    ICLR 2015, section 3, bias correction).
    """

    def __init__(self, mean_s: float) -> None:
        self._mean_s = mean_s
        self._sum = 0.0
        self._weight = 0.0

    def add(self, rate: float, span_s: float) -> None:
        """The rate over the last `span_s` > 0."""
        keep = math.exp(-span_s / self._mean_s)
        self._sum = keep * self._sum + (1.0 - keep) * rate
        self._weight = keep * self._weight + (1.0 - keep)

    @property
    def value(self) -> float:
        """0 before anything was added."""
        return self._sum / self._weight if self._weight > 0.0 else 0.0


class RecentPeak:
    """The largest of the values of the last `window_s`. Times must not go back."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        # Falling: a value that a later one exceeds can never be the largest again.
        self._values: deque[tuple[float, float]] = deque()

    def add(self, value: float, now_s: float) -> None:
        """A value that holds at `now_s`."""
        while self._values and self._values[-1][1] <= value:
            self._values.pop()
        self._values.append((now_s, value))

    def value(self, now_s: float) -> float:
        """0 when nothing was added within the window."""
        while self._values and self._values[0][0] < now_s - self._window_s:
            self._values.popleft()
        return self._values[0][1] if self._values else 0.0
