"""A backend's states on their way to frontends: numbered, and by which of them requests go."""

from glet.clock import Clock
from glet.wire.channel import RouterChannel
from glet.wire.messages import BackendState, FrontendToBackend

RELEASE_LIMIT_S = 1.0


class StateFeed:
    """Each state goes to all frontends. `seq` is the number of the last one."""

    def __init__(self, channel: RouterChannel[FrontendToBackend], clock: Clock) -> None:
        self._channel = channel
        self._clock = clock
        self.seq = 0
        self._sent_s: dict[int, float] = {}
        self._seen: dict[bytes, int] = {}

    def joined(self, peer: bytes) -> None:
        """A frontend that knows nothing yet."""
        self._seen[peer] = 0

    def seen(self, peer: bytes, seq: int) -> bool:
        """A frontend routes by that state; whether that was what all others waited for."""
        before = self._seen_by_all()
        self._seen[peer] = max(self._seen.get(peer, 0), seq)
        return self._seen_by_all() > before

    def forget(self, peer: bytes) -> None:
        """The frontend is gone."""
        self._channel.forget(peer)
        self._seen.pop(peer, None)

    def released(self, seq: int) -> bool:
        """Whether every frontend routes by the state of that number, or had its time to."""
        if seq > self.seq:
            return False
        if all(seen >= seq for seen in self._seen.values()):
            return True
        sent_s = self._sent_s.get(seq)
        return sent_s is None or self._clock.now_s() - sent_s > RELEASE_LIMIT_S

    def send(self, state: BackendState) -> list[bytes]:
        """The state of number `seq` + 1, to all frontends; those that are gone."""
        now_s = self._clock.now_s()
        self.seq = state.seq
        self._sent_s = {n: s for n, s in self._sent_s.items() if now_s - s <= 2 * RELEASE_LIMIT_S}
        self._sent_s[state.seq] = now_s
        return self._channel.send_all(state)

    def _seen_by_all(self) -> int:
        return min(self._seen.values(), default=self.seq)
