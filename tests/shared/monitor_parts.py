"""A frontend to look at, without one: its numbers are made up and can be changed."""

from typing import Any

import msgspec
from metric_parts import COUNTED, backend_state

from glet.clock import ManualClock
from glet.serve.route_table import Routing, routing
from glet.serve.watched import Watched
from glet.serve.web.monitor import Monitor
from glet.types.device import DeviceInfo, DeviceUsage
from glet.types.model import ModelSpec, Signature, TensorSpec
from glet.wire.counters import ModelCounters
from glet.wire.messages import BackendState, ModelState

SPEC = ModelSpec(
    name="lenet",
    signature=Signature(
        inputs=(TensorSpec(name="image", dtype="float32", shape=(1, 28, 28)),),
        outputs=(TensorSpec(name="scores", dtype="float32", shape=(10,)),),
    ),
    slo_ms=25.0,
    max_batch=8,
)


class FakeControl:
    """What a monitor asks of a ControlLink."""

    def __init__(self) -> None:
        self.changed = {("epoch", True): 2, ("queue_grows", False): 1}
        self.failed_rounds = 0
        self.rows: list[dict[str, Any]] = []

    def status(self) -> dict[str, Any]:
        return {"state": "running", "mode": "follow", "round": 7, "pid": 1, "restarts": 0,
                "error": ""}  # fmt: skip

    def changes(self) -> list[dict[str, Any]]:
        return self.rows


class FakeFrontend:
    """One device with lenet and bert on a gpulet. `tick()` is a second in which lenet answers."""

    def __init__(self) -> None:
        self.clock = ManualClock(100.0)
        self.counted = {"lenet": dict(COUNTED)}
        self.silent: frozenset[str] = frozenset()
        self.control: Any = FakeControl()
        self.state: BackendState = backend_state(
            device=DeviceInfo(name="device0", kind="cpu", type="cpu", memory_mb=16_000),
            usage=DeviceUsage(memory_mb=4000.0, utilization=0.5),
            models=(ModelState(name="lenet", state="known", spec=SPEC),),
        )
        self.monitor = Monitor(
            Watched(
                states=lambda: {self.state.name: self.state},
                silent=lambda: self.silent,
                stats=lambda: self.counted,
                routing=self.routing,
                control=self.control,
                tracing=None,
            ),
            self.clock,
        )

    def routing(self) -> Routing:
        return routing({self.state.name: self.state}, self.silent)

    def tick(self, answers: int = 50, refused: int = 0, latency_ms: int = 3) -> None:
        self.clock.sleep_s(1.0)
        counted = self.counted["lenet"]
        for key, more in {"received": answers + refused, "ok": answers, "good": answers,
                          "late": refused}.items():  # fmt: skip
            counted[key] += more
        buckets = dict(counted["latency"])
        buckets[latency_ms * 1_000_000] = buckets.get(latency_ms * 1_000_000, 0) + answers
        counted["latency"] = sorted(buckets.items())
        at_s = self.clock.now_s()
        ok = counted["ok"]
        counters = (
            ModelCounters(
                gpulet=5, model=3, ok=ok, batches=ok // 2, items=ok, busy_ms=at_s * 400.0, at_s=at_s
            ),
        )
        self.state = msgspec.structs.replace(self.state, seq=self.state.seq + 1, counters=counters)
        self.monitor.tick()
