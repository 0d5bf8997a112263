"""A whole cluster on one machine: a frontend and a backend per device, as children."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import msgspec

from glet.clock import Clock
from glet.config.cluster import ClusterConfig, backend_name
from glet.errors import ConfigError, GletError, PeerLostError
from glet.serve.child import STOPPED_LIMIT_S, Child, describe_exit, python, was_killed
from glet.serve.partition_choice import resolve
from glet.serve.poll_loop import PollLoop
from glet.serve.preflight import check_cluster, started_here
from glet.serve.ray_backends import slots
from glet.serve.status import Event, LineReader
from glet.wire.heartbeat import Backoff

FRONTEND, RAY = "frontend", "ray"
# Time since the last sign of progress; a compiler reports every few seconds.
START_LIMIT_S = 60.0
# Beyond its drain a daemon has this long to end.
END_LIMIT_S = 7.0
POLL_S = 0.25
# A daemon that has said that it lives says it twice a second.
FROZEN_AFTER_S = 3.0


@dataclass
class Daemon:
    """One child, through all its starts."""

    role: str
    command: list[str]
    backoff: Backoff = field(default_factory=Backoff)
    child: Child | None = None
    status: LineReader | None = None
    status_fd: int = -1
    start_at_s: float = 0.0
    heard_s: float | None = None
    failure: Event | None = None


class LocalCluster:
    """Starts, watches and stops the daemons of a cluster; a context manager.

    The thread that starts it has to live as long as it does: the daemons end with that thread.
    `report` takes one line per step. The cluster's files lie in a run directory of its own.
    """

    def __init__(
        self,
        config: ClusterConfig,
        clock: Clock,
        report: Callable[[str], None] = lambda line: None,
        log_level: str = "warning",
        poll: PollLoop | None = None,
    ) -> None:
        """`poll`: a loop with signal handlers in place; when it is stopping, start() returns."""
        self._config = config
        self._clock = clock
        self._report = report
        self._log_level = log_level
        self._poll = poll or PollLoop(clock)
        self._daemons: list[Daemon] = []
        self._folder: Path | None = None
        self._heard_s = 0.0
        self._serving: Event | None = None
        self._model_failed: Event | None = None

    def __enter__(self) -> "LocalCluster":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        """Where clients connect, wildcards resolved."""
        return self._serving.endpoint if self._serving is not None else self._config.listen

    @property
    def doors(self) -> dict[str, str]:
        """HOST:PORT of other protocols, by name (`http`, `grpc`), wildcards resolved."""
        return self._serving.doors if self._serving is not None else {}

    def start(self) -> None:
        """Returns when every model of the plan is served.

        Raises ConfigError when something the user wrote is wrong, PeerLostError when a daemon
        ends or falls silent before that; nothing is left running then.
        """
        if not self._config.ray.address:
            self._config, choice = resolve(self._config)
            if choice.says:
                self._report(choice.says)
            check_cluster(self._config)
        try:
            self._spawn_all()
            self._wait_until_serving()
        except BaseException:
            self.stop()
            raise

    def poll(self, limit_s: float = POLL_S) -> None:
        """Watches for up to `limit_s`: passes on reports, starts again what died or froze."""
        self._poll.run_once(limit_s)
        for daemon in self._daemons:
            self._end_if_frozen(daemon)
            if daemon.child is None and self._clock.now_s() >= daemon.start_at_s:
                self._spawn(daemon)

    def pids(self) -> dict[str, int]:
        """Process ids by role: `frontend` and the backends' names."""
        return {d.role: d.child.pid for d in self._daemons if d.child is not None}

    def stop(self) -> None:
        """Ends the frontend, which answers what is outstanding, then the backends. Idempotent."""
        patience_s = self._config.drain_s + END_LIMIT_S
        backends = [daemon for daemon in self._daemons if daemon.role != FRONTEND]
        for group in ([d for d in self._daemons if d.role == FRONTEND], backends):
            for daemon in group:
                if daemon.child is not None:
                    daemon.child.signal(signal.SIGTERM)
            until_s = self._clock.now_s() + patience_s
            for daemon in group:
                self._close(daemon, max(0.0, until_s - self._clock.now_s()))
        self._daemons.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _spawn_all(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="glet-"))
        config = self._config
        if config.ray.address:
            config = slots(config, self._folder / "backends.toml")
            check_cluster(config)
        # Sockets get a folder of their own, so that a given run_dir keeps only what is stable.
        config = msgspec.structs.replace(config, run_dir=config.run_dir or str(self._folder))
        file = self._folder / "cluster.json"
        file.write_bytes(msgspec.json.format(msgspec.json.encode(config)))
        level = ["--log-level", self._log_level]
        self._daemons = [
            Daemon(FRONTEND, python("glet.cli.frontend", str(file), *level)),
            *_backends(config, str(file), level),
        ]
        for daemon in self._daemons:
            self._spawn(daemon)

    def _end_if_frozen(self, daemon: Daemon) -> None:
        if daemon.child is None:
            return
        # What it said while nobody polled counts as said now.
        self._on_status(daemon)
        silent_s = self._clock.now_s() - (daemon.heard_s or daemon.start_at_s)
        is_frozen = daemon.heard_s is not None and silent_s > FROZEN_AFTER_S
        if is_frozen or (silent_s > STOPPED_LIMIT_S and daemon.child.is_stopped()):
            daemon.heard_s = None
            self._report(f"{daemon.role} gives no sign of life; it is ended")
            daemon.child.kill()

    def _spawn(self, daemon: Daemon) -> None:
        daemon.status_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        daemon.status = LineReader(daemon.status_fd)
        arguments = ["--status-fd", str(write_fd), "--parent-pid", str(os.getpid())]
        try:
            child = Child([*daemon.command, *arguments], pass_fds=[write_fd])
        finally:
            os.close(write_fd)
        daemon.child, daemon.heard_s = child, None
        self._heard_s = daemon.start_at_s = self._clock.now_s()
        daemon.backoff.began()
        self._poll.watch(daemon.status_fd, lambda: self._on_status(daemon))
        self._poll.watch(child.exit_fd, lambda: self._on_exit(daemon))

    def _wait_until_serving(self) -> None:
        while self._serving is None and not self._poll.stopping:
            self._poll.run_once(POLL_S)
            for daemon in self._daemons:
                if daemon.child is None:
                    raise _start_error(daemon)
            if self._model_failed is not None:
                raise ConfigError(self._model_failed.message)
            if self._clock.now_s() - self._heard_s > START_LIMIT_S:
                raise PeerLostError(f"not serving: no progress for {START_LIMIT_S:.0f} s")

    def _on_status(self, daemon: Daemon) -> None:
        if daemon.status is None:
            return
        for line in daemon.status.lines():
            try:
                self._on_event(daemon, msgspec.json.decode(line, type=Event))
            except msgspec.DecodeError:
                self._report(f"{daemon.role} said {line[:200]!r}")
        if daemon.status.ended:
            self._poll.unwatch(daemon.status_fd)

    def _on_event(self, daemon: Daemon, event: Event) -> None:
        if event.event == "alive":
            if daemon.heard_s is None:
                daemon.backoff.serves(self._clock.now_s())
            daemon.heard_s = self._clock.now_s()
            return
        self._heard_s = self._clock.now_s()
        if event.event == "failed":
            daemon.failure = event
            return
        if event.event == "model_failed" and self._serving is None:
            self._model_failed = self._model_failed or event
            return
        if event.event == "serving":
            if self._model_failed is not None:
                return
            if self._serving is None:
                # Clients know it by the port that it got: it keeps that when it starts again.
                daemon.command += ["--listen", event.endpoint]
                for protocol, address in event.doors.items():
                    daemon.command += [f"--{protocol}", address]
            self._serving = event
        self._report(event.message)

    def _on_exit(self, daemon: Daemon) -> None:
        self._on_status(daemon)
        code = self._close(daemon, END_LIMIT_S)
        now_s = self._clock.now_s()
        daemon.start_at_s = daemon.backoff.died(now_s, killed=was_killed(code))
        daemon.failure = daemon.failure or Event(event="failed", message=describe_exit(code))
        if self._serving is not None:
            self._report(
                f"{daemon.role} ended ({daemon.failure.message}); "
                f"starting it again in {daemon.start_at_s - now_s:.1f} s"
            )

    def _close(self, daemon: Daemon, patience_s: float) -> int:
        if daemon.child is None:
            return 0
        self._poll.unwatch(daemon.child.exit_fd)
        code = daemon.child.close(patience_s)
        daemon.child = None
        self._poll.unwatch(daemon.status_fd)
        os.close(daemon.status_fd)
        daemon.status = None
        return code


def _backends(config: ClusterConfig, file: str, level: list[str]) -> list[Daemon]:
    """One daemon for each, or the one that has Ray start them."""
    if config.ray.address:
        return [Daemon(RAY, python("glet.cli.ray", file, *level))]
    names = [backend_name(backend) for backend in started_here(config)]
    return [
        Daemon(name, python("glet.cli.backend", file, "--name", name, *level)) for name in names
    ]


def _start_error(daemon: Daemon) -> GletError:
    failure = daemon.failure or Event(event="failed", message="ended")
    if failure.exit_code == ConfigError.exit_code:
        return ConfigError(failure.message)
    return PeerLostError(f"{daemon.role} did not start: {failure.message}")
