"""Capturing on a GPU that is not there: what is loaded once, measured, released, and said."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from glet.config.model import ModelConfig
from glet.errors import DeviceError, ModelError
from glet.serve.capture import Captured, Networks
from glet.serve.network import Network
from glet.serve.repository import Entry, Form
from glet.types.model import Signature, TensorSpec

STREAM = 0x51
WEIGHTS = 1_000


class ExhaustedError(Exception):
    """The fake's out of memory."""


@dataclass
class FakeNetwork:
    name: str
    signature: Signature
    weights_bytes: int = WEIGHTS


@dataclass
class FakeTensor:
    batch: int

    def __len__(self) -> int:
        return self.batch


@dataclass
class FakeTensors:
    tensors: tuple[FakeTensor, ...]
    pointers: tuple[int, ...]


@dataclass
class FakeGpu:
    """Counts bytes; `limit` of them. A graph takes as many as its batch, and is a number."""

    limit: int = 1_000_000
    capture_error: Exception | None = None
    run_error: Exception | None = None
    says: str = "GPU 0 (fake)"
    weights: dict[int, int] = field(default_factory=dict)
    graphs: dict[int, int] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    current: int = 0
    pools: int = 0
    handles: int = 0
    is_tuning: bool = False

    def load(self, entry: Entry) -> Network | None:
        self.calls.append(f"load {entry.name}")
        if entry.form is Form.CALLABLE:
            return None
        return cast(Network, FakeNetwork(entry.name, entry.config.signature))

    def move(self, network: Network) -> None:
        if self.held_bytes() + network.weights_bytes > self.limit:
            raise ExhaustedError
        self.weights[id(network)] = network.weights_bytes

    def inputs(self, signature: Signature, batch: int) -> FakeTensors:
        count = len(signature.inputs)
        return FakeTensors((FakeTensor(batch),) * count, tuple(range(100, 100 + count)))

    def run(self, network: Network, inputs: Any) -> FakeTensors:
        assert self.current == STREAM
        self.calls.append("tune" if self.is_tuning else "run")
        if self.run_error is not None:
            raise self.run_error
        return FakeTensors((FakeTensor(len(inputs.tensors[0])),), (200 + len(self.calls),))

    def first(self, inputs: Any, count: int) -> FakeTensors:
        return FakeTensors((FakeTensor(count),) * len(inputs.tensors), inputs.pointers)

    @contextmanager
    def on_stream(self, pointer: int) -> Iterator[None]:
        before, self.current = self.current, pointer
        yield
        self.current = before

    @contextmanager
    def tuning(self) -> Iterator[None]:
        self.is_tuning = True
        yield
        self.is_tuning = False

    def wait(self, pointer: int) -> None:
        self.calls.append("wait")

    def new_pool(self) -> int:
        self.pools += 1
        return self.pools

    def record(self, pool: int, pointer: int, call: Callable[[], Any]) -> tuple[int, FakeTensors]:
        self.calls.append(f"record in {pool}")
        if self.capture_error is not None:
            raise self.capture_error
        outputs = call()
        size = outputs.tensors[0].batch
        if self.held_bytes() + size > self.limit:
            raise ExhaustedError
        self.handles += 1
        self.graphs[self.handles] = size
        return self.handles, outputs

    def graph_exec(self, graph: int) -> int:
        return 0x1000 + graph

    def release(self, graph: int) -> None:
        self.calls.append(f"release {graph}")
        del self.graphs[graph]

    def held_bytes(self) -> int:
        return sum(self.weights.values()) + sum(self.graphs.values())

    def free_bytes(self) -> int:
        return self.limit - self.held_bytes()

    def give_back(self) -> None:
        self.calls.append("give back")

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, ExhaustedError)


def entry(name: str = "net", form: Form = Form.PROGRAM) -> Entry:
    spec = TensorSpec(name="x", dtype="float32", shape=(4,))
    config = ModelConfig(slo_ms=10.0, max_batch=8, input=(spec,), output=(spec,))
    return Entry(name=name, folder=Path("/models") / name, form=form, config=config)


def captured(networks: Networks, gpulet: int, batch: int, name: str = "net") -> Captured:
    capture = networks.load(gpulet, 0, entry(name))
    assert capture is not None
    return capture(batch, STREAM, 7)


def test_a_graph_is_tuned_on_the_stream_and_then_recorded_there() -> None:
    gpu = FakeGpu()
    got = captured(Networks(gpu), gpulet=3, batch=4)
    assert gpu.calls == ["load net", "tune", "tune", "wait", "record in 1", "run"]
    assert (got.graph, got.reason) == (0x1001, "")
    assert got.inputs == (100,)
    assert len(got.outputs) == 1
    assert got.call is None


def test_weights_are_loaded_once_for_all_gpulets_and_go_with_the_last() -> None:
    gpu = FakeGpu()
    networks = Networks(gpu)
    for gpulet in (1, 2, 3):
        assert networks.load(gpulet, 0, entry()) is not None
    assert gpu.calls == ["load net"]
    assert networks.weights_bytes("/models/net") == WEIGHTS
    networks.unload(1, 0)
    networks.forget(2)
    assert networks.weights_bytes("/models/net") == WEIGHTS
    networks.unload(3, 0)
    assert networks.weights_bytes("/models/net") == 0
    assert gpu.calls[-1] == "give back"
    networks.load(1, 0, entry())
    assert gpu.calls.count("load net") == 2


def test_a_worker_has_one_pool_for_all_its_graphs() -> None:
    gpu = FakeGpu()
    networks = Networks(gpu)
    kept = [captured(networks, gpulet, 2, name) for gpulet in (1, 2) for name in ("a", "b")]
    assert [call for call in gpu.calls if call.startswith("record")] == [
        "record in 1",
        "record in 1",
        "record in 2",
        "record in 2",
    ]
    assert len(kept) == 4


def test_graphs_are_accounted_while_they_live() -> None:
    gpu = FakeGpu()
    networks = Networks(gpu)
    capture = networks.load(1, 0, entry())
    assert capture is not None
    small, large = capture(2, STREAM), capture(8, STREAM)
    assert (small.bytes, large.bytes) == (2, 8)
    assert networks.cost(1, 0).graph_bytes == 10
    large.owner.close()
    large.owner.close()
    assert networks.cost(1, 0).graph_bytes == 2
    assert gpu.calls.count("release 2") == 1
    del small
    assert gpu.graphs == {}
    assert networks.cost(1, 0).graph_bytes == 0


def test_what_cannot_be_captured_runs_eagerly_on_the_stream_with_the_reason() -> None:
    gpu = FakeGpu(capture_error=RuntimeError("operation not permitted\nmore"))
    networks = Networks(gpu)
    got = captured(networks, gpulet=1, batch=4)
    assert got.graph == 0
    assert got.reason == "RuntimeError: operation not permitted"
    assert networks.cost(1, 0).eager == got.reason
    assert got.call is not None
    before = gpu.calls.count("run")
    assert got.call(3) != got.call(3), "addresses of the outputs of each call"
    assert gpu.calls.count("run") == before + 2
    gpu.capture_error = None
    captured(networks, gpulet=1, batch=8)
    assert "record in 2" in gpu.calls, "a pool that a failed capture used is not used again"


def test_weights_that_do_not_fit_say_what_is_needed_and_what_is_free() -> None:
    networks = Networks(FakeGpu(limit=WEIGHTS // 2))
    with pytest.raises(DeviceError, match=r"GPU 0 \(fake\) is out of memory: model 'net' needs"):
        networks.load(1, 0, entry())
    assert networks.weights_bytes("/models/net") == 0


def test_a_graph_that_does_not_fit_leaves_the_others() -> None:
    networks = Networks(FakeGpu(limit=WEIGHTS + 5))
    kept = captured(networks, gpulet=1, batch=4)
    with pytest.raises(DeviceError, match="a batch of 8 of model 'net' does not fit"):
        captured(networks, gpulet=1, batch=8)
    assert kept.graph == 0x1001
    assert captured(networks, gpulet=1, batch=1).graph == 0x1002


def test_a_model_that_fails_while_it_warms_up_is_named() -> None:
    networks = Networks(FakeGpu(run_error=ValueError("of no use")))
    with pytest.raises(ModelError, match=r"^model 'net' at batch 4: ValueError: of no use$"):
        captured(networks, gpulet=1, batch=4)


def test_a_model_that_fails_later_without_a_graph_is_named_too() -> None:
    gpu = FakeGpu(capture_error=RuntimeError("no"))
    got = captured(Networks(gpu), gpulet=1, batch=4)
    gpu.run_error = ValueError("of no use")
    assert got.call is not None
    with pytest.raises(ModelError, match="model 'net' at batch 3: ValueError: of no use"):
        got.call(3)


def test_a_plain_callable_is_no_network() -> None:
    networks = Networks(FakeGpu())
    assert networks.load(1, 0, entry(form=Form.CALLABLE)) is None
    networks.unload(1, 0)
