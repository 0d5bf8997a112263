"""One executor as its backend knows it."""

from dataclasses import dataclass, field

from glet.serve.child import Child
from glet.serve.executor_env import ExecutorEnv
from glet.serve.hosted import HostedGpulet
from glet.wire.counters import ModelCounters
from glet.wire.heartbeat import Backoff
from glet.wire.messages import ExecutorPhase, ExecutorState, Step


@dataclass
class ExecutorProcess:
    """One executor, through all its generations."""

    number: int
    backoff: Backoff = field(default_factory=Backoff)
    generation: int = 0
    restarts: int = 0
    state: ExecutorPhase = "dead"
    child: Child | None = None
    endpoint: str = ""
    error: str = ""
    started_s: float = 0.0
    start_at_s: float = 0.0
    peer: bytes = b""
    hosted: dict[int, HostedGpulet] = field(default_factory=dict)
    pending: tuple[Step, ...] = ()
    pending_s: float = 0.0
    counters: tuple[ModelCounters, ...] = ()

    def report(self) -> ExecutorState:
        return ExecutorState(
            executor=self.number,
            generation=self.generation,
            state=self.state,
            endpoint=self.endpoint,
            pid=self.child.pid if self.child is not None else 0,
            restarts=self.restarts,
            error=self.error,
        )


@dataclass(frozen=True)
class FleetOptions:
    """What does not change. `data` is where executors bind; empty: in the run directory.

    An executor that nothing is planned for ends after `release_after_s`. `env` is the world that
    executors start in.
    """

    backend: str
    data: str
    drain_s: float
    runners: int
    per_gpulet: bool
    log_level: str
    hang_s: float
    release_after_s: float
    env: ExecutorEnv
    server_key: str = ""
