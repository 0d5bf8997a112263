"""A GPU as glet.serve.capture sees it: numpy on memory and streams of the fake libcuda.so.1.

A network is the `infer` of a model.py. What it launches is done when somebody waits for its stream,
and a graph does it again with every launch, in the memory that it was captured with.
"""

import ctypes
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import msgspec
import numpy as np

from glet.serve.callables import BatchCallable, load_source
from glet.serve.repository import Entry, Form
from glet.types.model import Signature

ALIGNMENT = 256
CUDA_2 = 2000
LAUNCH = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


class Driver:
    """The exported functions of tests/cpp/fake_cuda.h."""

    def __init__(self) -> None:
        library = ctypes.CDLL("libcuda.so.1")
        self.alloc = library.fake_cuda_alloc
        self.alloc.argtypes, self.alloc.restype = [ctypes.c_uint64], ctypes.c_uint64
        self.free = library.fake_cuda_free
        self.free.argtypes = [ctypes.c_uint64]
        self.graph = library.fake_cuda_graph
        self.graph.argtypes = [ctypes.c_void_p, LAUNCH, ctypes.c_void_p]
        self.graph.restype = ctypes.c_void_p
        self.graph_free = library.fake_cuda_graph_free
        self.graph_free.argtypes = [ctypes.c_void_p]
        self.enqueue = library.fake_cuda_enqueue
        self.enqueue.argtypes = [ctypes.c_void_p, LAUNCH, ctypes.c_void_p]
        found = ctypes.c_void_p()
        library.cuGetProcAddress_v2(
            b"cuStreamSynchronize", ctypes.byref(found), CUDA_2, ctypes.c_uint64(0), None
        )
        self.synchronize = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(found.value or 0)


class Block:
    """Device memory, given back with the last who has it."""

    def __init__(self, gpu: "TorchGpu", size: int) -> None:
        self.address = gpu.driver.alloc(size)
        if not self.address:
            raise MemoryError
        self._gpu, self._size = gpu, size
        gpu.held += size

    def __del__(self) -> None:
        if self.address:
            self._gpu.held -= self._size
            self._gpu.driver.free(self.address)


@dataclass(frozen=True)
class Tensors:
    """Arrays over device memory."""

    tensors: tuple[Any, ...]
    block: Block

    @property
    def pointers(self) -> tuple[int, ...]:
        return tuple(int(array.ctypes.data) for array in self.tensors)


class Net:
    """A model; `says_no`: it cannot be captured."""

    def __init__(self, entry: Entry, infer: BatchCallable) -> None:
        self.name = entry.name
        self.signature = entry.config.signature
        self.weights_bytes = 1_000_000
        self.infer = infer
        self.says_no = "eager" in entry.name
        self.block: Block | None = None

    def __call__(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        made = self.infer(*(array.copy() for array in inputs))
        for array, value in zip(outputs, made if isinstance(made, tuple) else (made,), strict=True):
            array[...] = value


class TorchGpu:
    """Has the name of what it stands for."""

    def __init__(self, index: int = 0) -> None:
        self.driver = Driver()
        self.says = f"GPU {index} (fake)"
        self.held = 0
        self._stream = 0
        self._recorded: list[Any] | None = None
        # Of each stream the last ones, which may not be done yet.
        self._launches: defaultdict[int, deque[Any]] = defaultdict(lambda: deque(maxlen=8))

    def load(self, entry: Entry) -> Net:
        # A program of these tests has its code beside it.
        return Net(entry, load_source(msgspec.structs.replace(entry, form=Form.CALLABLE)))

    def move(self, network: Net) -> None:
        network.block = Block(self, network.weights_bytes)

    def inputs(self, signature: Signature, batch: int) -> Tensors:
        return self._zeros(signature.inputs, batch)

    def run(self, network: Net, inputs: Tensors) -> Tensors:
        outputs = self._zeros(network.signature.outputs, len(inputs.tensors[0]))

        def launch(_: Any) -> int:
            network(inputs.tensors, outputs.tensors)
            return 0

        made = LAUNCH(launch)
        if self._recorded is not None:
            if network.says_no:
                raise RuntimeError("it prints")
            self._recorded.append(made)
        else:
            self._launches[self._stream].append(made)
            self.driver.enqueue(self._stream, made, None)
        return outputs

    def first(self, inputs: Tensors, count: int) -> Tensors:
        return Tensors(tuple(array[:count] for array in inputs.tensors), inputs.block)

    @contextmanager
    def on_stream(self, pointer: int) -> Iterator[None]:
        before, self._stream = self._stream, pointer
        try:
            yield
        finally:
            self._stream = before

    @contextmanager
    def tuning(self) -> Iterator[None]:
        yield

    def wait(self, pointer: int) -> None:
        code = self.driver.synchronize(pointer)
        assert code == 0, code

    def new_pool(self) -> object:
        return object()

    def record(self, pool: Any, pointer: int, call: Callable[[], Tensors]) -> tuple[Any, Tensors]:
        self._recorded = []
        try:
            outputs = call()
            (launch,) = self._recorded
        finally:
            self._recorded = None
        return [self.driver.graph(pointer, launch, None), launch], outputs

    def graph_exec(self, graph: Any) -> int:
        return int(graph[0])

    def release(self, graph: Any) -> None:
        self.driver.graph_free(graph[0])

    def held_bytes(self) -> int:
        return self.held

    def free_bytes(self) -> int:
        return 1 << 30

    def give_back(self) -> None:
        pass

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, MemoryError)

    def _zeros(self, specs: Sequence[Any], batch: int) -> Tensors:
        sizes = [-(-batch * spec.nbytes // ALIGNMENT) * ALIGNMENT for spec in specs]
        block = Block(self, sum(sizes))
        arrays, offset = [], 0
        for spec, size in zip(specs, sizes, strict=True):
            shape = (batch, *spec.shape)
            memory = (ctypes.c_uint8 * size).from_address(block.address + offset)
            array = np.frombuffer(memory, np.dtype(spec.dtype), prod(shape)).reshape(shape)
            array[...] = 0
            arrays.append(array)
            offset += size
        return Tensors(tuple(arrays), block)
