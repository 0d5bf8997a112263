"""The frontend's line to one backend."""

import logging
from collections.abc import Sequence

import zmq

from glet.clock import Clock
from glet.types.plan import GpuletPlan
from glet.wire.channel import DealerChannel
from glet.wire.heartbeat import Liveness
from glet.wire.keys import KeyPair
from glet.wire.message import Message
from glet.wire.messages import (
    VERSION,
    ApplyPlan,
    BackendState,
    BackendToFrontend,
    Heartbeat,
    Hello,
    StateSeen,
)
from glet.wire.repository_messages import ModelRead

logger = logging.getLogger(__name__)

SILENT_AFTER_S = 2.0
RESEND_S = 1.0
# Who asked takes the answers within a second or so; others are nobody's.
MOST_READ = 1000


class BackendLink:
    """Keeps the last state of a backend, and the plan it should have."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        name: str,
        device: int,
        control: str,
        clock: Clock,
        keys: KeyPair | None = None,
    ) -> None:
        hello = Hello(version=VERSION, role="frontend", name=name)
        self.name = name
        self.device = device
        self.channel: DealerChannel[BackendToFrontend] = DealerChannel(
            context, control, BackendToFrontend, hello, keys
        )
        self.state: BackendState | None = None
        # Answers by request, until somebody takes them.
        self.read: dict[int, ModelRead] = {}
        self._clock = clock
        self._alive: Liveness[str] = Liveness(SILENT_AFTER_S)
        self._plan: tuple[GpuletPlan, ...] | None = None
        self._keep: tuple[str, ...] = ()
        self._is_new = False
        self._holds = False
        # Whoever made the plan also says what is kept while models move.
        self._is_ours = True
        # The life of the backend in which it was seen with a plan.
        self._planned_life = ""
        self._sent_s = float("-inf")

    def receive(self) -> bool:
        """Takes what waits; whether a state or an answer came."""
        came = False
        for message in self.channel.receive():
            if isinstance(message, BackendState):
                self._alive.heard(self.name, self._clock.now_s())
                self.state = message
                came = True
            elif isinstance(message, ModelRead):
                self.read[message.request] = message
                if len(self.read) > MOST_READ:
                    del self.read[next(iter(self.read))]
                came = True
        if came:
            self._settle_plan()
        return came

    def want(
        self, gpulets: Sequence[GpuletPlan], keep: Sequence[str] = (), *, holds: bool = False
    ) -> None:
        """The device's part of a new plan; sent now, and again to a backend that lost its plan.

        It serves the models in `keep` on, until keep() says otherwise. With `holds` it is also sent
        to a backend that another frontend gave another plan.
        """
        self._plan, self._keep = tuple(gpulets), tuple(keep)
        self._holds = holds
        self._is_ours = True
        self._send_new()

    def keep(self, models: Sequence[str]) -> None:
        """Which models the device has to serve although its plan does not have them any more."""
        if self._plan is None or not self._is_ours or self._keep == tuple(models):
            return
        if self.state is not None and self.state.plan != self._plan and not self._is_new:
            return  # it follows another frontend's plan
        self._keep = tuple(models)
        self._send_new()

    def planned(self) -> tuple[GpuletPlan, ...]:
        """What the device should look like: as was sent last, or as another frontend planned it."""
        return self._plan or ()

    def tell(self, message: Message) -> None:
        """Sends it; what a backend that is gone does not get is answered by nobody."""
        self.channel.send(message)

    def seen(self) -> None:
        """Tells the backend that requests are routed by its last state, where it waits for that."""
        if self.state is not None and _drains(self.state):
            self.channel.send(StateSeen(seq=self.state.seq))

    def beat(self) -> None:
        """Once a second; says hello until the backend was heard."""
        if self.state is None or self.silent():
            self.channel.greet()
        else:
            self.channel.send(Heartbeat())

    def silent(self) -> bool:
        """Whether the backend was not heard for a while, or never."""
        return not self._alive.alive(self.name, self._clock.now_s())

    def _send_new(self) -> None:
        self._is_new = True
        self._sent_s = float("-inf")
        self._settle_plan()

    def _settle_plan(self) -> None:
        """A backend that has another plan of another frontend keeps it; a new one gets ours."""
        state, plan = self.state, self._plan
        if state is None:
            return
        was_planned = state.incarnation == self._planned_life
        if state.plan:
            self._planned_life = state.incarnation
        if plan is None:
            # Without a plan of our own, what runs is the plan, also after the backend's restart.
            self._plan, self._keep = state.plan or None, state.keep
            return
        if state.plan == plan and state.keep == self._keep:
            self._is_new = False
            return
        if not (self._is_new or self._holds) and (state.plan or was_planned):
            # What others planned is what the backend has to get again after its restart.
            self._plan, self._keep = state.plan, state.keep
            self._is_ours = False
            return
        now_s = self._clock.now_s()
        if now_s - self._sent_s >= RESEND_S:
            self._sent_s = now_s
            self.channel.send(ApplyPlan(gpulets=plan, keep=self._keep))
            logger.info("plan sent backend=%s gpulets=%d", self.name, len(plan))


def _drains(state: BackendState) -> bool:
    return any(
        gpulet.state == "draining" or any(model.state == "draining" for model in gpulet.models)
        for gpulet in state.gpulets
    )
