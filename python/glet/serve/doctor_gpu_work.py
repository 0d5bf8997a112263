"""Works on parts of a GPU: `python -m glet.serve.doctor_gpu_work` prints a ShareFacts as JSON.

A process of its own: it opens the driver, imports torch and may be ended by either. The parts are
gpulets of the engine that serves, and everything runs on their streams.
"""

import math
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from glet.config.zoo import zoo_model
from glet.errors import DeviceError
from glet.native import core
from glet.serve.capture_torch import TorchGpu
from glet.serve.doctor_gpu_torch import GEMM_TOLERANCES, K, M, N
from glet.serve.engine_partition import add_gpulet
from glet.serve.export import build, random_inputs
from glet.types.units import Units
from glet.wire.messages import AddGpulet

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

NETWORK = "resnet18"
NETWORK_BATCH = 4
PROBE_CYCLES = 200_000
SPIN_CYCLES = 20_000_000
REPEATS = 5
# Of one thread per block: more blocks than an SM holds at once, so that none stays empty.
BLOCKS_PER_SM = 64
KERNEL = "glet_where"
PTX = """
.version 7.0
.target sm_70
.address_size 64
.visible .entry glet_where(.param .u64 out, .param .u32 cycles)
{
    .reg .pred %p;
    .reg .b32 %r<7>;
    .reg .b64 %d<4>;
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %smid;
    ld.param.u64 %d1, [out];
    cvta.to.global.u64 %d1, %d1;
    mul.wide.u32 %d2, %r1, 4;
    add.s64 %d3, %d1, %d2;
    st.global.u32 [%d3], %r2;
    ld.param.u32 %r3, [cycles];
    mov.u32 %r4, %clock;
WAIT:
    mov.u32 %r5, %clock;
    sub.u32 %r6, %r5, %r4;
    setp.lt.u32 %p, %r6, %r3;
    @%p bra WAIT;
    ret;
}
"""
"""Writes the number of the SM that a block runs on, and keeps it busy for so many cycles."""


class ShareErrors(msgspec.Struct, frozen=True, kw_only=True):
    """Of a share of `units`: relative errors, Frobenius norm; None where something is no number.

    `gemm` by dtype against float64 on the CPU, `network` in float16 against the whole GPU.
    """

    units: int
    sms: int
    gemm: dict[str, float | None]
    network: float | None


class ShareFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`sm_ids` are the SMs on which blocks of each unit ran.

    `alone_ms` is a graph that keeps half of the units busy, `together_ms` two of them on the two
    halves.
    """

    device: str
    driver: str = ""
    unit_sms: int
    sm_ids: tuple[tuple[int, ...], ...]
    shares: tuple[ShareErrors, ...]
    alone_ms: float = 0.0
    together_ms: float = 0.0


class Parts:
    """Gpulets on a GPU, one or two at a time, and torch on their streams."""

    def __init__(self, gpu: TorchGpu, engine: Any, grid: dict[str, Any]) -> None:
        self.gpu = gpu
        self.grid = grid
        self._engine = engine
        self._next = 0

    @contextmanager
    def part(self, first: int, count: int) -> "Iterator[tuple[int, int]]":
        """(stream, SMs) of a gpulet on these units."""
        number, self._next = self._next, self._next + 1
        step = AddGpulet(
            step=0,
            gpulet=number,
            kind="green",
            share_pct=100 * count // self.grid["units"],
            cores=(),
            units=Units(first, count),
        )
        got = add_gpulet(self._engine, step)
        try:
            yield got.stream, got.sms
        finally:
            self._engine.remove_gpulet(number)


def sm_ids(parts: Parts, kernel: Any) -> tuple[tuple[int, ...], ...]:
    """Where blocks of each unit run."""
    import torch

    found = []
    for unit in range(parts.grid["units"]):
        with parts.part(unit, 1) as (stream, sms), parts.gpu.on_stream(stream):
            blocks = sms * BLOCKS_PER_SM
            out = torch.full((blocks,), -1, dtype=torch.int32, device=parts.gpu.device)
            kernel(grid=(blocks, 1, 1), block=(1, 1, 1), args=[out, PROBE_CYCLES])
            parts.gpu.wait(stream)
            found.append(tuple(sorted(set(out.tolist()))))
    return tuple(found)


def share_errors(parts: Parts) -> tuple[ShareErrors, ...]:
    """Of every count of units that the device can give."""
    import torch

    device = parts.gpu.device
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, generator=generator) for size in ((M, K), (K, N)))
    torch.manual_seed(0)
    sample = zoo_model(NETWORK)
    network = build(sample).half().to(device)
    arrays = random_inputs(sample, NETWORK_BATCH, 0).values()
    inputs = [torch.from_numpy(array).half().to(device) for array in arrays]
    with torch.inference_mode():
        right = network(*inputs).double().cpu()
        torch.cuda.synchronize()
        found = []
        for count in range(1, parts.grid["units"] + 1):
            with parts.part(0, count) as (stream, sms), parts.gpu.on_stream(stream):
                gemm = {name: _gemm_error(a, b, name, device) for name in GEMM_TOLERANCES}
                error = relative_error(network(*inputs).double().cpu(), right)
            found.append(ShareErrors(units=count, sms=sms, gemm=gemm, network=error))
    return tuple(found)


def relative_error(got: "torch.Tensor", right: "torch.Tensor") -> float | None:
    """In the Frobenius norm; None where it is no number."""
    error = float((got - right).norm() / right.norm())
    return error if math.isfinite(error) else None


def overlap_ms(parts: Parts, kernel: Any, gpulets: int = 2) -> tuple[float, float]:
    """Least wall time of a graph on one of so many equal parts, and of one on each at once."""
    size = parts.grid["units"] // gpulets
    with ExitStack() as stack:
        made = [stack.enter_context(parts.part(i * size, size)) for i in range(gpulets)]
        streams = [stream for stream, _ in made]
        graphs = [_spin_graph(parts.gpu, stream, sms, kernel) for stream, sms in made]

        def run(count: int) -> float:
            start_s = time.perf_counter()
            for stream, (graph, _) in list(zip(streams, graphs, strict=True))[:count]:
                with parts.gpu.on_stream(stream):
                    graph.replay()
            for stream in streams:
                parts.gpu.wait(stream)
            return (time.perf_counter() - start_s) * 1000.0

        run(gpulets)
        alone_ms = min(run(1) for _ in range(REPEATS))
        together_ms = min(run(gpulets) for _ in range(REPEATS))
        for graph, _ in graphs:
            parts.gpu.release(graph)
        return alone_ms, together_ms


def _gemm_error(a: "torch.Tensor", b: "torch.Tensor", name: str, device: str) -> float | None:
    import torch

    dtype = getattr(torch, name)
    left, right = a.to(dtype), b.to(dtype)
    got = (left.to(device) @ right.to(device)).cpu().double()
    return relative_error(got, left.double() @ right.double())


def _spin_graph(gpu: TorchGpu, stream: int, sms: int, kernel: Any) -> tuple[Any, Any]:
    import torch

    with gpu.on_stream(stream):
        out = torch.zeros(sms, dtype=torch.int32, device=gpu.device)
        gpu.wait(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            kernel(
                grid=(sms, 1, 1),
                block=(1, 1, 1),
                args=[out, SPIN_CYCLES],
                stream=torch.cuda.current_stream(),
            )
    return graph, out


def load_kernel() -> Callable[..., None]:
    """The kernel of PTX, by torch: the driver's cuModuleLoadData. Raises DeviceError."""
    from torch.cuda import _utils

    load = getattr(_utils, "_cuda_load_module", None)
    if load is None:
        raise DeviceError("this torch cannot load a kernel from PTX; install 2.11 or newer")
    kernel: Callable[..., None] = load(PTX, [KERNEL])[KERNEL]
    return kernel


def main() -> None:
    """Prints the facts of the first GPU."""
    probe = core.cuda_probe()
    grid = probe["devices"][0]
    gpu = TorchGpu()
    with core.Engine() as engine:
        parts = Parts(gpu, engine, grid)
        kernel = load_kernel()
        seen = sm_ids(parts, kernel)
        alone_ms, together_ms = overlap_ms(parts, kernel) if grid["units"] > 1 else (0.0, 0.0)
        facts = ShareFacts(
            device=grid["name"],
            driver=probe["driver"],
            unit_sms=grid["unit_sms"],
            sm_ids=seen,
            shares=share_errors(parts),
            alone_ms=alone_ms,
            together_ms=together_ms,
        )
    sys.stdout.write(msgspec.json.encode(facts).decode() + "\n")


if __name__ == "__main__":
    main()
