"""The backend: owns one device, makes plans true on it, reports. Not on the path of requests."""

import logging
import os
import secrets
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec
import zmq

from glet.clock import Clock
from glet.config.cluster import BackendConfig, ClusterConfig, backend_name
from glet.errors import ConfigError
from glet.plan.layout import PlacedGpulet, arrange
from glet.profiles import latency_csv
from glet.profiles.interference import Interference, NoInterference
from glet.profiles.interference_files import beside_profile
from glet.serve.backend_metrics import BackendMetrics
from glet.serve.backend_state import gpulet_states
from glet.serve.device_usage import UsageMeter
from glet.serve.executor_fleet import ExecutorFleet
from glet.serve.executor_process import FleetOptions
from glet.serve.gpus import gpu_device
from glet.serve.hosted import Room
from glet.serve.make_env import make_env
from glet.serve.model_book import ModelBook
from glet.serve.model_shelf import ModelShelf
from glet.serve.poll_loop import PollLoop
from glet.serve.run_dir import RunDir
from glet.serve.state_feed import StateFeed
from glet.serve.status import BEAT_S, StatusPipe
from glet.serve.zmq_gates import cluster_gate
from glet.types.device import GPU_KINDS, DeviceInfo
from glet.types.plan import GpuletPlan, problems
from glet.wire.address import check_bind
from glet.wire.channel import RouterChannel
from glet.wire.heartbeat import Liveness
from glet.wire.keys import cluster_pair
from glet.wire.messages import (
    VERSION,
    ApplyPlan,
    BackendState,
    FrontendToBackend,
    Hello,
    LoadModel,
    StateSeen,
    Step,
    StepDone,
)
from glet.wire.repository_messages import ModelRead, OfferModel, WithdrawModel

logger = logging.getLogger(__name__)

TICK_S = 0.1
REPORT_S = 1.0
FRONTEND_SILENT_AFTER_S = 5.0
MOST_RUNNERS = 16


class Backend:
    """One device; run() is the daemon."""

    def __init__(
        self, cluster: ClusterConfig, config: BackendConfig, status: StatusPipe, clock: Clock
    ) -> None:
        self._cluster = cluster
        self._config = config
        self._name = backend_name(config)
        self._status = status
        self._clock = clock
        self._device = device_info(cluster, config)
        self._incarnation = secrets.token_hex(8)
        self._plan: tuple[GpuletPlan, ...] = ()
        self._placed: tuple[PlacedGpulet, ...] = ()
        self._gpulets = 0
        self._frontends: Liveness[bytes] = Liveness(FRONTEND_SILENT_AFTER_S)
        self._keep: tuple[str, ...] = ()
        self._served: tuple[GpuletPlan, ...] = ()
        self._in_use_s = 0.0
        self._ticked_s = clock.now_s()
        # Whether a decision may be due, a report is not what it was, somebody waits for it.
        self._is_due = self._changed = self._has_news = True
        self._usage = UsageMeter(self._device)
        self._used = self._usage.read()
        self._metrics: BackendMetrics | None = None

    def run(self, log_level: str) -> None:
        """Serves until SIGTERM. Raises ConfigError when it cannot start."""
        profile_file = self._config.profile
        profile = latency_csv.read(Path(profile_file)) if profile_file else None
        if self._cluster.partition != "profiled":
            profile = None
        interference: Interference = NoInterference()
        if profile is not None:
            interference = beside_profile(Path(profile_file), profile.device)
            memory_mb = int(profile.device.memory_mb)
            self._device = msgspec.structs.replace(self._device, memory_mb=memory_mb)
        parent = self._cluster.run_dir
        run_dir = RunDir(Path(parent) / self._name if parent else None)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            with PollLoop(self._clock) as poll:
                self._poll = poll
                self._shelf = ModelShelf(
                    Path(self._cluster.models),
                    self._cluster.cache,
                    profile,
                    self._note_news,
                    self._status.progress,
                    gpu=self._device if self._device.kind in GPU_KINDS else None,
                )
                self._book = ModelBook(
                    self._cluster,
                    self._device,
                    self._shelf,
                    profile.device if profile is not None else None,
                    interference,
                )
                self._open(run_dir, context, log_level)
                try:
                    self._serve()
                finally:
                    if self._metrics is not None:
                        self._metrics.close()
                    self._usage.close()
                    self._shelf.close()
                    self._fleet.close()
                    self._channel.close()
        finally:
            context.destroy(linger=0)
            run_dir.close()
        logger.info("stopped")

    def _open(
        self, run_dir: RunDir, context: "zmq.Context[zmq.Socket[bytes]]", log_level: str
    ) -> None:
        control = self._config.control or run_dir.endpoint("control")
        check_bind(control, beyond=self._cluster.binds_beyond)
        if self._config.data:
            check_bind(self._config.data, beyond=self._cluster.binds_beyond)
        if self._config.metrics:
            self._metrics = BackendMetrics(
                self._config.metrics,
                insecure=self._cluster.insecure,
                security=self._cluster.security,
            )
            logger.info("metrics at http://%s/metrics", self._metrics.address)
        keys = cluster_pair(self._cluster.security)
        self._gate = cluster_gate(context.underlying, keys)
        hello = Hello(version=VERSION, role="backend", name=self._name)
        self._channel: RouterChannel[FrontendToBackend] = RouterChannel(
            context, control, FrontendToBackend, hello, keys
        )
        self._feed = StateFeed(self._channel, self._clock)
        options = FleetOptions(
            backend=self._name,
            data=self._config.data,
            drain_s=self._cluster.drain_s,
            runners=min(MOST_RUNNERS, self._device.max_gpulets),
            per_gpulet=self._cluster.isolation == "gpulet" or self._device.kind == "mps",
            log_level=log_level,
            hang_s=self._cluster.hang_s,
            env=make_env(self._cluster, self._device, run_dir, self._poll, self._clock),
            release_after_s=self._cluster.release_after_s,
            server_key=self._cluster.security.server_key,
        )
        self._fleet = ExecutorFleet(options, run_dir, self._poll, self._clock, context)
        self._fleet.on_change = self._note_change
        self._fleet.on_news = self._note_news
        self._fleet.on_step = self._on_step
        self._fleet.on_crash = self._on_crash
        self._fleet.on_hang = lambda model: self._book.hung(model)
        self._fleet.arrange(())

    def _serve(self) -> None:
        self._poll.watch(self._channel.socket, self._on_frontends)
        self._poll.every(REPORT_S, self._report)
        self._poll.every(TICK_S, self._tick)
        self._poll.every(BEAT_S, self._status.beat)
        logger.info("listens at %s", self._channel.endpoint)
        if self._device.left_out:
            self._status.progress(self._device.left_out)
        while not self._poll.stopping:
            self._poll.run_once(TICK_S)
            self._turn()
        self._fleet.stop()
        until_s = self._clock.now_s() + self._cluster.drain_s
        while self._fleet.running() > 0 and self._clock.now_s() < until_s:
            self._publish()
            self._poll.run_once(TICK_S)

    def _turn(self) -> None:
        """After each turn of the loop: the next steps, and one report for all changes.

        What nobody waits for is told when the steps on their way have ended, or by _tick().
        """
        if self._is_due:
            self._settle()
        if self._has_news or (self._changed and not self._fleet.is_busy()):
            self._publish()

    def _settle(self) -> None:
        room = Room(
            kind=self._device.kind,
            drain_ms=self._cluster.drain_s * 1000.0,
            wanted_models=cache(lambda placed: self._book.wanted(placed, self._placed)),
            released=self._feed.released,
            fits=self._fits,
            awaits=lambda: self._book.awaits(self._placed),
            loans=self._book.loans,
        )
        self._fleet.advance(room)
        # What drains is told by the next state; it goes once every frontend has seen that.
        if self._fleet.retire(room, self._feed.seq + 1) and self._served != self._plan:
            self._served, self._has_news = self._plan, True
        # What it has just begun leaves nothing to decide before that ends.
        self._is_due = False

    def _note_change(self) -> None:
        self._is_due = self._changed = True

    def _note_news(self) -> None:
        self._is_due = self._has_news = True

    def _report(self) -> None:
        self._used = self._usage.read()
        self._shelf.look_after_plan()
        self._has_news = True

    def _tick(self) -> None:
        now_s = self._clock.now_s()
        self._in_use_s += (now_s - self._ticked_s) * (self._fleet.running() > 0)
        self._ticked_s = now_s
        for peer in self._frontends.silent(now_s):
            self._forget(peer)
        # Limits of time are looked at, and what has been waiting long enough is told.
        self._is_due = True
        self._has_news |= self._changed

    def _forget(self, peer: bytes) -> None:
        self._frontends.forget(peer)
        self._feed.forget(peer)
        self._is_due = True

    def _on_frontends(self) -> None:
        for peer, message in self._channel.receive():
            self._frontends.heard(peer, self._clock.now_s())
            if isinstance(message, Hello):
                self._feed.joined(peer)
                self._has_news = True
            elif isinstance(message, StateSeen):
                self._is_due |= self._feed.seen(peer, message.seq)
            elif isinstance(message, ApplyPlan):
                self._apply(message.gpulets, message.keep)
            elif isinstance(message, OfferModel):
                self._offer(peer, message)
            elif isinstance(message, WithdrawModel):
                self._withdraw(peer, message)

    def _apply(self, gpulets: Sequence[GpuletPlan], keep: Sequence[str]) -> None:
        found = problems(gpulets)
        if found:
            logger.error("plan refused: %s", found[0])
            return
        self._plan, self._keep = tuple(gpulets), tuple(keep)
        self._placed = arrange(self._there(), gpulets, self._device, self._gpulets)
        self._gpulets = max([self._gpulets, *(p.number + 1 for p in self._placed)])
        self._shelf.want([m.model for g in gpulets for m in g.models], self._poll)
        self._fleet.arrange(self._placed, keep)
        logger.info("plan applied gpulets=%d", len(gpulets))

    def _offer(self, peer: bytes, offered: OfferModel) -> None:
        hosted = (gpulet.models.get(offered.name) for gpulet in self._fleet.hosted().values())
        loaded = next((model.source for model in hosted if model is not None), None)
        read = self._shelf.offer(offered, loaded)
        if not read.error and not read.is_stale:
            self._book.forgive(offered.name, is_another=read.is_another)
            self._shelf.want([m.model for g in self._plan for m in g.models], self._poll)
            logger.info("offered %s", offered.name)
        self._answer(
            peer,
            ModelRead(
                request=offered.request,
                name=offered.name,
                error=read.error,
                is_missing=read.is_missing,
                is_stale=read.is_stale,
            ),
        )

    def _withdraw(self, peer: bytes, withdrawn: WithdrawModel) -> None:
        self._shelf.withdraw(withdrawn.name, withdrawn.reason)
        self._fleet.give_up(withdrawn.name)
        logger.info("withdrawn %s %s", withdrawn.name, withdrawn.reason)
        self._answer(peer, ModelRead(request=withdrawn.request, name=withdrawn.name))

    def _answer(self, peer: bytes, read: ModelRead) -> None:
        """After a state that shows it; it goes to all frontends."""
        self._is_due = True
        self._publish()
        if not self._channel.send(peer, read):
            self._forget(peer)

    def _there(self) -> list[PlacedGpulet]:
        """Gpulets that a plan can take over: of the last one, and those that still serve."""
        numbers = {placed.number for placed in self._placed}
        serving = [
            gpulet.placed
            for number, gpulet in self._fleet.hosted().items()
            if number not in numbers and gpulet.state == "ready"
        ]
        return [*self._placed, *serving]

    def _fits(self, gpulet: int, model: str) -> bool:
        loaded = {n: tuple(p.hosted.values()) for n, p in self._fleet.processes.items()}
        return self._book.fits(self._fleet.executor_of(gpulet), model, loaded, self._placed)

    def _on_step(self, step: Step, done: StepDone) -> None:
        hosted = self._fleet.hosted().get(step.gpulet)
        if done.error:
            logger.info("step failed gpulet=%d: %s", step.gpulet, done.error)
        elif hosted is not None:
            self._book.learn(step, done, hosted.placed)
            if isinstance(step, LoadModel) and not self._fleet.is_quick(step):
                self._tell_loaded(step, done, hosted.placed)

    def _tell_loaded(self, step: LoadModel, done: StepDone, placed: PlacedGpulet) -> None:
        batch, latency_ms = done.latency_ms[0]
        self._status.progress(
            f"loaded {step.source.name} on gpulet {step.gpulet} "
            f"({placed.given_pct:.0f} % of {self._name}): {latency_ms:.3f} ms at batch {batch}"
        )
        points = " ".join(f"{batch}:{ms:.3f}" for batch, ms in done.latency_ms)
        logger.info("latency_ms of model=%s gpulet=%d %s", step.source.name, step.gpulet, points)

    def _on_crash(self, step: Step) -> None:
        if isinstance(step, LoadModel):
            self._book.crashed(step.source.name)

    def _publish(self) -> None:
        self._changed = self._has_news = False
        state = self._state()
        if self._metrics is not None:
            self._metrics.take(state)
        for peer in self._feed.send(state):
            self._forget(peer)

    def _state(self) -> BackendState:
        processes = sorted(self._fleet.processes.values(), key=lambda process: process.number)
        return BackendState(
            seq=self._feed.seq + 1,
            name=self._name,
            incarnation=self._incarnation,
            number=self._config.device,
            device=self._device,
            plan=self._plan,
            keep=self._keep,
            served=self._served,
            error=self._fleet.why_not_whole(),
            in_use_s=self._in_use_s,
            usage=self._used,
            executors=tuple(process.report() for process in processes),
            gpulets=gpulet_states(
                self._placed, self._fleet.hosted(), self._fleet.executor_of, self._book.why_not
            ),
            models=self._shelf.states(),
            apps=self._shelf.apps,
            counters=tuple(c for process in processes for c in process.counters),
        )


def device_info(cluster: ClusterConfig, config: BackendConfig) -> DeviceInfo:
    """The device of a backend; `auto` is the CPU here (see partition_choice).

    Raises ConfigError when it names cores or a GPU that cannot be had.
    """
    name = backend_name(config)
    for kind in GPU_KINDS:
        if cluster.partition == kind:
            return gpu_device(kind, config)
    if cluster.partition == "profiled":
        return DeviceInfo(name=name, kind="profiled", type=config.type or "profiled", emulated=True)
    usable = os.sched_getaffinity(0)
    missing = set(config.cores) - usable
    if missing:
        raise ConfigError(
            f"backend {name}: core {min(missing)} cannot be used here; "
            f"valid are {', '.join(str(core) for core in sorted(usable))}"
        )
    cores = tuple(config.cores or sorted(usable))
    return DeviceInfo(
        name=name,
        kind="cpu",
        type=config.type or "cpu",
        cores=cores,
        granularity_pct=100.0 / len(cores),
        memory_mb=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1_000_000,
    )
