"""Puts models on the gpulets of an engine: whoever serves or measures loads them the same way.

Torch is imported where a model needs it: for a network on a GPU, or one that runs in Python.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from glet.errors import DeviceError, GletError, ModelError
from glet.native import core
from glet.serve.callables import BatchCallable, load_callable
from glet.serve.capture import Capture, Gpu, Networks
from glet.serve.repository import Entry, Repository
from glet.serve.torch_path import find_torch
from glet.types.model import ModelMemory, Signature, TensorSpec
from glet.wire.messages import LatencyPoints, Limits, ModelSource

logger = logging.getLogger(__name__)

FIRST_GPU = 0
NS_PER_MS = 1e6
MB = 1e6


class ModelLoader:
    """The models that one engine has.

    What a model weighs is there once: compiled ones share their weights, Python ones the callable,
    which has to stand being called from several gpulets at once.
    """

    def __init__(
        self, engine: Any, runners: int, open_gpu: Callable[[], Gpu] | None = None
    ) -> None:
        """`runners`: how many gpulets may run one compiled model at once.

        `open_gpu` is called for the first network that runs on a GPU: by default the first GPU that
        this process sees, by torch.
        """
        self._engine = engine
        self._runners = runners
        self._open_gpu = open_gpu or _first_gpu
        self._networks: Networks | None = None
        self._compiled: dict[str, Any] = {}
        self._functions: dict[str, BatchCallable] = {}
        self._users: dict[tuple[int, int], str] = {}
        self._emulations: dict[tuple[int, int], Any] = {}
        self._in_python: set[tuple[int, int]] = set()
        # Why a network is not compiled although it was to be.
        self._notes: dict[tuple[int, int], str] = {}

    def load(self, gpulet: int, model: int, source: ModelSource, plan: Any) -> None:
        """Raises what the core and the model raise; then nothing of it remains."""
        signature = native_signature(source.signature)
        if source.runner == "profiled":
            emulation = core.Emulation()
            self._engine.load_profiled(gpulet, model, signature, source.max_batch, plan, emulation)
            self._emulations[(gpulet, model)] = emulation
        elif source.runner == "python":
            self._load_python(gpulet, model, source, plan)
        elif source.runner == "graph":
            self._load_network(gpulet, model, source, plan)
        else:
            self._load_compiled(gpulet, model, source.path, source, plan)

    def has(self, source: ModelSource) -> bool:
        """Whether its weights, or its callable, are there for another gpulet."""
        return source.path in self._compiled or source.path in self._functions

    def slow(self, gpulet: int, model: int, factor: float) -> None:
        """From the next batch on an emulated model takes so many times as long; others do not."""
        if (gpulet, model) in self._emulations:
            self._emulations[(gpulet, model)].factor = factor

    def emulate(self, gpulet: int, model: int, latency_ms: LatencyPoints) -> None:
        """From the next batch on an emulated model takes this long; others do not."""
        if (gpulet, model) in self._emulations:
            self._emulations[(gpulet, model)].set_latency(latency_table(latency_ms))

    def unload(self, gpulet: int, model: int, until_ns: int) -> None:
        """Lets what waits finish until then. The last gpulet of a model gives its memory back."""
        self._engine.unload(gpulet, model, until_ns)
        self._release({(gpulet, model)})
        if self._networks is not None:
            self._networks.unload(gpulet, model)

    def forget(self, gpulet: int) -> None:
        """For a gpulet that was removed, and its models with it."""
        known = {*self._users, *self._emulations, *self._in_python, *self._notes}
        self._release({user for user in known if user[0] == gpulet})
        if self._networks is not None:
            self._networks.forget(gpulet)

    def weights_bytes(self, source: ModelSource) -> int:
        """Memory of the weights of a loaded model; 0 where that is not known."""
        weights = self._compiled.get(source.library or source.path)
        if weights is not None:
            return int(weights.constants_bytes)
        networks = self._networks
        return networks.weights_bytes(source.path) if networks is not None else 0

    def runner(self, gpulet: int, model: int, source: ModelSource) -> tuple[str, str]:
        """What computes a loaded model, for reports, and why it is not what was meant to, or ''."""
        if source.runner != "graph":
            return source.runner, ""
        if (gpulet, model) in self._in_python:
            return "python", "model.py gives no module of torch: it runs on the CPU"
        if source.library and self._users.get((gpulet, model)) == source.library:
            return "compiled", ""
        note = self._notes.get((gpulet, model), "")
        eager = self._networks.cost(gpulet, model).eager if self._networks is not None else ""
        if eager:
            return "eager", f"{eager}; {note}" if note else eager
        return "graph", note

    def memory(self, gpulet: int, model: int, source: ModelSource) -> ModelMemory:
        """Known parts of what a loaded model needs. Staging is where the core collects a batch."""
        if source.runner == "profiled":
            return ModelMemory()
        graphs = self._networks.cost(gpulet, model).graph_bytes if self._networks is not None else 0
        staging = source.max_batch * sum(spec.nbytes for spec in source.signature.inputs)
        return ModelMemory(
            weights_mb=self.weights_bytes(source) / MB,
            graphs_mb=graphs / MB,
            staging_mb=staging / MB,
        )

    def _load_python(self, gpulet: int, model: int, source: ModelSource, plan: Any) -> None:
        function = self._function(source)
        signature = native_signature(source.signature)
        self._engine.load_python(gpulet, model, function, signature, source.max_batch, plan)
        self._functions[source.path] = function
        self._users[(gpulet, model)] = source.path
        self._in_python.add((gpulet, model))

    def _function(self, source: ModelSource) -> BatchCallable:
        if source.path in self._functions:
            return self._functions[source.path]
        folder = Path(source.path)
        return load_callable(Repository(folder.parent).entry(folder.name))

    def _load_compiled(
        self, gpulet: int, model: int, library: str, source: ModelSource, plan: Any
    ) -> None:
        weights = self._compiled.get(library)
        if weights is None:
            open_torch()
            signature = native_signature(source.signature)
            # The executor sees its GPU alone.
            gpu = FIRST_GPU if source.runner == "graph" else None
            weights = core.AotiModel(library, signature, self._runners, gpu)
        self._engine.load_aoti(gpulet, model, weights, source.max_batch, plan)
        self._compiled[library] = weights
        self._users[(gpulet, model)] = library

    def _load_network(self, gpulet: int, model: int, source: ModelSource, plan: Any) -> None:
        """Compiled where it is, else captured; a library that does not run is no reason to serve
        nothing, unless model.toml says so.
        """
        # Also what is compiled needs torch for this GPU, set up as it is for graphs.
        networks = self._networks = self._networks or Networks(self._open_gpu())
        folder = Path(source.path)
        entry = Repository(folder.parent).entry(folder.name)
        why = source.note
        if source.library:
            try:
                self._try_compiled(gpulet, model, source, plan)
                return
            except (ModelError, DeviceError) as error:
                if entry.config.runner == "compiled":
                    raise
                why = f"compiled, but does not run: {untagged(str(error)).splitlines()[0]}"
                logger.warning("model %s is captured: %s", entry.name, why)
        self._load_graph(gpulet, model, (source, entry), (networks, plan))
        if why and (gpulet, model) not in self._in_python:
            self._notes[(gpulet, model)] = why

    def _try_compiled(self, gpulet: int, model: int, source: ModelSource, plan: Any) -> None:
        """Has it run once: kernels are loaded at the first run."""
        self._load_compiled(gpulet, model, source.library, source, plan)
        try:
            self._engine.measure(gpulet, model, 1, 1)
        except GletError:
            self._engine.unload(gpulet, model, 0)
            self._release({(gpulet, model)})
            raise

    def _load_graph(
        self,
        gpulet: int,
        model: int,
        what: tuple[ModelSource, Entry],
        how: tuple[Networks, Any],
    ) -> None:
        source, entry = what
        networks, plan = how
        capture = networks.load(gpulet, model, entry)
        if capture is None:
            self._load_python(gpulet, model, source, plan)
            return
        signature = native_signature(source.signature)
        try:
            self._engine.load_graph(
                gpulet, model, _for_core(capture), signature, source.max_batch, plan
            )
        except BaseException:
            networks.unload(gpulet, model)
            raise

    def _release(self, users: set[tuple[int, int]]) -> None:
        self._in_python -= users
        for user in users & self._notes.keys():
            del self._notes[user]
        for user in users & self._emulations.keys():
            del self._emulations[user]
        for user in users & self._users.keys():
            del self._users[user]
        for path in self._compiled.keys() - self._users.values():
            del self._compiled[path]
        for path in self._functions.keys() - self._users.values():
            del self._functions[path]


def _for_core(capture: Capture) -> Callable[[int, int, int], Any]:
    def in_core(batch: int, stream: int, context: int) -> Any:
        got = capture(batch, stream, context)
        return core.Captured(
            inputs=got.inputs,
            outputs=got.outputs,
            graph=got.graph,
            call=got.call,
            one_block=got.one_block,
            bytes=got.bytes,
            owner=got.owner,
            reason=got.reason,
        )

    return in_core


def _first_gpu() -> Gpu:
    # The module imports torch when it is used, the package when it is loaded: not for a CPU.
    from glet.serve.capture_torch import TorchGpu

    return TorchGpu()


def untagged(line: str) -> str:
    """What a model's runner says, without where in the core it was said."""
    for tag in ("[PythonRunner] ", "[GraphRunner] ", "[AotiModel] ", "[AotiCudaRunner] "):
        line = line.removeprefix(tag)
    return line


def open_torch() -> None:
    """Opens the library that compiled models need; again does nothing. Raises DeviceError."""
    core.load_torch(str(find_torch().libtorch_cpu))


def latency_table(latency_ms: LatencyPoints) -> Any:
    """The core's LatencyTable."""
    return core.LatencyTable([(batch, max(1, round(ms * NS_PER_MS))) for batch, ms in latency_ms])


def model_plan(latency_ms: LatencyPoints, limits: Limits) -> Any:
    """The core's ModelPlan."""
    return core.ModelPlan(
        latency_table(latency_ms),
        core.QueueLimits(
            capacity=limits.capacity,
            max_batch=limits.batch,
            margin_ns=round(limits.margin_ms * NS_PER_MS),
            linger_ns=round(limits.linger_ms * NS_PER_MS),
            slo_ns=round(limits.slo_ms * NS_PER_MS) or core.NEVER_NS,
        ),
        limits.time_share,
    )


def native_signature(signature: Signature) -> Any:
    """The core's Signature."""
    return core.Signature(
        [native_tensor(spec) for spec in signature.inputs],
        [native_tensor(spec) for spec in signature.outputs],
    )


def native_tensor(spec: TensorSpec) -> Any:
    """The core's TensorSpec."""
    return core.TensorSpec(spec.name, spec.dtype, list(spec.shape), spec.max_bytes)
