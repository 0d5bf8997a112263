"""A GPU by torch: the thin part of capturing that needs a device. See glet.serve.capture.

Torch 2.11 or newer: `CUDAGraph.raw_cuda_graph_exec()` is the handle that the core replays. Never
`torch.cuda.green_contexts`: each of its contexts makes a split of its own, and they overlap.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from glet.errors import DeviceError
from glet.serve.capture import Tensors
from glet.serve.network import Network, load_network, torch_dtype
from glet.serve.repository import Entry
from glet.serve.torch_path import find_torch
from glet.types.model import Signature

if TYPE_CHECKING:
    import torch

# Where the core expects the next tensor of a block.
ALIGNMENT_BYTES = 256


@dataclass(frozen=True)
class DeviceTensors:
    """Tensors and what holds their memory."""

    tensors: tuple["torch.Tensor", ...]
    block: "torch.Tensor | None" = None

    @property
    def pointers(self) -> tuple[int, ...]:
        """Addresses on the device."""
        return tuple(tensor.data_ptr() for tensor in self.tensors)


class TorchGpu:
    """The device `cuda:index` of this process."""

    def __init__(self, index: int = 0) -> None:
        """Raises DeviceError when torch cannot use it."""
        find_torch()
        import torch

        if not torch.cuda.is_available():
            built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
            raise DeviceError(
                f"torch {torch.__version__}, built {built}, finds no GPU; glet doctor says why"
            )
        if index >= torch.cuda.device_count():
            raise DeviceError(f"torch finds {torch.cuda.device_count()} GPUs, no number {index}")
        if not hasattr(torch.cuda.CUDAGraph, "raw_cuda_graph_exec"):
            raise DeviceError(
                f"torch {torch.__version__} does not give the handles of its CUDA graphs; "
                "install 2.11 or newer"
            )
        self.index = index
        self.device = f"cuda:{index}"
        # fp32 means fp32: TF32 rounds to 11 bits on the way in.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        self.says = f"GPU {index} ({torch.cuda.get_device_name(index)})"

    def load(self, entry: Entry) -> Network | None:
        """Not on the device yet."""
        return load_network(entry)

    def move(self, network: Network) -> None:
        """To this device."""
        network.move(self.device)

    def inputs(self, signature: Signature, batch: int) -> DeviceTensors:
        """Zeros: valid for embeddings as well, and no NaN for a warm-up."""
        return zeros(signature, batch, self.device)

    def run(self, network: Network, inputs: Tensors) -> DeviceTensors:
        """On the current stream."""
        import torch

        with torch.inference_mode():
            return DeviceTensors(network(inputs.tensors))

    def first(self, inputs: Tensors, count: int) -> DeviceTensors:
        """Views."""
        return DeviceTensors(tuple(tensor[:count] for tensor in inputs.tensors))

    def on_stream(self, pointer: int) -> AbstractContextManager[Any]:
        """The current stream of this thread and device."""
        import torch

        context: AbstractContextManager[Any] = torch.cuda.stream(self._stream(pointer))
        return context

    @contextmanager
    def tuning(self) -> Iterator[None]:
        """cuDNN times its kernels on the current stream: on the SMs of the gpulet."""
        import torch

        before = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = True
        try:
            yield
        finally:
            torch.backends.cudnn.benchmark = before

    def wait(self, pointer: int) -> None:
        """For this stream alone: other gpulets go on."""
        self._stream(pointer).synchronize()

    def new_pool(self) -> Any:
        """The id of a private pool."""
        import torch

        return torch.cuda.graph_pool_handle()

    def record(self, pool: Any, pointer: int, call: Callable[[], Tensors]) -> tuple[Any, Tensors]:
        """Other threads may use the device meanwhile: `thread_local`."""
        import torch

        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(
            graph, pool=pool, stream=self._stream(pointer), capture_error_mode="thread_local"
        ):
            outputs = call()
        return graph, outputs

    def graph_exec(self, graph: Any) -> int:
        """It is instantiated at the end of the capture (keep_graph is off)."""
        return int(graph.raw_cuda_graph_exec())

    def release(self, graph: Any) -> None:
        """The handle is invalid from here on."""
        graph.reset()

    def held_bytes(self) -> int:
        """The reserve is given back first: pools of graphs are reserved memory and stay."""
        import torch

        torch.cuda.empty_cache()
        return int(torch.cuda.memory_reserved(self.index))

    def free_bytes(self) -> int:
        """By the driver; other processes count."""
        import torch

        return int(torch.cuda.mem_get_info(self.index)[0])

    def give_back(self) -> None:
        """Frees what no tensor and no graph has."""
        import gc

        import torch

        # Modules of exported programs are cycles.
        gc.collect()
        torch.cuda.empty_cache()

    def is_out_of_memory(self, error: BaseException) -> bool:
        """CUDA and cuBLAS say it in words only."""
        import torch

        if isinstance(error, torch.OutOfMemoryError):
            return True
        words = str(error).lower()
        return isinstance(error, RuntimeError) and (
            "out of memory" in words or "cublas_status_alloc_failed" in words
        )

    def _stream(self, pointer: int) -> "torch.cuda.Stream":
        import torch

        return torch.cuda.ExternalStream(pointer, device=self.index)  # type: ignore[no-untyped-call]


def zeros(signature: Signature, batch: int, device: str) -> DeviceTensors:
    """(batch, *shape) per input in one block, so that one copy can fill all of them."""
    import torch

    shapes = [(batch, *spec.shape) for spec in signature.inputs]
    dtypes = [torch_dtype(spec.dtype) for spec in signature.inputs]
    sizes = [prod(shape) * dtype.itemsize for shape, dtype in zip(shapes, dtypes, strict=True)]
    offsets = _offsets(sizes)
    block = torch.zeros(offsets[-1] + sizes[-1], dtype=torch.uint8, device=device)
    tensors = tuple(
        block[offset : offset + size].view(dtype).view(shape)
        for offset, size, dtype, shape in zip(offsets, sizes, dtypes, shapes, strict=True)
    )
    return DeviceTensors(tensors, block)


def _offsets(sizes: Sequence[int]) -> list[int]:
    offsets, end = [], 0
    for size in sizes:
        offsets.append(end)
        end += -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    return offsets
