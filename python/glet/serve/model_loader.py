"""Puts models on the gpulets of an engine: whoever serves or measures loads them the same way."""

from pathlib import Path
from typing import Any

from glet.native import core
from glet.serve.callables import BatchCallable, load_callable
from glet.serve.repository import Repository
from glet.serve.torch_path import find_torch
from glet.types.model import Signature, TensorSpec
from glet.wire.messages import LatencyPoints, Limits, ModelSource

NS_PER_MS = 1e6


class ModelLoader:
    """The models that one engine has.

    What a model weighs is there once: compiled ones share their weights, Python ones the callable,
    which has to stand being called from several gpulets at once.
    """

    def __init__(self, engine: Any, runners: int) -> None:
        """`runners`: how many gpulets may run one compiled model at once."""
        self._engine = engine
        self._runners = runners
        self._compiled: dict[str, Any] = {}
        self._functions: dict[str, BatchCallable] = {}
        self._users: dict[tuple[int, int], str] = {}
        self._emulations: dict[tuple[int, int], Any] = {}

    def load(self, gpulet: int, model: int, source: ModelSource, plan: Any) -> None:
        """Raises what the core and the model raise; then nothing of it remains."""
        signature = native_signature(source.signature)
        if source.runner == "profiled":
            emulation = core.Emulation()
            self._engine.load_profiled(gpulet, model, signature, source.max_batch, plan, emulation)
            self._emulations[(gpulet, model)] = emulation
        elif source.runner == "python":
            function = self._function(source)
            self._engine.load_python(gpulet, model, function, signature, source.max_batch, plan)
            self._functions[source.path] = function
            self._users[(gpulet, model)] = source.path
        else:
            weights = self._weights(source, signature)
            self._engine.load_aoti(gpulet, model, weights, source.max_batch, plan)
            self._compiled[source.path] = weights
            self._users[(gpulet, model)] = source.path

    def slow(self, gpulet: int, model: int, factor: float) -> None:
        """From the next batch on an emulated model takes so many times as long; others do not."""
        if (gpulet, model) in self._emulations:
            self._emulations[(gpulet, model)].factor = factor

    def emulate(self, gpulet: int, model: int, latency_ms: LatencyPoints) -> None:
        """From the next batch on an emulated model takes this long; others do not."""
        if (gpulet, model) in self._emulations:
            self._emulations[(gpulet, model)].set_latency(latency_table(latency_ms))

    def unload(self, gpulet: int, model: int, until_ns: int) -> None:
        """Lets what waits finish until then."""
        self._engine.unload(gpulet, model, until_ns)
        self._release({(gpulet, model)})

    def forget(self, gpulet: int) -> None:
        """For a gpulet that was removed, and its models with it."""
        known = {*self._users, *self._emulations}
        self._release({user for user in known if user[0] == gpulet})

    def weights_bytes(self, source: ModelSource) -> int:
        """Memory of the weights of a loaded model; 0 where that is not known."""
        weights = self._compiled.get(source.path)
        return int(weights.constants_bytes) if weights is not None else 0

    def _function(self, source: ModelSource) -> BatchCallable:
        if source.path in self._functions:
            return self._functions[source.path]
        folder = Path(source.path)
        return load_callable(Repository(folder.parent).entry(folder.name))

    def _weights(self, source: ModelSource, signature: Any) -> Any:
        if source.path in self._compiled:
            return self._compiled[source.path]
        open_torch()
        return core.AotiModel(source.path, signature, self._runners)

    def _release(self, users: set[tuple[int, int]]) -> None:
        for user in users & self._emulations.keys():
            del self._emulations[user]
        for user in users & self._users.keys():
            del self._users[user]
        for path in self._compiled.keys() - self._users.values():
            del self._compiled[path]
        for path in self._functions.keys() - self._users.values():
            del self._functions[path]


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
    return core.TensorSpec(spec.name, spec.dtype, list(spec.shape))
