"""The frontend's control side: plans out, states in, routes to the native loop, clients' questions.

Requests never pass here: core.FrontendLoop answers them in a thread of its own.
"""

import logging
import math
import secrets
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import zmq

from glet.clock import Clock
from glet.config.cluster import BackendConfig, ClusterConfig, backend_name
from glet.errors import ConfigError
from glet.native import core
from glet.plan import model_list
from glet.plan.even import EvenPlanner, Load
from glet.serve.app_routing import tightest_ms
from glet.serve.backend_link import BackendLink
from glet.serve.control_link import describe, open_link
from glet.serve.control_report import app_counters, bare, counters
from glet.serve.frontend_report import models_body, stats_body
from glet.serve.hand_over import still_needed
from glet.serve.poll_loop import PollLoop
from glet.serve.route_table import RouteTable, routing
from glet.serve.run_dir import RunDir
from glet.serve.status import BEAT_S as STATUS_BEAT_S
from glet.serve.status import Event, StatusPipe
from glet.types.plan import Plan
from glet.wire.address import check_bind
from glet.wire.messages import BackendState, FrontendReport
from glet.wire.zmq_path import libzmq_path

logger = logging.getLogger(__name__)

BEAT_S = 1.0
TICK_S = 0.25
POLL_S = 0.25
REPORT_S = 0.25
DRAIN_POLL_S = 0.01
# How long to wait for backends that have not said hello, once one has.
HELLO_LIMIT_S = 10.0
NO_OBSERVATION: dict[str, Any] = {
    "observation": None,
    "age_s": None,
    "controller": None,
    "changes": [],
}


class Frontend:
    """Loop, links and routes; run() is the daemon."""

    def __init__(self, cluster: ClusterConfig, status: StatusPipe, clock: Clock) -> None:
        """Raises ConfigError when the listen address is taken or the plan is wrong."""
        check_bind(cluster.listen, insecure=cluster.insecure)
        self._cluster = cluster
        self._status = status
        self._clock = clock
        self._started_s = clock.now_s()
        given = static_plan(cluster)
        # Who follows the traffic starts from a given plan; what runs already has gone on from it.
        self._first_plan = given if cluster.control.mode not in ("auto", "static") else None
        self._plan = given if self._first_plan is None else None
        controls = [(b, control_address(cluster, b)) for b in cluster.backend]
        self._loop: Any = core.FrontendLoop(libzmq_path())
        self._endpoint: str = self._loop.bind(cluster.listen)
        self._loop.set_starting(True)
        self._table = RouteTable(self._loop)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._links = [
            BackendLink(self._context, backend_name(backend), backend.device, control, clock)
            for backend, control in controls
        ]
        self._incarnation = secrets.token_hex(8)
        control = cluster.control
        owns_folder = control.start and not control.address and not cluster.run_dir
        self._run_dir = RunDir(None) if owns_folder else None
        folder = str(self._run_dir.path) if self._run_dir is not None else cluster.run_dir
        self._name = f"{socket.gethostname()} {self._endpoint}"
        self._control = open_link(cluster, self._context, self._name, folder, clock)
        self._known_silent: frozenset[str] = frozenset()
        self._told: set[str] = set()
        self._is_starting = True
        self._is_ready = False
        if self._plan is not None:
            self._send_plan(self._plan)

    def run(self) -> None:
        """Serves until SIGTERM, then answers what is outstanding."""
        with PollLoop(self._clock) as poll:
            self._loop.start()
            logger.info("listens at %s", self._endpoint)
            poll.watch(self._loop.control_fd(), self._on_control)
            for link in self._links:
                poll.watch(link.channel.socket, self._on_backends)
            poll.every(BEAT_S, self._beat)
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

    def _beat(self) -> None:
        for link in self._links:
            link.beat()

    def _on_backends(self) -> None:
        came = [link for link in self._links if link.receive()]
        if came:
            self._settle()
        for link in came:
            link.seen()

    def _settle(self) -> None:
        """Routes by what the backends said last; also when one has fallen silent."""
        if self._plan is None:
            self._plan = self._make_plan()
        self._table.apply(routing(self._states(), self._silent()))
        self._hand_over()
        if self._is_starting and not self._awaits_hellos():
            self._is_starting = False
            self._loop.set_starting(False)
        self._tell_errors()
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
        for link in self._links:
            link.keep(still_needed(self._plan, link.device, heard))

    def _heard(self) -> dict[int, BackendState]:
        """The states by device, without those of backends that are silent."""
        silent = self._silent()
        return {s.number: s for name, s in self._states().items() if name not in silent}

    def _states(self) -> dict[str, BackendState]:
        return {link.name: link.state for link in self._links if link.state is not None}

    def _silent(self) -> frozenset[str]:
        return frozenset(link.name for link in self._links if link.silent())

    def _make_plan(self) -> Plan | None:
        """Without a given plan: what runs already, else everything spread evenly."""
        states = self._states()
        running = tuple(gpulet for state in states.values() for gpulet in state.plan)
        if self._awaits_hellos():
            return None
        if not running and self._first_plan is not None:
            self._send_plan(self._first_plan)
            return self._first_plan
        if running:
            logger.info("plan adopted gpulets=%d", len(running))
            return Plan(gpulets=running)
        of_apps = tightest_ms(routing(states, frozenset()).apps)
        loads = {
            model.name: Load(
                model=model.name,
                slo_ms=min(model.spec.slo_ms, of_apps.get(model.name, math.inf)),
                max_batch=model.spec.max_batch,
                cost=model.cost,
            )
            for _, state in sorted(states.items())
            for model in state.models
            if model.spec is not None and not model.error
        }
        devices = {state.number: state.device for state in states.values()}
        plan = EvenPlanner().plan(devices, list(loads.values()))
        self._send_plan(plan)
        return plan

    def _awaits_hellos(self) -> bool:
        """Whether a backend may still say for the first time what it has."""
        heard = len(self._states())
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
            models=counters(stats, applied.models),
            apps=app_counters(stats, applied.apps),
            states=bare(self._states().values()),
            silent=tuple(sorted(self._silent())),
        )

    def _on_controller(self) -> None:
        if self._control is None:
            return
        plans, changes = self._control.receive()
        for new in plans[-1:]:
            logger.info("plan of round %d gpulets=%d", new.round, len(new.plan.gpulets))
            self._plan = new.plan
            self._send_plan(new.plan, holds=True)
        for change in changes:
            # Other rates for the same gpulets are no news to who watches.
            if change.is_news:
                self._status.progress(describe(change))

    def _send_plan(self, plan: Plan, *, holds: bool = False) -> None:
        known = {link.device for link in self._links}
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
        planned = self._plan.models()
        gpulets = Counter(share.model for gpulet in self._plan.gpulets for share in gpulet.models)
        routes = self._table.applied.routes
        if any(len(routes.get(name, ())) < gpulets[name] for name in planned):
            return
        self._is_ready = True
        count = len(planned)
        emulated = any(state.device.emulated for state in self._states().values())
        self._status.tell(
            Event(
                event="serving",
                message=f"serving {count} {'emulated ' * emulated}model{'s' * (count != 1)} "
                f"at {self._endpoint}",
                endpoint=self._endpoint,
                models=count,
            )
        )

    def _on_control(self) -> None:
        lost = self._loop.take_lost()
        for number in lost:
            logger.warning("executor lost %s", self._table.lost(number))
        if lost:
            self._report()
        for client, op, identifier, _ in self._loop.take_control():
            header = {"op": op, "id": identifier, **self._answer(op)}
            self._loop.answer(client, msgspec.msgpack.encode(header))

    def _answer(self, op: str) -> dict[str, Any]:
        states = self._states()
        if op == "models":
            return {"body": models_body(states, self._table.applied)}
        if op == "stats":
            uptime_s = self._clock.now_s() - self._started_s
            body = stats_body(states, self._silent(), self._loop.stats(), uptime_s)
            if self._control is not None:
                body["controller"] = self._control.status()
            return {"body": body}
        if op == "observation" and self._control is not None:
            return {"body": self._control.body()}
        if op == "observation":
            return {"body": NO_OBSERVATION}
        return {
            "op": "error",
            "error": "invalid_input",
            "message": f"op {op!r} is unknown; valid are hello, infer, models, stats, observation",
        }


def static_plan(cluster: ClusterConfig) -> Plan | None:
    """The plan that the cluster file gives or names. Raises ConfigError."""
    return model_list.read(Path(cluster.plan)) if cluster.plan else cluster.static_plan()


def control_address(cluster: ClusterConfig, backend: BackendConfig) -> str:
    """Where a backend is reached. Raises ConfigError when the configuration does not say."""
    if backend.control:
        return backend.control
    if not cluster.run_dir:
        raise ConfigError(
            f"backend {backend_name(backend)} has no control address; give control, or a run_dir"
        )
    return f"ipc://{cluster.run_dir}/{backend_name(backend)}/control"
