"""Gpulets of green contexts that serve networks of torch as CUDA graphs, on a real GPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glet.errors import DeviceError
from glet.native import core
from glet.serve.capture_torch import TorchGpu
from glet.serve.doctor_gpu_shares import bad_units, judge_gpu_shares
from glet.serve.doctor_gpu_work import (
    Parts,
    ShareFacts,
    load_kernel,
    overlap_ms,
    share_errors,
    sm_ids,
)
from glet.serve.model_loader import ModelLoader, model_plan
from glet.serve.model_shelf import gpu_source
from glet.serve.network import load_network
from glet.serve.repository import Repository
from glet.wire.messages import Limits

pytestmark = pytest.mark.gpu

SECOND_NS = 1_000_000_000
PLAN = model_plan(
    ((1, 1.0), (8, 4.0)), Limits(batch=8, time_share=1.0, capacity=1000, margin_ms=0.0)
)


def placement(first: int, count: int) -> Any:
    native: Any = core
    return native.Placement(first, count)


def add(engine: Any, number: int, first: int, count: int) -> Any:
    return engine.add_gpulet(number, kind="green", device=0, placement=placement(first, count))


def serve(engine: Any, gpulet: int, model: int, items: np.ndarray) -> np.ndarray:
    """Outputs in the order of the items; every request has to be answered ok."""
    deadline_ns = core.now_ns() + 60 * SECOND_NS
    engine.submit([(tag, gpulet, model, deadline_ns, [x]) for tag, x in enumerate(items)])
    outputs: dict[int, np.ndarray] = {}
    while len(outputs) < len(items) and engine.wait(60 * SECOND_NS):
        for done in engine.drain():
            assert (done.outcome, done.error) == ("ok", None)
            outputs[done.tag] = done.output(0).copy()
    return np.stack([outputs[tag] for tag in range(len(items))])


@pytest.fixture
def load(engine: Any, gpu: TorchGpu, models: Path) -> Callable[..., ModelLoader]:
    loader = ModelLoader(engine, runners=4, open_gpu=lambda: gpu)

    def one(gpulet: int, model: int, name: str) -> ModelLoader:
        loader.load(gpulet, model, gpu_source(Repository(models).entry(name)), PLAN)
        return loader

    return one


def eager(models: Path, name: str, gpu: TorchGpu, items: np.ndarray) -> np.ndarray:
    import torch

    network = load_network(Repository(models).entry(name))
    assert network is not None
    network.move(gpu.device)
    with torch.inference_mode():
        found: np.ndarray = network([torch.from_numpy(items).to(gpu.device)])[0].cpu().numpy()
    return found


def items(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 256)).astype(np.float32)


def test_a_replay_equals_eager_at_every_batch(
    engine: Any, gpu: TorchGpu, models: Path, load: Callable[..., ModelLoader]
) -> None:
    add(engine, 1, 0, 1)
    loader = load(1, 0, "a")
    source = gpu_source(Repository(models).entry("a"))
    for batch in range(1, 9):
        engine.measure(1, 0, batch, 1)
        x = items(batch)
        np.testing.assert_allclose(
            serve(engine, 1, 0, x), eager(models, "a", gpu, x), rtol=1e-3, atol=1e-4
        )
    assert loader.runner(1, 0, source) == ("graph", "")
    assert loader.memory(1, 0, source).graphs_mb > 0


def test_weights_are_on_the_device_once(
    engine: Any, gpu: TorchGpu, models: Path, load: Callable[..., ModelLoader]
) -> None:
    add(engine, 1, 0, 1)
    add(engine, 2, 1, 1)
    loader = load(1, 0, "b")
    before = gpu.held_bytes()
    load(2, 0, "b")
    assert gpu.held_bytes() == before
    loader.unload(1, 0, 0)
    x = items(3)
    np.testing.assert_allclose(
        serve(engine, 2, 0, x), eager(models, "b", gpu, x), rtol=1e-3, atol=1e-4
    )
    loader.unload(2, 0, 0)
    assert loader.weights_bytes(gpu_source(Repository(models).entry("b"))) == 0
    assert gpu.held_bytes() < before


def test_a_resize_under_load_loses_nothing(
    engine: Any, grid: dict[str, Any], load: Callable[..., ModelLoader]
) -> None:
    if grid["units"] < 3:
        pytest.skip("needs three units")
    first = add(engine, 1, 0, 1)
    load(1, 0, "a")
    deadline_ns = core.now_ns() + 120 * SECOND_NS
    x = items(64)
    for turn in range(20):
        engine.submit([(turn * 64 + i, 1, 0, deadline_ns, [row]) for i, row in enumerate(x)])
        count = 1 + turn % 2
        got = engine.resize_gpulet(1, kind="green", device=0, placement=placement(0, count))
        assert got.units == count
    answers: list[Any] = []
    while len(answers) < 20 * 64 and engine.wait(60 * SECOND_NS):
        answers += engine.drain()
    assert {answer.outcome for answer in answers} == {"ok"}
    assert len({answer.tag for answer in answers}) == 20 * 64
    assert first.context_id != engine.partition(1).context_id


def test_memory_that_does_not_do_is_one_line_and_others_serve_on(
    engine: Any, gpu: TorchGpu, load: Callable[..., ModelLoader]
) -> None:
    import torch

    add(engine, 1, 0, 1)
    load(1, 0, "a")
    # As if the device had next to nothing left.
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((gpu.held_bytes() + 1024) / total)
    try:
        with pytest.raises(DeviceError, match=r"is out of memory: model 'b' needs"):
            load(1, 1, "b")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert serve(engine, 1, 0, items(2)).shape == (2, 64)
    load(1, 1, "b")


def test_shares_are_disjoint_side_by_side_and_right(
    engine: Any, gpu: TorchGpu, grid: dict[str, Any]
) -> None:
    parts = Parts(gpu, engine, grid)
    kernel = load_kernel()
    seen = sm_ids(parts, kernel)
    assert [len(ids) for ids in seen] == [grid["unit_sms"]] * grid["units"]
    alone_ms, together_ms = overlap_ms(parts, kernel)
    facts = ShareFacts(
        device=grid["name"],
        unit_sms=grid["unit_sms"],
        sm_ids=seen,
        shares=share_errors(parts),
        alone_ms=alone_ms,
        together_ms=together_ms,
    )
    finding = judge_gpu_shares(facts)
    # A share at which a library is wrong is a fault of this machine, and found; see bad_units().
    assert finding.state == "ok" or bad_units(facts), finding.says


def test_a_graph_stays_on_the_units_that_it_was_captured_on(
    engine: Any, gpu: TorchGpu, grid: dict[str, Any]
) -> None:
    import torch

    parts = Parts(gpu, engine, grid)
    kernel = load_kernel()
    mine = set(sm_ids(parts, kernel)[0])
    with parts.part(0, 1) as (stream, _), gpu.on_stream(stream):
        out = torch.full((512,), -1, dtype=torch.int32, device=gpu.device)
        gpu.wait(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            kernel(
                grid=(512, 1, 1),
                block=(1, 1, 1),
                args=[out, 100_000],
                stream=torch.cuda.current_stream(),
            )
        with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
            graph.replay()
        torch.cuda.synchronize()
        assert set(out.tolist()) == mine
        gpu.release(graph)
