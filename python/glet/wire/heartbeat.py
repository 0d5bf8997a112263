"""Who lives: liveness by the time of the last sign, without a clock of its own."""

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Liveness(Generic[K]):
    """Peers and when each was last heard. Times are seconds of one monotonic clock."""

    def __init__(self, dead_after_s: float) -> None:
        self._dead_after_s = dead_after_s
        self._heard_s: dict[K, float] = {}

    def heard(self, peer: K, now_s: float) -> None:
        """Any message counts as a sign of life. A new peer is known from here on."""
        self._heard_s[peer] = max(now_s, self._heard_s.get(peer, now_s))

    def forget(self, peer: K) -> None:
        """No more is expected of this peer; harmless when it is not known."""
        self._heard_s.pop(peer, None)

    def alive(self, peer: K, now_s: float) -> bool:
        """Whether a known peer was heard within the limit."""
        return self.silence_s(peer, now_s) <= self._dead_after_s

    def silence_s(self, peer: K, now_s: float) -> float:
        """How long ago a peer was heard; endless for one that is not known."""
        return now_s - self._heard_s.get(peer, float("-inf"))

    def silent(self, now_s: float) -> list[K]:
        """Known peers beyond the limit, longest silent first."""
        late = [peer for peer in self._heard_s if not self.alive(peer, now_s)]
        return sorted(late, key=lambda peer: self._heard_s[peer])


class Backoff:
    """When to start a child again: at once, then 0.5 s, 1 s, ... up to `most_s`.

    After `stable_s` of service the next death is the first again: whatever ended such a process
    hardly comes with its start. So it is after `killed_s` when somebody ended it: a fault of its
    own looks otherwise, except want of memory, which mostly shows at the start. Life before it
    serves counts for nothing, so that one which dies of what it loads waits, however long that
    takes.
    """

    def __init__(
        self,
        first_s: float = 0.5,
        most_s: float = 10.0,
        stable_s: float = 5.0,
        killed_s: float = 1.0,
    ) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._stable_s = stable_s
        self._killed_s = killed_s
        self._failures = 0
        self._serves_since_s: float | None = None

    def began(self) -> None:
        """A start, or a change of what it serves; it does not serve yet."""
        self._serves_since_s = None

    def serves(self, now_s: float) -> None:
        """It serves from here on."""
        self._serves_since_s = now_s

    def died(self, now_s: float, *, killed: bool = False) -> float:
        """A death happened; returns when to start again, in seconds of the same clock.

        `killed`: by a signal that others send.
        """
        since_s = self._serves_since_s
        enough_s = self._killed_s if killed else self._stable_s
        if since_s is not None and now_s - since_s >= enough_s:
            self._failures = 0
        delay_s = 0.0
        if self._failures > 0:
            # The cap on the exponent keeps the power small after many deaths.
            delay_s = min(self._most_s, self._first_s * 2.0 ** min(self._failures - 1, 30))
        self._failures += 1
        return now_s + delay_s
