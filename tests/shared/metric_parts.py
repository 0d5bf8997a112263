"""A snapshot with something of everything that glet tells Prometheus."""

from typing import Any

from glet.observe.metrics import ProcessUsage, Snapshot
from glet.types.device import DeviceInfo, DeviceUsage
from glet.wire.counters import ModelCounters
from glet.wire.messages import BackendState, ExecutorState, GpuletState, LoadedModel

MS = 1_000_000
COUNTED: dict[str, Any] = {
    "received": 21, "ok": 8, "good": 7, "late": 2, "full": 1, "failed": 1, "unavailable": 1,
    "cancelled": 2,
    "invalid": 1, "retried": 3, "unsent": 1, "outstanding": 5,
    "latency": [(1 * MS, 3), (20 * MS, 4), (60_000 * MS, 1)], "ok_ns": 60_083 * MS,
    "batches": [(1, 2, 1 * MS, 3 * MS), (3, 6, 1 * MS, 48 * MS)],
    "queue_ns": 30 * MS, "batch_ns": 2 * MS, "execute_ns": 51 * MS,
}  # fmt: skip
PROCESS = ProcessUsage(
    cpu_s=1.5, resident_bytes=1000, virtual_bytes=2000, started_at_s=1.7e9, threads=7,
    open_files=20, max_files=1024,
)  # fmt: skip


def backend_state(name: str = "device0", number: int = 0, **changes: Any) -> BackendState:
    """A device with a gpulet that has two models; nothing is counted of the second."""
    models = (
        LoadedModel(name="lenet", model=3, batch=8, state="ready", runner="compiled",
                    memory_mb=12.0),
        LoadedModel(name="bert", model=4, batch=2, state="loading"),
    )  # fmt: skip
    given: dict[str, Any] = {
        "device": DeviceInfo(name=name, kind="green", type="h", gpu="GPU-1", memory_mb=80_000),
        "usage": DeviceUsage(memory_mb=1000.0, utilization=0.5),
        "in_use_s": 12.5,
        "executors": (
            ExecutorState(executor=1, generation=2, state="ready", restarts=1, pid=77),
        ),
        "gpulets": (
            GpuletState(gpulet=5, executor=1, share_pct=40, given_pct=37.5, state="ready",
                        models=models),
        ),
        "counters": (
            ModelCounters(gpulet=5, model=3, ok=8, late=2, batches=4, items=10, waiting=2,
                          correction=1.25, busy_ms=500.0),
        ),
    }  # fmt: skip
    return BackendState(seq=1, name=name, incarnation="a", number=number, **(given | changes))


def snapshot(**changes: Any) -> Snapshot:
    """A frontend's, with all families."""
    given: dict[str, Any] = {
        "version": "1.2",
        "role": "frontend",
        "process": PROCESS,
        "models": {"lenet": COUNTED, "game": {**COUNTED, "app": True}},
        "serving": {"lenet": True, "bert": False},
        "slo_ms": {"lenet": 25.0},
        "states": {
            "device0": backend_state(),
            "device1": backend_state("device1", 1, gpulets=(), counters=(), usage=None),
        },
        "silent": frozenset({"device1"}),
        "busy": {("device0", 5): 0.25},
        "controller": {"state": "running", "round": 9, "restarts": 1},
        "changes": {("epoch", True): 2, ("device 1 is lost", False): 1},
        "failed_rounds": 1,
        "traces": {"exported": 5, "dropped": 1, "failed": 0},
    }
    return Snapshot(**(given | changes))
