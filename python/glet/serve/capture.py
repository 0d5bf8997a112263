"""Networks on a GPU and their CUDA graphs: weights once, a graph per worker, model and batch.

The core replays: it calls a Capture on the gpulet's thread when it needs a graph that it does not
have (csrc/glet/exec/graph_runner). Everything of torch's is behind Gpu; see capture_torch.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from glet.errors import DeviceError, GletError, ModelError
from glet.serve.network import Network, first_line
from glet.serve.repository import Entry
from glet.types.model import Signature

logger = logging.getLogger(__name__)

# The first run loads kernels and takes workspaces, the second finds everything as it will be.
WARM_UPS = 2
MB = 1e6


class Tensors(Protocol):
    """Tensors on the device. `pointers`: their addresses, in the order of the signature."""

    @property
    def tensors(self) -> Sequence[Any]: ...
    @property
    def pointers(self) -> tuple[int, ...]: ...


class Gpu(Protocol):
    """One device, as far as capturing needs it. What it raises is torch's."""

    @property
    def says(self) -> str:
        """What it is, for error messages: `GPU 0 (NVIDIA H200)`."""
        ...

    def load(self, entry: Entry) -> Network | None:
        """Not on the device yet; None for a plain Python callable."""
        ...

    def move(self, network: Network) -> None: ...

    def inputs(self, signature: Signature, batch: int) -> Tensors:
        """Zeros (batch, *shape) per input, one after the other in one block of memory."""
        ...

    def run(self, network: Network, inputs: Tensors) -> Tensors:
        """On the current stream; does not wait."""
        ...

    def first(self, inputs: Tensors, count: int) -> Tensors:
        """The first items of a batch, in the same memory."""
        ...

    def on_stream(self, pointer: int) -> AbstractContextManager[Any]:
        """Makes a stream of the driver the current one of this thread."""
        ...

    def tuning(self) -> AbstractContextManager[Any]:
        """While it lasts libraries try their kernels and keep the fastest."""
        ...

    def wait(self, pointer: int) -> None:
        """Until everything on this stream is done."""
        ...

    def new_pool(self) -> Any:
        """Memory for graphs that never run at the same time."""
        ...

    def record(self, pool: Any, pointer: int, call: Callable[[], Tensors]) -> tuple[Any, Tensors]:
        """The graph of what `call` launches on this stream, and what it returned."""
        ...

    def graph_exec(self, graph: Any) -> int:
        """The driver's handle, CUgraphExec."""
        ...

    def release(self, graph: Any) -> None: ...

    def held_bytes(self) -> int:
        """Memory that torch has taken of the device, its unused reserve not counted."""
        ...

    def free_bytes(self) -> int: ...

    def give_back(self) -> None:
        """Returns torch's unused reserve to the driver."""
        ...

    def is_out_of_memory(self, error: BaseException) -> bool: ...


@dataclass(frozen=True)
class Captured:
    """What a worker runs for batches of up to one size, over fixed addresses on the device.

    `graph` is the driver's handle; 0 when `call` is to be used instead, because of `reason`: it
    runs the first n items on the same stream and gives the addresses of the outputs, which stay as
    they are until it is called again. `one_block`: one copy fills all inputs, and one fetches all
    outputs. All of it is valid while `owner` lives. (The core's type of this name has the same
    fields.)
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    bytes: int
    owner: "Owner"
    graph: int = 0
    call: Callable[[int], tuple[int, ...]] | None = None
    one_block: bool = False
    reason: str = ""


class Owner:
    """Keeps a graph and its tensors, and lets them go in an order that is safe: graph first."""

    def __init__(self, gpu: Gpu, parts: Sequence[Any], graph: Any = None) -> None:
        self._gpu = gpu
        self._graph = graph
        self._parts = list(parts)
        self._gone: Callable[[], None] = lambda: None

    def on_close(self, gone: Callable[[], None]) -> None:
        """Is called once, when it is closed."""
        self._gone = gone

    def close(self) -> None:
        """For when no run of it is under way. Again does nothing."""
        graph, self._graph = self._graph, None
        if graph is not None:
            self._gpu.release(graph)
        gone, self._gone = self._gone, lambda: None
        gone()
        self._parts.clear()

    def __del__(self) -> None:
        # At the end of the process torch may be gone before its graphs.
        with suppress(RuntimeError, AttributeError, TypeError):
            self.close()


@dataclass
class Cost:
    """Memory of a model on one gpulet, in bytes. `eager`: why graphs are not used, if so."""

    graphs: dict[int, int] = field(default_factory=dict)
    eager: str = ""

    @property
    def graph_bytes(self) -> int:
        """Of all graphs with their inputs and outputs."""
        return sum(self.graphs.values())


@dataclass
class _Loaded:
    network: Network
    bytes: int
    users: set[tuple[int, int]] = field(default_factory=set)


class Networks:
    """The networks of one GPU. Safe to use from several threads."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        # Torch allows one capture at a time, and memory is told apart by what it was before.
        self._device_lock = threading.RLock()
        self._lock = threading.Lock()
        self._loaded: dict[str, _Loaded] = {}
        self._costs: dict[tuple[int, int], Cost] = {}
        self._pools: dict[int, Any] = {}

    def load(self, gpulet: int, model: int, entry: Entry) -> "Capture | None":
        """For the core to call; None when the model is a plain Python callable.

        The weights are loaded unless a gpulet has them. Raises ModelError, and DeviceError when
        they do not fit; nothing of the model remains then.
        """
        key = str(entry.folder)
        with self._device_lock:
            loaded = self._loaded.get(key) or self._load(entry)
            if loaded is None:
                return None
            self._loaded[key] = loaded
            loaded.users.add((gpulet, model))
            if gpulet not in self._pools:
                self._pools[gpulet] = self._gpu.new_pool()
        self._costs[(gpulet, model)] = Cost()
        return Capture(self, loaded.network, gpulet, model)

    def unload(self, gpulet: int, model: int) -> None:
        """After the core let go of the model's graphs. The last user takes the weights along."""
        with self._device_lock:
            self._costs.pop((gpulet, model), None)
            for key, loaded in list(self._loaded.items()):
                loaded.users.discard((gpulet, model))
                if not loaded.users:
                    del self._loaded[key]
            if all(user[0] != gpulet for user in self._users()):
                self._pools.pop(gpulet, None)
        self._gpu.give_back()

    def forget(self, gpulet: int) -> None:
        """For a gpulet that was removed, and its models with it."""
        for user in [user for user in self._users() if user[0] == gpulet]:
            self.unload(*user)

    def weights_bytes(self, entry_folder: str) -> int:
        """Of a model that is loaded: what loading it took of the device."""
        loaded = self._loaded.get(entry_folder)
        return loaded.bytes if loaded is not None else 0

    def cost(self, gpulet: int, model: int) -> Cost:
        """Of a model that is loaded; an empty one otherwise."""
        return self._costs.get((gpulet, model), Cost())

    def capture(self, capture: "Capture", batch: int, stream: int) -> Captured:
        """See Capture."""
        with self._device_lock:
            before = self._gpu.held_bytes()
            try:
                captured = self._capture(capture, batch, stream)
            except GletError:
                raise
            except Exception as error:
                # The model's own code runs in there, and may raise anything.
                raise self._error(capture, batch, error) from error
            size = max(0, self._gpu.held_bytes() - before)
        self._note(capture, captured, size)
        return replace(captured, bytes=size)

    def _load(self, entry: Entry) -> _Loaded | None:
        network = self._gpu.load(entry)
        if network is None:
            return None
        before = self._gpu.held_bytes()
        try:
            self._gpu.move(network)
        except Exception as error:
            if not self._gpu.is_out_of_memory(error):
                raise DeviceError(
                    f"model {entry.name!r} cannot be put on {self._gpu.says}: {first_line(error)}"
                ) from error
            weights_mb = network.weights_bytes / MB
            del network
            self._gpu.give_back()
            raise DeviceError(
                f"{self._gpu.says} is out of memory: model {entry.name!r} needs {weights_mb:.0f} "
                f"MB for its weights, {self._gpu.free_bytes() / MB:.0f} MB are free"
            ) from error
        taken = max(network.weights_bytes, self._gpu.held_bytes() - before)
        return _Loaded(network=network, bytes=taken)

    def _capture(self, capture: "Capture", batch: int, stream: int) -> Captured:
        gpu, network = self._gpu, capture.network
        with gpu.on_stream(stream):
            inputs = gpu.inputs(network.signature, batch)
            with gpu.tuning():
                for _ in range(WARM_UPS):
                    gpu.run(network, inputs)
            gpu.wait(stream)
            try:
                graph, outputs = gpu.record(
                    self._pools[capture.gpulet], stream, lambda: gpu.run(network, inputs)
                )
                handle = gpu.graph_exec(graph)
            except Exception as error:
                if gpu.is_out_of_memory(error) or isinstance(error, GletError):
                    raise
                # What was taken for a capture that failed is not to be used again.
                self._pools[capture.gpulet] = gpu.new_pool()
                return self._eagerly(capture, inputs, stream, first_line(error))
        owner = Owner(gpu, (inputs, outputs), graph)
        return Captured(
            inputs=inputs.pointers,
            outputs=outputs.pointers,
            bytes=0,
            owner=owner,
            graph=handle,
            # Inputs always are; outputs lie where the network put them.
            one_block=len(outputs.pointers) == 1,
        )

    def _eagerly(self, capture: "Capture", inputs: Tensors, stream: int, reason: str) -> Captured:
        gpu, network = self._gpu, capture.network
        # The core reads the outputs after the call: those of the last one live until the next.
        kept: list[Tensors] = []

        def call(count: int) -> tuple[int, ...]:
            with gpu.on_stream(stream):
                try:
                    outputs = gpu.run(network, gpu.first(inputs, count))
                except GletError:
                    raise
                except Exception as error:
                    raise self._error(capture, count, error) from error
            kept[:] = [outputs]
            return outputs.pointers

        logger.warning("model %s runs without a CUDA graph: %s", network.name, reason)
        return Captured(
            inputs=inputs.pointers,
            outputs=(),
            bytes=0,
            owner=Owner(gpu, (inputs, kept)),
            call=call,
            # The core asks it of the inputs alone: outputs of a call are elsewhere every time.
            one_block=True,
            reason=reason,
        )

    def _error(self, capture: "Capture", batch: int, error: Exception) -> GletError:
        name = capture.network.name
        if self._gpu.is_out_of_memory(error):
            self._gpu.give_back()
            free_mb = self._gpu.free_bytes() / MB
            return DeviceError(
                f"{self._gpu.says} is out of memory: a batch of {batch} of model {name!r} does not "
                f"fit beside what is loaded, {free_mb:.0f} MB are free; make max_batch smaller"
            )
        return ModelError(f"model {name!r} at batch {batch}: {first_line(error)}")

    def _note(self, capture: "Capture", captured: Captured, size: int) -> None:
        key = id(captured.owner)
        cost = self._costs.setdefault((capture.gpulet, capture.model), Cost())

        def gone() -> None:
            with self._lock:
                cost.graphs.pop(key, None)

        with self._lock:
            cost.graphs[key] = size
            cost.eager = captured.reason
        captured.owner.on_close(gone)

    def _users(self) -> list[tuple[int, int]]:
        return [user for loaded in self._loaded.values() for user in loaded.users]


class Capture:
    """Captures a model for one gpulet: `capture(batch, stream, context)`.

    `stream` is a CUstream of the gpulet's green context, whose kernels a graph keeps on the
    context's SMs wherever it is replayed (CUDA programming guide, "Green contexts"); `context` is
    the core's number of that context, which tells graphs of several places apart.
    """

    def __init__(self, networks: Networks, network: Network, gpulet: int, model: int) -> None:
        self.network = network
        self.gpulet = gpulet
        self.model = model
        self._networks = networks

    def __call__(self, batch: int, stream: int, context: int = 0) -> Captured:
        """A graph, or how to run without one. On the gpulet's thread.

        Raises ModelError when the model fails, DeviceError when the device's memory does not do.
        """
        logger.debug("capture model=%s batch=%d context=%d", self.network.name, batch, context)
        return self._networks.capture(self, batch, stream)
