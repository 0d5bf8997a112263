"""States go to all frontends, and what drains waits until all of them route by one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from waiting import wait_for

from glet.clock import ManualClock
from glet.serve.state_feed import RELEASE_LIMIT_S, StateFeed
from glet.types.device import DeviceInfo
from glet.wire.channel import DealerChannel, RouterChannel
from glet.wire.messages import (
    VERSION,
    BackendState,
    BackendToFrontend,
    FrontendToBackend,
    Hello,
)

STATE = BackendState(
    seq=0,
    name="b",
    incarnation="life",
    number=0,
    device=DeviceInfo(name="b", kind="cpu", type="cpu"),
)


class Rig:
    """A feed, and two frontends that said hello."""

    def __init__(self, endpoint: str) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.clock = ManualClock()
        self.router: RouterChannel[Any] = RouterChannel(
            self.context, endpoint, FrontendToBackend, Hello(version=VERSION, role="backend")
        )
        self.feed = StateFeed(self.router, self.clock)
        hello = Hello(version=VERSION, role="frontend")
        self.frontends: list[DealerChannel[Any]] = [
            DealerChannel(self.context, endpoint, BackendToFrontend, hello) for _ in range(2)
        ]
        wait_for(lambda: self.router.receive() and len(self.router.peers) == 2, lambda s: None)
        self.peers = list(self.router.peers)
        for peer in self.peers:
            self.feed.joined(peer)

    def send(self) -> list[bytes]:
        return self.feed.send(msgspec.structs.replace(STATE, seq=self.feed.seq + 1))

    def close(self) -> None:
        for frontend in self.frontends:
            frontend.close()
        self.router.close()
        self.context.term()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(f"ipc://{tmp_path}/b")
    yield made
    made.close()


def test_all_frontends_get_each_state(rig: Rig) -> None:
    assert rig.send() == rig.send() == []
    for frontend in rig.frontends:
        found: list[int] = []
        while len(found) < 2:
            assert frontend.socket.poll(20_000)
            found += [m.seq for m in frontend.receive() if isinstance(m, BackendState)]
        assert found == [1, 2]


def test_the_last_frontend_that_routes_by_a_state_releases_it(rig: Rig) -> None:
    one, other = rig.peers
    rig.send()
    assert not rig.feed.seen(one, 1)
    assert not rig.feed.released(1)
    assert rig.feed.seen(other, 1)
    assert rig.feed.released(1)
    assert not rig.feed.released(2)  # nobody has that one
    # What was seen is not taken back by a message that comes late.
    rig.send()
    assert not rig.feed.seen(one, 2)
    assert not rig.feed.seen(one, 1)
    assert rig.feed.seen(other, 2)


def test_a_frontend_that_went_is_not_waited_for(rig: Rig) -> None:
    one, other = rig.peers
    rig.send()
    rig.feed.seen(one, 1)
    assert not rig.feed.released(1)
    rig.feed.forget(other)
    assert rig.feed.released(1)
    assert list(rig.router.peers) == [one]


def test_nobody_is_waited_for_beyond_the_limit(rig: Rig) -> None:
    rig.send()
    rig.clock.sleep_s(RELEASE_LIMIT_S)
    assert not rig.feed.released(1)
    rig.clock.sleep_s(0.01)
    assert rig.feed.released(1)


def test_a_peer_that_cannot_be_reached_is_named(rig: Rig) -> None:
    rig.frontends.pop().close()
    gone = wait_for(rig.send)
    assert len(gone) == 1
    assert gone[0] in rig.peers
