"""A small repository, a profile, and load for tests with real daemons."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from glet.client import Client
from glet.clock import SystemClock
from glet.config.cluster import BackendConfig, ClusterConfig
from glet.errors import RequestError

MODEL_TOML = """
slo_ms = {slo_ms}
max_batch = 8
[[input]]
name = "x"
dtype = "float32"
shape = [4]
[[output]]
name = "y"
dtype = "float32"
shape = [4]
"""
X = np.arange(4, dtype=np.float32)
WAIT_S = 20.0


def make_repository(folder: Path, slo_ms: float = 2000.0) -> Path:
    """Models `a` and `b`, callables that double their input."""
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        (folder / name / "model.toml").write_text(MODEL_TOML.format(slo_ms=slo_ms))
        (folder / name / "model.py").write_text("def infer(x):\n    return x * 2\n")
    return folder


def make_profile(file: Path, latency_ms: float = 5.0) -> Path:
    """Both models at shares 50 and 100."""
    lines = [
        f"{name},{share},{batch},{latency_ms + 0.1 * batch}\n"
        for name in ("a", "b")
        for share in (50, 100)
        for batch in (1, 8)
    ]
    file.write_text("".join(lines))
    return file


def profiled(tmp_path: Path, **changes: object) -> ClusterConfig:
    """A cluster of one emulated device, reached over ipc in a short folder."""
    models = make_repository(tmp_path / "models")
    profile = make_profile(tmp_path / "latency.csv")
    given: dict[str, object] = {
        "listen": "tcp://127.0.0.1:0",
        "models": str(models),
        "partition": "profiled",
        "backend": (BackendConfig(profile=str(profile)),),
        **changes,
    }
    return ClusterConfig(**given)  # type: ignore[arg-type]


class Load:
    """Threads that ask one after the other until stopped; every answer is counted."""

    def __init__(self, endpoint: str) -> None:
        self.outcomes: Counter[str] = Counter()
        self.asked = 0
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def stop(self) -> None:
        self._stop.set()

    def answered(self) -> int:
        with self._lock:
            return sum(self.outcomes.values())

    def ask(self, model: str) -> None:
        with Client(self._endpoint) as client:
            while not self._stop.is_set():
                with self._lock:
                    self.asked += 1
                try:
                    np.asarray(client.infer(model, {"x": X}, deadline_ms=3000))
                    outcome = "ok"
                except RequestError as error:
                    outcome = error.code
                with self._lock:
                    self.outcomes[outcome] += 1


@contextmanager
def load(endpoint: str, threads: int = 4) -> Iterator[Load]:
    """Asks both models from several threads for as long as the block lasts."""
    made = Load(endpoint)
    running = [
        threading.Thread(target=made.ask, args=("ab"[index % 2],)) for index in range(threads)
    ]
    for thread in running:
        thread.start()
    try:
        yield made
    finally:
        made.stop()
        for thread in running:
            thread.join()


def wait_for(what: Callable[[], bool], poll: Callable[[float], None]) -> float:
    """Polls until it holds; returns how long that took in seconds."""
    clock = SystemClock()
    start_s = clock.now_s()
    while not what():
        assert clock.now_s() - start_s < WAIT_S
        poll(0.05)
    return clock.now_s() - start_s
