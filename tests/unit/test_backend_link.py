"""Whose plan a backend gets: the frontend's own, or the one that another frontend made."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from glet.clock import ManualClock, SystemClock
from glet.serve.backend_link import MOST_READ, RESEND_S, BackendLink
from glet.types.device import DeviceInfo
from glet.types.plan import GpuletPlan
from glet.wire.channel import RouterChannel
from glet.wire.messages import (
    VERSION,
    ApplyPlan,
    BackendState,
    FrontendToBackend,
    GpuletPhase,
    GpuletState,
    Heartbeat,
    Hello,
    LoadedModel,
    LoadedPhase,
    StateSeen,
)
from glet.wire.repository_messages import ModelRead

OURS = (GpuletPlan(device=0, share_pct=50),)
THEIRS = (GpuletPlan(device=0, share_pct=80),)
WAIT_S = 20.0


class Rig:
    """A link, and the backend at its other end, which says what it is told to."""

    def __init__(self, endpoint: str) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.clock = ManualClock()
        self.channel: RouterChannel[FrontendToBackend] = RouterChannel(
            self.context, endpoint, FrontendToBackend, Hello(version=VERSION, role="backend")
        )
        self.link = BackendLink(self.context, "b", 0, endpoint, self.clock)
        self.seq = 0
        self._until(lambda: self._heard() is not None or bool(self.channel.peers))

    def close(self) -> None:
        self.link.channel.close()
        self.channel.close()
        self.context.term()

    def state(
        self,
        plan: tuple[GpuletPlan, ...],
        life: str = "1",
        keep: tuple[str, ...] = (),
        gpulets: tuple[GpuletState, ...] = (),
    ) -> None:
        """The backend says this, and the link has read it."""
        self.seq += 1
        self.clock.sleep_s(2 * RESEND_S)
        said = BackendState(
            seq=self.seq,
            name="b",
            incarnation=life,
            number=0,
            device=DeviceInfo(name="b", kind="cpu", type="cpu"),
            plan=plan,
            keep=keep,
            gpulets=gpulets,
        )
        (peer,) = self.channel.peers
        assert self.channel.send(peer, said)
        self._until(self.link.receive)

    def told(self) -> list[ApplyPlan]:
        """The plans that were sent up to now."""
        return [message for message in self.sent() if isinstance(message, ApplyPlan)]

    def sent(self) -> list[object]:
        """What was sent up to now: a heartbeat is a message that comes after it."""
        found: list[object] = []
        self.link.tell(Heartbeat())

        def has_all() -> bool:
            found.extend(message for _, message in self.channel.receive())
            return Heartbeat() in found

        self._until(has_all)
        return found[: found.index(Heartbeat())]

    def _heard(self) -> object:
        return next(iter(self.channel.receive()), None)

    def _until(self, what: Callable[[], bool]) -> None:
        clock = SystemClock()
        start_s = clock.now_s()
        while not what():
            assert clock.now_s() - start_s < WAIT_S
            clock.sleep_s(0.001)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(f"ipc://{tmp_path}/b")
    yield made
    made.close()


def plans(rig: Rig) -> list[tuple[GpuletPlan, ...]]:
    return [message.gpulets for message in rig.told()]


def test_a_backend_that_lost_its_plan_gets_it_again(rig: Rig) -> None:
    rig.link.want(OURS)
    rig.state(())
    assert plans(rig) == [OURS]
    rig.state(OURS)
    assert plans(rig) == []
    rig.state((), life="2")
    assert plans(rig) == [OURS]


def test_another_frontends_plan_is_taken_over(rig: Rig) -> None:
    rig.link.want(OURS)
    rig.state(OURS)
    rig.state(THEIRS, keep=("m",))
    rig.link.keep(())
    assert plans(rig) == []
    rig.state((), life="2")
    (again,) = rig.told()
    assert (again.gpulets, again.keep) == (THEIRS, ("m",))


def test_a_device_that_another_frontend_released_stays_so(rig: Rig) -> None:
    rig.link.want(OURS)
    rig.state(OURS)
    rig.state(())
    assert plans(rig) == []
    rig.state((), life="2")
    assert plans(rig) == []


def test_who_holds_a_plan_sends_it_until_it_is_there(rig: Rig) -> None:
    rig.link.want(OURS, holds=True)
    rig.state(OURS)
    plans(rig)
    for _ in range(2):
        rig.state(THEIRS)
        assert plans(rig) == [OURS]
    rig.link.want((), holds=True)
    rig.state(OURS)
    assert plans(rig)[-1] == ()
    rig.state(())
    assert plans(rig) == []


@pytest.mark.parametrize(
    ("gpulet", "model", "is_awaited"),
    [("ready", "ready", False), ("ready", "draining", True), ("draining", "ready", True)],
)
def test_only_what_drains_is_waited_for(
    rig: Rig, gpulet: GpuletPhase, model: LoadedPhase, is_awaited: bool
) -> None:
    loaded = LoadedModel(name="m", model=0, batch=1, state=model)
    there = GpuletState(
        gpulet=0, executor=0, share_pct=50, given_pct=50.0, state=gpulet, models=(loaded,)
    )
    rig.state(OURS, gpulets=(there,))
    rig.link.seen()
    assert rig.sent() == [StateSeen(seq=rig.seq)] * is_awaited


def test_answers_that_nobody_asked_for_do_not_pile_up(rig: Rig) -> None:
    (peer,) = rig.channel.peers
    for number in range(MOST_READ + 50):
        rig.channel.send(peer, ModelRead(request=number, name="m"))
        if number % 50 == 0:
            rig.link.receive()
    rig._until(lambda: rig.link.receive() and MOST_READ + 49 in rig.link.read)
    assert len(rig.link.read) == MOST_READ
