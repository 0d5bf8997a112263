"""Backends on the nodes of a Ray cluster: one actor each, placed by Ray, watched from here.

`python -m glet.serve.ray_backends cluster.json --status-fd N --parent-pid PID` is the process that
`glet up` starts instead of backends of its own. Ray decides where an actor fits (a GPU, or so many
CPUs), this process how many there are: as many as fit on the nodes that live. An actor whose node
or backend dies is replaced; where backends are reached is written to the cluster's `addresses`,
which the frontend reads.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from glet.clock import Clock
from glet.config.addresses import write_addresses
from glet.config.cluster import BackendConfig, ClusterConfig, RayConfig, backend_name
from glet.errors import ConfigError
from glet.serve.poll_loop import PollLoop
from glet.serve.ray_host import BackendHost, News, Place, describe
from glet.serve.status import Event, StatusPipe
from glet.types.device import GPU_KINDS
from glet.wire.heartbeat import Backoff
from glet.wire.ray_cluster import connect

TICK_S = 0.5
# Ray takes tens of seconds to start a process on a busy node: whoever waits is told.
WAITING_S = 15.0
END_LIMIT_S = 3.0


def slots(cluster: ClusterConfig, addresses: Path) -> ClusterConfig:
    """The cluster with a backend for every one that Ray may ever place, none of them there yet.

    Raises ConfigError where its settings do not go with Ray.
    """
    first, *others = cluster.backend
    if others or first.name or first.control or first.data or first.cores or first.gpu:
        raise ConfigError(
            "with [ray] one [[backend]] table stands for all of them, and its name, control, data, "
            "cores and gpu are chosen where it is placed; give it a profile or a type at most"
        )
    if cluster.plan or cluster.gpulet:
        raise ConfigError("with [ray] devices come and go: no plan and no [[gpulet]] can be given")
    partition = cluster.partition
    if partition == "auto":
        partition = "cpu" if cluster.ray.cpus_per_backend else "green"
    if partition not in GPU_KINDS and not cluster.ray.cpus_per_backend:
        raise ConfigError(
            f"partition {partition} on Ray: say how many CPUs a backend gets, with --ray-cpus N or "
            "[ray] cpus_per_backend"
        )
    if partition in GPU_KINDS and cluster.ray.cpus_per_backend:
        raise ConfigError(
            f"partition {partition} on Ray: a backend gets a GPU; leave out cpus_per_backend"
        )
    backends = tuple(
        msgspec.structs.replace(first, device=number, name=f"ray{number}")
        for number in range(cluster.ray.most_backends)
    )
    return msgspec.structs.replace(
        cluster, backend=backends, partition=partition, addresses=str(addresses)
    )


def capacity(nodes: Sequence[Mapping[str, Any]], config: RayConfig) -> int:
    """How many backends fit on these nodes (ray.nodes()), at most as many as asked for."""
    key, each = ("CPU", config.cpus_per_backend) if config.cpus_per_backend else ("GPU", 1)
    fit = sum(int(node["Resources"].get(key, 0.0)) // each for node in nodes if node["Alive"])
    return min(config.most_backends, fit)


def own_cores(
    place: Place, others: Sequence[BackendConfig], config: RayConfig
) -> tuple[int, ...] | None:
    """Cores of a node for one more backend, none of which `others` there have; None: too few."""
    taken = {core for other in others for core in other.cores}
    free = [core for core in place.cores if core not in taken]
    count = config.cpus_per_backend
    return tuple(free[:count]) if len(free) >= count else None


class Hosted:
    """An actor: first where it is, then where its backend is reached, then its news."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.asked: Any = actor.place.remote()
        self.place: Place | None = None
        self.backend: BackendConfig | None = None
        self.control = ""

    @property
    def node(self) -> str:
        """Empty while it is nowhere."""
        return self.place.node if self.place is not None else ""


class RayBackends:
    """The actors by slot. tick() never waits for one."""

    def __init__(
        self, ray: Any, cluster: ClusterConfig, status: StatusPipe, clock: Clock, log_level: str
    ) -> None:
        self._ray, self._cluster, self._status, self._clock = ray, cluster, status, clock
        self._log_level = log_level
        self._hosted: dict[int, Hosted] = {}
        self._backoffs: dict[int, Backoff] = {}
        self._not_before_s: dict[int, float] = {}
        self._written: dict[str, str] | None = None
        options: dict[str, Any] = {"scheduling_strategy": "SPREAD", "max_restarts": 0}
        if cluster.ray.cpus_per_backend:
            options |= {"num_cpus": cluster.ray.cpus_per_backend}
        else:
            options |= {"num_cpus": 0, "num_gpus": 1}
        self._make = ray.remote(BackendHost).options(**options).remote

    def tick(self) -> None:
        """Takes up what actors answered, replaces those that are gone, tells where backends are."""
        for slot in list(self._hosted):
            self._look(slot)
        fit = capacity(self._ray.nodes(), self._cluster.ray)
        now_s = self._clock.now_s()
        for slot in range(self._cluster.ray.most_backends):
            if len(self._hosted) >= fit:
                break
            if slot not in self._hosted and now_s >= self._not_before_s.get(slot, 0.0):
                self._hosted[slot] = Hosted(self._make())
        for slot, hosted in list(self._hosted.items()):
            # Nothing that fits nowhere waits: it would be placed when nobody counts it any more.
            if len(self._hosted) > fit and hosted.place is None:
                self._drop(slot)
        self._write()

    def say_who_is_awaited(self) -> None:
        """One line while Ray has not started all of them."""
        awaited = sum(not hosted.control for hosted in self._hosted.values())
        if awaited:
            self._status.progress(
                f"waits for Ray to start {awaited} of {len(self._hosted)} backends"
            )

    def stop(self, patience_s: float) -> None:
        """Ends all backends; returns when they ended, or after `patience_s`."""
        running = [hosted for hosted in self._hosted.values() if hosted.control]
        ends = [hosted.actor.stop.remote(patience_s) for hosted in running]
        if ends:
            self._ray.wait(ends, num_returns=len(ends), timeout=patience_s + END_LIMIT_S)
        for slot in list(self._hosted):
            self._drop(slot)

    def _look(self, slot: int) -> None:
        hosted = self._hosted[slot]
        ready, _ = self._ray.wait([hosted.asked], timeout=0.0)
        if not ready:
            return
        try:
            self._answered(slot, hosted, self._ray.get(hosted.asked))
        except self._ray.exceptions.RayError as error:
            self._lost(slot, str(error).strip().partition("\n")[0])

    def _answered(self, slot: int, hosted: Hosted, answer: Any) -> None:
        if hosted.place is None:
            hosted.place = Place(*answer)
            self._start(slot, hosted, hosted.place)
            return
        if not hosted.control:
            hosted.control = str(answer)
            self._backoff(slot).serves(self._clock.now_s())
            self._status.progress(
                f"{self._name(slot)} is on node {describe(hosted.place)}, at {hosted.control}"
            )
        else:
            news = News(*answer)
            for line in news.lines:
                self._pass_on(line)
            if news.ended:
                self._lost(slot, f"the backend ended: {news.ended}")
                return
        hosted.asked = hosted.actor.news.remote()

    def _start(self, slot: int, hosted: Hosted, place: Place) -> None:
        backend = self._cluster.backend[slot]
        if self._cluster.ray.cpus_per_backend:
            others = [
                one.backend
                for one in self._hosted.values()
                if one.backend is not None and one.node == place.node
            ]
            cores = own_cores(place, others, self._cluster.ray)
            if cores is None and self._cluster.partition == "cpu":
                self._lost(slot, f"node {describe(place)} has fewer cores than it tells Ray")
                return
            backend = msgspec.structs.replace(backend, cores=cores or ())
        elif place.gpus:
            backend = msgspec.structs.replace(backend, gpu=place.gpus[0])
        hosted.backend = backend
        alone = msgspec.structs.replace(self._cluster, backend=(backend,))
        self._backoff(slot).began()
        hosted.asked = hosted.actor.start.remote(
            msgspec.json.encode(alone), self._name(slot), place.address, self._log_level
        )

    def _pass_on(self, line: bytes) -> None:
        """What a backend says to its parent goes to ours; that it lives is seen here."""
        try:
            event = msgspec.json.decode(line, type=Event)
        except msgspec.DecodeError:
            return
        if event.event != "alive":
            self._status.tell(event)

    def _lost(self, slot: int, why: str) -> None:
        self._status.progress(f"{self._name(slot)} is gone ({why}); placing it again")
        self._not_before_s[slot] = self._backoff(slot).died(self._clock.now_s())
        self._drop(slot)

    def _drop(self, slot: int) -> None:
        self._ray.kill(self._hosted.pop(slot).actor)

    def _backoff(self, slot: int) -> Backoff:
        return self._backoffs.setdefault(slot, Backoff())

    def _name(self, slot: int) -> str:
        return backend_name(self._cluster.backend[slot])

    def _write(self) -> None:
        found = {self._name(slot): one.control for slot, one in self._hosted.items() if one.control}
        if found != self._written:
            write_addresses(Path(self._cluster.addresses), found)
            self._written = found


def serve(cluster: ClusterConfig, status: StatusPipe, clock: Clock, log_level: str) -> None:
    """Until SIGTERM. Raises ConfigError without Ray, where no cluster answers, or none fits.

    It does not beat: where Ray's head hangs, so does this, while backends serve on.
    """
    ray = connect(cluster.ray.address, "--ray")
    try:
        fit = capacity(ray.nodes(), cluster.ray)
        if fit == 0:
            cpus = cluster.ray.cpus_per_backend
            what = f"{cpus} CPUs" if cpus else "a GPU; --ray-cpus N takes CPUs instead"
            raise ConfigError(f"--ray {cluster.ray.address}: no node there has {what}")
        status.progress(f"Ray has room for {fit} backend{'s' * (fit != 1)}")
        backends = RayBackends(ray, cluster, status, clock, log_level)
        # After Ray, which has signal handlers of its own.
        with PollLoop(clock) as poll:
            poll.every(TICK_S, backends.tick)
            poll.every(WAITING_S, backends.say_who_is_awaited)
            while not poll.stopping:
                poll.run_once(TICK_S)
            backends.stop(cluster.drain_s)
    finally:
        ray.shutdown()
