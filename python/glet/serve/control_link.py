"""The frontend's line to the controller: reports out, plans and rounds in."""

import logging
import os
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import msgspec
import zmq

from glet.clock import Clock
from glet.config.cluster import ClusterConfig
from glet.control.trigger import trigger_kind
from glet.serve.controller_child import ControllerChild, ControllerOptions, controller_endpoint
from glet.serve.poll_loop import PollLoop
from glet.types.plan import Plan
from glet.wire.address import check_bind
from glet.wire.channel import DealerChannel
from glet.wire.control_messages import NewPlan, Observed, RoundDone, SetAccept
from glet.wire.heartbeat import Liveness
from glet.wire.keys import KeyPair, cluster_pair
from glet.wire.messages import VERSION, ControllerToFrontend, FrontendReport, Hello

logger = logging.getLogger(__name__)

SILENT_AFTER_S = 5.0
# A planner may be at work for that long, on a busy machine; a process that hangs is ended.
HANGS_AFTER_S = 60.0
KEPT_ROUNDS = 20
NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Of a glet.plan.diff.PlanStep what is asked here."""

    kind: str


class PlanChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a round's record: enough to say what changed and why."""

    number: int
    trigger: str = ""
    why: str = ""
    plan: Plan | None = None
    steps: tuple[Step, ...] = ()
    moves: int = 0
    unmet: dict[str, float] = {}
    unplanned: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def reorganises(self) -> bool:
        """Whether gpulets or models come, go or change size; not only rates and batches."""
        return any(step.kind != "switch" for step in self.steps)

    @property
    def is_news(self) -> bool:
        """Whether somebody who watches should hear of it."""
        return self.reorganises or bool(self.errors)


class ControlLink:
    """Keeps what the controller said last."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        endpoint: str,
        name: str,
        child: ControllerChild | None,
        clock: Clock,
        keys: KeyPair | None = None,
    ) -> None:
        """`child` where this frontend starts the controller. Raises ConfigError."""
        hello = Hello(version=VERSION, role="frontend", name=name)
        self.channel: DealerChannel[ControllerToFrontend] = DealerChannel(
            context, endpoint, ControllerToFrontend, hello, keys
        )
        self.child = child
        if child is not None:
            child.on_end = self.lost
        self.name = name
        self._clock = clock
        self._alive: Liveness[str] = Liveness(SILENT_AFTER_S)
        self._up = False
        self._heard_s = clock.now_s()
        self._mode = ""
        self._observation = b""
        self._observed_s = 0.0
        self._round = 0
        self._errors: tuple[str, ...] = ()
        self._accept: dict[str, float] = {}
        self._last = PlanChange(number=0)
        self.changed: Counter[tuple[str, bool]] = Counter()
        self.failed_rounds = 0
        self._changes: deque[tuple[float, PlanChange]] = deque(maxlen=KEPT_ROUNDS)

    def greet(self) -> None:
        """Once a second: says hello until the controller is heard."""
        if not self._alive.alive(self.name, self._clock.now_s()):
            self._up = False
            self.channel.greet()

    def watch(self, poll: PollLoop) -> None:
        """Some times a second: starts the controller when it is time, ends one that hangs."""
        if self.child is None:
            return
        now_s = self._clock.now_s()
        silent_s = now_s - max(self._heard_s, self.child.begun_s)
        if self.child.is_frozen() or (self.child.pid and silent_s > HANGS_AFTER_S):
            logger.warning("controller silent for %.0f s, ending it", silent_s)
            self.child.kill()
        self.child.tick(poll)

    def lost(self) -> None:
        """The controller ended; what waits to be sent to it must not grow."""
        self._up = False
        self._alive.forget(self.name)

    def report(self, make: Callable[[], FrontendReport]) -> None:
        """Sends a report if anybody listens."""
        if self._up:
            self.channel.send(make())

    @property
    def accept(self) -> dict[str, float]:
        """Part of the requests to let in, by model; of all others, and without a controller, all.

        Nobody could say when it is enough again, and what comes too much the queues refuse.
        """
        return self._accept if self._up else {}

    def receive(self) -> tuple[list[NewPlan], list[PlanChange]]:
        """Takes what waits: plans, and rounds that changed the plan or failed."""
        plans: list[NewPlan] = []
        changes: list[PlanChange] = []
        for message in self.channel.receive():
            now_s = self._heard_s = self._clock.now_s()
            self._alive.heard(self.name, now_s)
            if not self._up and self.child is not None:
                self.child.serves()
            self._up = True
            if isinstance(message, NewPlan):
                plans.append(message)
            elif isinstance(message, Observed):
                self._mode = message.mode
                self._observation, self._observed_s = message.observation, now_s
            elif isinstance(message, SetAccept):
                self._accept = message.parts
            elif isinstance(message, RoundDone):
                changes += self._on_round(message, now_s)
        return plans, changes

    @property
    def follows(self) -> bool:
        """Whether its policy makes plans, as far as it has said."""
        return self._mode not in ("", "static")

    def refused(self, model: str) -> str:
        """Why the plan of the last round has not the model, as far as it says; '' otherwise."""
        if model in self._last.unplanned:
            return (
                f"control mode {self._mode} plans by profiles, and none says that it can be served "
                "in time; measure it with glet profile"
            )
        if self._last.unmet.get(model):
            return f"there is no room for it: {self._last.unmet[model]:g} requests/s are unmet"
        return ""

    def status(self) -> dict[str, Any]:
        """For `stats`: whether there is a controller, and how it is."""
        child = self.child
        return {
            "state": "running" if self._up else "down",
            "mode": self._mode,
            "round": self._round,
            "accept": self.accept,
            "pid": child.pid if child is not None else 0,
            "restarts": child.restarts if child is not None else 0,
            "error": child.error if child is not None and not self._up else "",
        }

    def body(self) -> dict[str, Any]:
        """For `observation`: the last one, and the last changes of the plan, newest last."""
        now_s = self._clock.now_s()
        seen = self._seen()
        return {
            "observation": seen,
            "age_s": now_s - self._observed_s if seen is not None else None,
            "controller": self.status(),
            "changes": self.changes(),
        }

    def changes(self) -> list[dict[str, Any]]:
        """The last changes of the plan, newest last; also in body()."""
        now_s = self._clock.now_s()
        return [_change_row(change, now_s - at_s) for at_s, change in self._changes]

    def close(self) -> None:
        """Ends the controller if it is ours."""
        if self.child is not None:
            self.child.close()
        self.channel.close()

    def _seen(self) -> Any:
        """The last observation, None without; one that cannot be read is none."""
        if not self._observation:
            return None
        try:
            return msgspec.json.decode(self._observation)
        except NO_JSON as error:
            logger.warning("the controller's observation cannot be read: %s", error)
            self._observation = b""
            return None

    def _count(self, change: PlanChange) -> None:
        """Into `changed`, by (kind of trigger, whether gpulets changed), and `failed_rounds`."""
        self.failed_rounds += bool(change.errors)
        if change.plan is not None:
            self.changed[trigger_kind(change.trigger), change.reorganises] += 1

    def _on_round(self, message: RoundDone, now_s: float) -> list[PlanChange]:
        self._round = message.round
        try:
            change = msgspec.json.decode(message.record, type=PlanChange)
        except NO_JSON as error:
            logger.warning("record of round %d cannot be read: %s", message.round, error)
            return []
        self._count(change)
        errors, self._errors, self._last = self._errors, change.errors, change
        if change.plan is None and (not change.errors or change.errors == errors):
            return []
        if self._changes and not change.is_news and not self._changes[-1][1].is_news:
            # Of other rates for the same gpulets the last ones are enough.
            self._changes.pop()
        self._changes.append((now_s, change))
        return [change]


def open_link(
    cluster: ClusterConfig,
    context: "zmq.Context[zmq.Socket[bytes]]",
    name: str,
    run_dir: str,
    clock: Clock,
) -> ControlLink | None:
    """The link of the frontend `name`, with the controller as its child where it starts one.

    `run_dir` is where sockets of the cluster lie. None when there is no controller to be found.
    Raises ConfigError.
    """
    control = cluster.control
    folder = f"{run_dir}/controller" if run_dir else ""
    if control.address and control.start:
        check_bind(control.address, beyond=cluster.binds_beyond)
    if not control.address and not folder:
        return None
    child = None
    if control.start:
        options = ControllerOptions(
            leader=name,
            run_dir=folder,
            cluster=cluster,
            parent_pid=os.getpid(),
            log_level=logging.getLevelName(logger.getEffectiveLevel()).lower(),
        )
        child = ControllerChild(options, clock)
    endpoint = control.address or controller_endpoint(folder)
    keys = cluster_pair(cluster.security)
    return ControlLink(context, endpoint, name, child, clock, keys)


def describe(change: PlanChange) -> str:
    """A change in one line."""
    if change.plan is None:
        return f"round {change.number} failed, the plan stays: {'; '.join(change.errors)}"
    gpulets = [gpulet for gpulet in change.plan.gpulets if gpulet.models]
    devices = len({gpulet.device for gpulet in gpulets})
    unmet = f", unmet {', '.join(sorted(change.unmet))}" if change.unmet else ""
    return (
        f"plan {change.number}: {len(gpulets)} gpulet{'s' * (len(gpulets) != 1)} on "
        f"{devices} device{'s' * (devices != 1)} ({change.trigger}; {change.why}{unmet})"
    )


def _change_row(change: PlanChange, ago_s: float) -> dict[str, Any]:
    gpulets = change.plan.gpulets if change.plan is not None else ()
    return {
        "round": change.number,
        "ago_s": ago_s,
        "trigger": change.trigger,
        "why": change.why,
        "changed": change.plan is not None,
        "gpulets": sum(bool(gpulet.models) for gpulet in gpulets),
        "devices": len({gpulet.device for gpulet in gpulets if gpulet.models}),
        "steps": len(change.steps),
        "reorganises": change.reorganises,
        "moves": change.moves,
        "unmet": change.unmet,
        "errors": change.errors,
        "text": describe(change),
    }
