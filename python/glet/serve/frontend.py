"""The frontend's control side: plans out, states in, routes to the native loop, clients' questions.

Requests never pass here: core.FrontendLoop answers them in a thread of its own.
"""

import logging
import secrets
import socket
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import zmq

from glet.clock import Clock
from glet.config.cluster import ClusterConfig
from glet.errors import UnavailableError
from glet.plan import model_list
from glet.plan.even import without
from glet.serve import load_ops
from glet.serve.backend_links import BackendLinks
from glet.serve.control_link import describe, open_link
from glet.serve.control_report import app_counters, bare, counters
from glet.serve.door_limits import set_limits
from glet.serve.doors import open_doors
from glet.serve.even_plan import spread, with_model
from glet.serve.frontend_report import models_body
from glet.serve.hand_over import still_needed
from glet.serve.loading import Loading
from glet.serve.poll_loop import PollLoop
from glet.serve.readiness import Readiness, serves_whole, serving
from glet.serve.route_table import RouteTable, outlasting, routing
from glet.serve.run_dir import RunDir
from glet.serve.status import BEAT_S as STATUS_BEAT_S
from glet.serve.status import Event, StatusPipe
from glet.serve.tracing import start_tracing
from glet.serve.watched import Watched
from glet.serve.web.frontend_web import FrontendWeb
from glet.serve.web.monitor import LOOK_S
from glet.serve.web.pages import add_pages
from glet.serve.web.settings import trace_settings
from glet.serve.zmq_gates import open_clients_port
from glet.types.plan import Plan, problems
from glet.wire.messages import BackendState, FrontendReport

logger = logging.getLogger(__name__)

BEAT_S = 1.0
TICK_S = 0.25
POLL_S = 0.25
REPORT_S = 0.25
DRAIN_POLL_S = 0.01
# How long to wait for backends that have not said hello, once one has.
HELLO_LIMIT_S = 10.0
# How long a controller has to plan a model that it was not told of before.
PLANNED_WITHIN_S = 10.0


class Frontend:
    """Loop, links and routes; run() is the daemon."""

    def __init__(self, cluster: ClusterConfig, status: StatusPipe, clock: Clock) -> None:
        """Raises ConfigError when the listen address is taken or the plan is wrong."""
        self._cluster = cluster
        self._status = status
        self._clock = clock
        self._started_s = clock.now_s()
        given = static_plan(cluster)
        # Who follows the traffic starts from a given plan; what runs already has gone on from it.
        self._first_plan = given if cluster.control.mode not in ("auto", "static") else None
        self._plan = given if self._first_plan is None else None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._loop, self._endpoint, self._gate = open_clients_port(cluster)
        set_limits(self._loop, cluster)
        self._doors, self._guard = open_doors(self._loop, cluster)
        self._tracing = start_tracing(self._loop, cluster.trace)
        self._loop.set_starting(True)
        self._table = RouteTable(self._loop)
        self._readiness = Readiness(self._loop)
        self._links = BackendLinks(self._context, cluster, clock)
        # The devices of the plan while it is of nobody's making: what was there, spread evenly.
        self._spread: set[int] | None = None
        self._incarnation = secrets.token_hex(8)
        control = cluster.control
        owns_folder = control.start and not control.address and not cluster.run_dir
        self._run_dir = RunDir(None) if owns_folder else None
        folder = str(self._run_dir.path) if self._run_dir is not None else cluster.run_dir
        self._name = f"{socket.gethostname()} {self._endpoint}"
        self._control = open_link(cluster, self._context, self._name, folder, clock)
        self._loading = Loading(self._links, self, clock)
        self._web = FrontendWeb(
            self._loop,
            self._loading,
            lambda: models_body(self._states(), self._table.applied),
            lambda: self._readiness.is_ready and not self._is_starting,
            trace_settings(self._tracing, cluster.trace),
        )
        self._watched = Watched(
            states=self._states,
            silent=self._silent,
            stats=self._loop.stats,
            routing=lambda: self._table.applied,
            control=self._control,
            tracing=self._tracing,
        )
        self._monitor = add_pages(self._web, self._loading, self._watched, cluster, clock)
        self._known_silent: frozenset[str] = frozenset()
        self._told: set[str] = set()
        self._holds = False
        self._is_starting = True
        self._is_ready = False
        if self._plan is not None:
            self._send_plan(self._plan)

    def run(self) -> None:
        """Serves until SIGTERM, then answers what is outstanding."""
        with PollLoop(self._clock) as poll:
            self._loop.start()
            logger.info("listens at %s", ", ".join((self._endpoint, *self._doors.values())))
            poll.watch(self._loop.control_fd(), self._on_control)
            poll.watch(self._web.fd, self._web.take)
            for link in self._links:
                poll.watch(link.channel.socket, self._on_backends)
            if "http" in self._doors:
                poll.every(LOOK_S, self._monitor.tick)
                page = self._guard.url(self._doors["http"])
                self._status.progress(f"dashboard at {page}/dashboard")
            poll.every(BEAT_S, self._guard.renew)
            poll.every(BEAT_S, lambda: self._beat(poll))
            poll.every(TICK_S, self._settle)
            poll.every(STATUS_BEAT_S, self._status.beat)
            self._watch_controller(poll)
            while not poll.stopping:
                poll.run_once(POLL_S)
            self._drain(poll)
        logger.info("stopped")

    def close(self) -> None:
        """Closes everything."""
        self._loop.close()
        if self._gate is not None:
            self._gate.close()
        self._web.close()
        if self._tracing is not None:
            self._tracing.close()
        if self._control is not None:
            self._control.close()
        for link in self._links:
            link.channel.close()
        self._context.term()
        if self._run_dir is not None:
            self._run_dir.close()

    def _watch_controller(self, poll: PollLoop) -> None:
        control = self._control
        if control is not None:
            poll.watch(control.channel.socket, self._on_controller)
            poll.every(BEAT_S, control.greet)
            poll.every(TICK_S, lambda: control.watch(poll))
            poll.every(REPORT_S, self._report)

    def _drain(self, poll: PollLoop) -> None:
        self._loop.stop_admitting()
        until_s = self._clock.now_s() + self._cluster.drain_s
        while self._loop.outstanding() > 0 and self._clock.now_s() < until_s:
            poll.run_once(DRAIN_POLL_S)

    def _beat(self, poll: PollLoop) -> None:
        if self._gate is not None:
            self._gate.refresh()
        self._refresh(poll)
        for link in self._links:
            link.beat()

    def _refresh(self, poll: PollLoop) -> None:
        """Backends that came are taken up; requests of those that went are tried elsewhere."""
        change = self._links.refresh()
        for link in change.gone:
            logger.info("backend gone name=%s", link.name)
            poll.unwatch(link.channel.socket)
            link.channel.close()
        for link in change.new:
            logger.info("backend came name=%s", link.name)
            poll.watch(link.channel.socket, self._on_backends)
            if self._plan is not None:
                keep = still_needed(self._plan, link.device, self._heard())
                link.want(self._plan.on_device(link.device), keep, holds=self._holds)
        if change.gone or change.new:
            self._settle()

    def _on_backends(self) -> None:
        came = [link for link in self._links if link.receive()]
        if came:
            self._settle()
        for link in came:
            link.seen()

    def _settle(self) -> None:
        """Routes by what the backends said last; also when one has fallen silent."""
        if self._plan is None or self._is_spread_over_others():
            self._plan = self._make_plan()
        wanted = routing(self._states(), self._silent())
        if self._table.applied.models.keys() - wanted.models.keys():
            wanted = outlasting(wanted, self._table.applied, self._loop.stats())
        self._table.apply(wanted)
        if self._control is not None:
            self._table.admit(self._control.accept)
        self._hand_over()
        if self._is_starting and not self._awaits_hellos():
            self._is_starting = False
            self._loop.set_starting(False)
        if self._loading.advance(self._table.applied) and self._plan is not None:
            self._send_plan(self._plan, holds=self._follows())
        self._tell_errors()
        self._readiness.update(
            self._plan, self._loading.withdrawn(), self._states(), self._table.applied.routes
        )
        self._tell_ready()
        silent = self._silent()
        if silent != self._known_silent:
            self._known_silent = silent
            self._report()

    def _hand_over(self) -> None:
        """Devices that the plan takes a model from serve it until it is ready elsewhere."""
        if self._plan is None:
            return
        heard = self._heard()
        plan = without(self._plan, self._loading.withdrawn())
        for link in self._links:
            link.keep(still_needed(plan, link.device, heard))

    def _heard(self) -> dict[int, BackendState]:
        """The states by device, without those of backends that are silent."""
        silent = self._silent()
        return {s.number: s for name, s in self._states().items() if name not in silent}

    def _states(self) -> dict[str, BackendState]:
        return {link.name: link.state for link in self._links if link.state is not None}

    def _silent(self) -> frozenset[str]:
        return frozenset(link.name for link in self._links if link.silent())

    def _is_spread_over_others(self) -> bool:
        """Whether backends came or went since nobody's plan was made."""
        return (
            self._links.come_and_go
            and self._spread is not None
            and bool(self._states())
            and self._spread != {state.number for state in self._states().values()}
        )

    def _make_plan(self) -> Plan | None:
        """Without a given plan: what runs already, else everything spread evenly."""
        states = self._states()
        running = tuple(gpulet for state in states.values() for gpulet in state.plan)
        if self._awaits_hellos():
            return None
        if not running and self._first_plan is not None:
            self._send_plan(self._first_plan)
            return self._first_plan
        is_first = self._spread is None
        self._spread = {state.number for state in states.values()}
        if running and is_first:
            logger.info("plan adopted gpulets=%d", len(running))
            return Plan(gpulets=running)
        plan = spread(states)
        self._send_plan(plan)
        return plan

    def _awaits_hellos(self) -> bool:
        """Whether a backend may still say for the first time what it has."""
        heard = len(self._states())
        if self._links.come_and_go:
            return heard == 0
        waited_s = self._clock.now_s() - self._started_s
        return heard < len(self._links) and (heard == 0 or waited_s < HELLO_LIMIT_S)

    def _report(self) -> None:
        """Tells the controller; not before it is known what there is, or models would seem gone."""
        if self._control is not None and self._plan is not None and not self._is_starting:
            self._control.report(self._make_report)

    def _make_report(self) -> FrontendReport:
        stats, applied = self._loop.stats(), self._table.applied
        return FrontendReport(
            name=self._name,
            incarnation=self._incarnation,
            sent_s=self._clock.now_s(),
            models=counters(stats, applied.models, self._loading.withdrawn()),
            apps=app_counters(stats, applied.apps),
            states=bare(self._states().values()),
            silent=tuple(sorted(self._silent())),
        )

    def _on_controller(self) -> None:
        if self._control is None:
            return
        plans, changes = self._control.receive()
        for new in plans[-1:]:
            if found := problems(new.plan.gpulets):
                logger.error("plan of round %d refused: %s", new.round, found[0])
                continue
            logger.info("plan of round %d gpulets=%d", new.round, len(new.plan.gpulets))
            self._plan, self._spread, self._holds = new.plan, None, True
            self._send_plan(new.plan, holds=True)
        self._table.admit(self._control.accept)
        for change in changes:
            # Other rates for the same gpulets are no news to who watches.
            if change.is_news:
                self._status.progress(describe(change))

    def place(self, model: str) -> None:
        """See Places of serve/loading.py. A controller sees by itself that there is a model."""
        if self._plan is None:
            raise UnavailableError("the frontend has just started and waits for its backends")
        if self._follows():
            self._send_plan(self._plan, holds=True)
            return
        planned = Plan(gpulets=tuple(g for link in self._links for g in link.planned()))
        heard = {state.name: state for state in self._heard().values()}
        self._plan = with_model(without(planned, self._loading.withdrawn()), heard, model)
        self._send_plan(self._plan)

    def refused(self, model: str, since_s: float) -> str:
        """See Places of serve/loading.py."""
        waited_s = self._clock.now_s() - since_s
        if self._control is None or not self._follows() or waited_s < PLANNED_WITHIN_S:
            return ""
        if self._plan is not None and model in self._plan.models():
            return ""
        return self._control.refused(model)

    def _follows(self) -> bool:
        """Whether a controller makes the plans."""
        return self._control is not None and self._control.follows

    def _send_plan(self, plan: Plan, *, holds: bool = False) -> None:
        plan = without(plan, self._loading.withdrawn())
        known = self._links.devices()
        for device in sorted({gpulet.device for gpulet in plan.gpulets} - known):
            self._status.tell(
                Event(
                    event="model_failed",
                    message=f"the plan has gpulets on device {device}, which no backend has; "
                    f"valid are {', '.join(str(number) for number in sorted(known))}",
                    exit_code=2,
                )
            )
        for link in self._links:
            keep = still_needed(plan, link.device, self._heard())
            link.want(plan.on_device(link.device), keep, holds=holds)

    def _tell_errors(self) -> None:
        """Each error of a model once, in the words of the first backend that has it."""
        for state in self._states().values():
            errors = [model.error for model in state.models]
            errors += [model.error for gpulet in state.gpulets for model in gpulet.models]
            for error in errors:
                if error and error not in self._told:
                    self._told.add(error)
                    self._status.tell(Event(event="model_failed", message=error, exit_code=2))

    def _tell_ready(self) -> None:
        if self._is_ready or self._plan is None or len(self._states()) < len(self._links):
            return
        plan = without(self._plan, self._loading.withdrawn())
        if serves_whole(plan, self._table.applied.routes):
            self._is_ready = True
            emulated = any(state.device.emulated for state in self._states().values())
            count = len(plan.models())
            self._status.tell(serving(count, self._endpoint, self._doors, emulated=emulated))

    def _on_control(self) -> None:
        lost = self._loop.take_lost()
        for number in lost:
            logger.warning("executor lost %s", self._table.lost(number))
        if lost:
            self._report()
        for client, op, identifier, header in self._loop.take_control():
            answer = partial(self._reply, client, identifier)
            if op in load_ops.OPS:
                load_ops.change(self._loading, op, header, answer)
            else:
                uptime_s = self._clock.now_s() - self._started_s
                answer({"op": op, **self._watched.answer(op, uptime_s)})

    def _reply(self, client: bytes, identifier: int | None, answer: dict[str, Any]) -> None:
        self._loop.answer(client, msgspec.msgpack.encode({"id": identifier, **answer}))


def static_plan(cluster: ClusterConfig) -> Plan | None:
    """The plan that the cluster file gives or names. Raises ConfigError."""
    return model_list.read(Path(cluster.plan)) if cluster.plan else cluster.static_plan()
