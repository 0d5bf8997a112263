"""The compiled core. Times are integer nanoseconds of the machine's monotonic clock."""

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from typing_extensions import Buffer

class Answer:
    """How one request ended. `code` is empty when it succeeded."""

    id: int
    @property
    def code(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def body(self) -> bytes: ...
    @property
    def batch(self) -> int: ...
    @property
    def queue_ns(self) -> int: ...
    @property
    def batch_ns(self) -> int: ...
    @property
    def execute_ns(self) -> int: ...
    def take_outputs(self) -> list[tuple[str, NDArray[Any]]]: ...

class ClientLoop:
    """A thread that owns a connection to a frontend; see csrc/glet/net/client_loop.h."""

    def __init__(
        self,
        libzmq: str,
        address: str,
        *,
        timeout_s: float = 60.0,
        grace_s: float = 5.0,
        hold_s: float = 5.0,
        announce: bool = False,
        keys: tuple[str, str, str] = ...,
    ) -> None:
        """`keys`: its own CURVE pair (public, secret), and the frontend's public key, in Z85."""

    def submit(
        self,
        model: str,
        inputs: Sequence[
            tuple[str, NDArray[Any]] | tuple[str, NDArray[Any] | DeviceArray, str | None]
        ],
        deadline_ms: float | None = None,
        traceparent: str = "",
    ) -> int:
        """An input is (name, array) or (name, array, dtype).

        "bfloat16" as dtype says that an array of uint16 is that.
        """

    def submit_op(self, op: str, fields: Sequence[bytes] = ()) -> int:
        """`fields`: each one more key of the header and its value, in msgpack."""

    def wait(self, request: int) -> Answer: ...
    def cancel(self, request: int) -> None:
        """Ends it as `cancelled` if it still waits; harmless when it has ended."""

    def forget(self, request: int) -> None: ...
    def drain(self) -> list[Answer]: ...
    @property
    def completion_fd(self) -> int: ...
    def counts(self) -> dict[str, int]: ...
    def close(self) -> None: ...

class LoadLoop:
    """A thread that generates load; see csrc/glet/net/load_loop.h."""

    def __init__(
        self,
        libzmq: str,
        address: str,
        *,
        connections: int = 1,
        http_connections: int = 8192,
        connect_s: float = 10.0,
        drain_s: float = 10.0,
        give_up_s: float | None = None,
        keys: tuple[str, str, str] = ...,
    ) -> None:
        """`address` is a frontend's, or http://HOST:PORT; then models come by add_http_model().

        There are at most `http_connections` at a time, each with one request. In the open loop a
        request without an answer `give_up_s` after its intended time is unavailable. `keys` as of
        ClientLoop.
        """

    def add_model(
        self,
        name: str,
        samples: Sequence[
            Sequence[tuple[str, NDArray[Any]] | tuple[str, NDArray[Any], str | None]]
        ],
        *,
        arrivals_ns: NDArray[np.int64] | None = None,
        sample_order: NDArray[np.int32] | None = None,
        deadline_ms: float | None = None,
        slo_ms: float | None = None,
        read_answer: bool = False,
    ) -> int: ...
    def add_http_model(
        self,
        name: str,
        requests: Sequence[bytes],
        *,
        arrivals_ns: NDArray[np.int64] | None = None,
        sample_order: NDArray[np.int32] | None = None,
        slo_ms: float | None = None,
        answer_bytes: int = 0,
    ) -> int:
        """Requests are sent as they are, head and body.

        `answer_bytes` above 0: the first output, float32 in binary, has as many and is read.
        """

    def start_open(self) -> None: ...
    def start_closed(
        self, in_flight: int, *, duration_s: float | None = None, requests: int | None = None
    ) -> None: ...
    def wait(self, timeout_s: float) -> bool: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...
    def progress(self) -> list[dict[str, Any]]: ...
    def records(self) -> NDArray[np.void]: ...

class EngineLoad:
    """Open-loop load straight into engines of this process; see csrc/glet/net/engine_load.h.

    A route is (engine, gpulet, number of the model there, weight > 0). Nobody else may drain the
    engines meanwhile; close() lets go of them.
    """

    def __init__(self, *, drain_s: float = 10.0) -> None: ...
    def add_model(
        self,
        samples: Sequence[Sequence[NDArray[Any]]],
        arrivals_ns: NDArray[np.int64],
        routes: Sequence[tuple[Engine, int, int, float]],
        *,
        sample_order: NDArray[np.int32] | None = None,
        deadline_ms: float | None = None,
        slo_ms: float | None = None,
    ) -> int:
        """Samples list a request's inputs in the signature's order; returns the model's number.

        `arrivals_ns` is sorted and counts from the start; `deadline_ms` counts from an arrival.
        Raises ArgumentError for anything else, and after the start.
        """

    def set_routes(self, model: int, routes: Sequence[tuple[Engine, int, int, float]]) -> None:
        """At any time. When it returns nothing more goes to a route that was left out."""

    def start(self) -> None: ...
    def wait(self, timeout_s: float) -> bool: ...
    def stop(self) -> None:
        """Sends no more; what is in flight is still waited for."""

    def close(self) -> None: ...
    def progress(self) -> list[dict[str, Any]]: ...
    def records(self) -> NDArray[np.void]:
        """A structured array like LoadLoop's; raises ArgumentError before the run is over."""

    def first_batch_ns(self, model: int, engine: Engine, gpulet: int) -> int | None:
        """When this gpulet began the first batch of the model that is answered; by now_ns()."""

def parse_client_header(frame: bytes) -> dict[str, Any]: ...
def parse_server_header(frame: bytes) -> dict[str, Any]: ...
def parse_specs(encoded: bytes) -> list[tuple[str, str, list[int]]]: ...

__version__: str

NEVER_NS: int
"""A time that never comes: no deadline, nothing to wake up for."""

class Admit(enum.Enum):
    ACCEPTED = 0
    FULL = 1
    LATE = 2

class LatencyTable:
    def __init__(self, points: Sequence[tuple[int, int]]) -> None:
        """Takes (batch, latency_ns) pairs, batches strictly increasing.

        Raises ArgumentError for anything else.
        """

    @property
    def max_batch(self) -> int: ...
    def at(self, batch: int) -> int:
        """Nanoseconds; raises ProfileError outside 1..max_batch."""

class QueueLimits:
    def __init__(
        self,
        *,
        capacity: int = 1024,
        max_batch: int = 1,
        drop_late: bool = True,
        margin_ns: int = 0,
        linger_ns: int = 0,
        slo_ns: int = ...,
    ) -> None:
        """`slo_ns`: what requests have from arrival to deadline; NEVER_NS where it is not known.

        Raises ArgumentError when it is put to use with a limit out of range.
        """

    @property
    def capacity(self) -> int: ...
    @property
    def max_batch(self) -> int: ...
    @property
    def drop_late(self) -> bool: ...
    @property
    def margin_ns(self) -> int: ...
    @property
    def linger_ns(self) -> int: ...
    @property
    def slo_ns(self) -> int: ...

class Decision:
    @property
    def batch_size(self) -> int: ...
    @property
    def wake_at_ns(self) -> int: ...
    @property
    def slack_ns(self) -> int: ...

class DeadlineQueue:
    """The requests of one model that wait for one gpulet (csrc/glet/batch/deadline_queue.h)."""

    def __init__(self, latency: LatencyTable, limits: QueueLimits) -> None: ...
    def push(
        self,
        request_id: int,
        *,
        arrival_ns: int,
        deadline_ns: int,
        now_ns: int,
        busy_until_ns: int = 0,
    ) -> Admit: ...
    def decide(self, now_ns: int) -> Decision: ...
    def take_late(self, now_ns: int) -> list[int]:
        """The ids that were given up, earliest deadline first."""

    def take_batch(self, count: int) -> list[int]: ...
    def cancel(self, request_id: int, deadline_ns: int) -> bool:
        """Removes a request that waits; False when it does not."""

    def take_all(self) -> list[int]: ...
    def observe(self, batch: int, took_ns: int) -> None: ...
    def latency_ns(self, batch: int) -> int: ...
    def update(self, latency: LatencyTable, limits: QueueLimits) -> None: ...
    @property
    def correction(self) -> float: ...
    @property
    def limits(self) -> QueueLimits: ...
    @property
    def earliest_deadline_ns(self) -> int: ...
    def __len__(self) -> int: ...

class ModelPlan:
    def __init__(
        self, latency: LatencyTable, limits: QueueLimits, time_share: float = 1.0
    ) -> None: ...
    @property
    def latency(self) -> LatencyTable: ...
    @property
    def limits(self) -> QueueLimits: ...
    @property
    def time_share(self) -> float: ...

class GpuletDecision:
    @property
    def model(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def wake_at_ns(self) -> int: ...

class GpuletQueue:
    """All queues of one gpulet (csrc/glet/batch/gpulet_queue.h)."""

    def __init__(self) -> None: ...
    def add(self, model: int, plan: ModelPlan) -> None: ...
    def update(self, model: int, plan: ModelPlan) -> None: ...
    def remove(self, model: int) -> list[int]: ...
    def has(self, model: int) -> bool: ...
    def push(
        self,
        model: int,
        request_id: int,
        *,
        arrival_ns: int,
        deadline_ns: int,
        now_ns: int,
        busy_until_ns: int = 0,
    ) -> Admit: ...
    def take_late(self, now_ns: int) -> list[tuple[int, int]]:
        """(model, request_id) of those given up."""

    def decide(self, now_ns: int) -> GpuletDecision: ...
    def take_batch(self, decision: GpuletDecision) -> list[int]: ...
    def observe(self, model: int, batch: int, took_ns: int) -> None: ...
    def count(self, model: int, took_ns: int) -> None:
        """A batch that ran on more than this gpulet: its time counts, its latency does not."""

    def lends_until(self, now_ns: int) -> int:
        """Until when it may stand still: a whole batch of each model, come now, still ends in time.

        Long ago when something waits, or when it is not known how much time requests have.
        """

    def latency_ns(self, model: int, batch: int) -> int: ...
    def correction(self, model: int) -> float: ...
    def size(self, model: int) -> int: ...
    def __len__(self) -> int: ...

class WideLatency:
    """Latency of batches on a gpulet's share and a neighbour's (csrc/glet/batch/loan.h)."""

    def __init__(self, latency: LatencyTable, max_batch: int, known: bool) -> None:
        """`known`: the table is of both shares. Else of the own one, and the rest is learned."""

    def at_ns(self, batch: int) -> int:
        """NEVER_NS for a batch that the table does not have."""

    def pays(self, batch: int, own_ns: int) -> bool: ...
    def observe(self, batch: int, took_ns: int) -> None: ...

def loan_until(now_ns: int, own_ns: int, wide_ns: int, lender: GpuletQueue) -> int | None:
    """Until when a batch that begins now holds the share of an idle lender; None: it may not.

    `own_ns` and `wide_ns` are predictions of the batch on one share and on both.
    """

class Router:
    """Chooses a gpulet for each request of a model (csrc/glet/route/router.h)."""

    def __init__(self) -> None: ...
    def set_routes(self, model: int, routes: Sequence[tuple[int, float]]) -> None:
        """Takes (gpulet, weight) pairs."""

    def remove_model(self, model: int) -> None: ...
    def set_up(self, gpulet: int, up: bool) -> None: ...
    def pick(self, model: int, exclude: int | None = None) -> int | None: ...
    def done(self, model: int, gpulet: int) -> None: ...
    def outstanding(self, model: int, gpulet: int) -> int: ...

# Execution.

def now_ns() -> int:
    """The core's clock: the machine's monotonic nanoseconds."""

def usable_cores() -> list[int]:
    """Cores this process may use."""

def assign_cores(cores: Sequence[int], shares_pct: Sequence[int]) -> list[list[int]]:
    """Disjoint cores for gpulets of these shares, in order, rounded down to whole cores.

    Raises ConfigError when a share is less than one core.
    """

class DeviceArray:
    """A tensor in device memory, in place of an array of ClientLoop.submit().

    `dtype` is a wire name, `frame` what export_device_memory() gave. Raises ArgumentError.
    """

    def __init__(self, dtype: str, shape: Sequence[int], frame: bytes) -> None: ...

def export_device_memory(address: int, size: int, stream: int | None = None) -> bytes:
    """A frame that names device memory of this process for another on this host.

    Waits for what `stream`, or without one the whole device, has to do. Raises ArgumentError for
    memory that is not of a device or that cannot be opened by others, DeviceError without a driver.
    """

def cuda_probe() -> dict[str, Any]:
    """What the CUDA driver of this machine and its devices can do. Makes no context; never raises.

    {"available": bool, "why": str, "driver": "13.0", "devices": [{"name", "sms", "memory_mb",
    "compute_capability", "units", "unit_sms", "remainder_sms"}]}. available: green contexts can be
    made on every device. why: why not, one line; empty when they can. driver: the newest CUDA that
    it speaks; empty without one. units, of unit_sms SMs each, are what gpulets are made of; zeros
    where green contexts cannot be made. memory_mb: MiB.
    """

def load_torch(path: str) -> str:
    """Opens libtorch_cpu.so for this process; returns its version, such as "2.13".

    Raises DeviceError when it is missing, older than 2.11, or another one was opened before.
    """

class TensorSpec:
    """One input or output of one request: the batch dimension is not part of the shape."""

    def __init__(self, name: str, dtype: str, shape: Sequence[int], max_bytes: int = 1024) -> None:
        """`max_bytes` of an element counts for dtype "bytes" only.

        Raises ArgumentError for an unknown dtype or a negative dimension.
        """

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def max_bytes(self) -> int: ...
    @property
    def bytes(self) -> int:
        """Of one request; of dtype "bytes" the most that it can have."""

def encode_bytes(array: Any) -> bytes:
    """The frame of a tensor of bytes: the length (u32) and the bytes of each element, in C order.

    Takes what numpy.asarray takes, of bytes and str. Raises ArgumentError for other elements.
    """

class Signature:
    def __init__(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None: ...
    @property
    def inputs(self) -> list[TensorSpec]: ...
    @property
    def outputs(self) -> list[TensorSpec]: ...

class Placement:
    """Neighbouring units first .. first + count - 1 of a device's grid, see cuda_probe().

    remainder: the SMs outside of all units, too; only with all units.
    """

    def __init__(self, first: int, count: int, remainder: bool = False) -> None: ...
    @property
    def first(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def remainder(self) -> bool: ...
    def __eq__(self, other: object) -> bool: ...
    def __hash__(self) -> int: ...

class PartitionReport:
    """What a gpulet's thread really got. Below intra_op_threads: of "green" only, else zeros."""

    @property
    def cores(self) -> list[int]: ...
    @property
    def intra_op_threads(self) -> int: ...
    @property
    def placement(self) -> Placement: ...
    @property
    def units(self) -> int: ...
    @property
    def sms(self) -> int:
        """As the driver counts them; may be more than those of the units."""

    @property
    def given_pct(self) -> float:
        """Of the SMs of the device."""

    @property
    def context_id(self) -> int:
        """Of the green context; no other context of this process ever has it again."""

    @property
    def stream(self) -> int:
        """CUstream of the gpulet, as an integer: all its work goes there. Changes with a resize."""

class AotiModel:
    """A model compiled by AOTInductor; its weights are shared by all gpulets."""

    def __init__(
        self, path: str, signature: Signature, runners: int = 1, cuda_device: int | None = None
    ) -> None:
        """Loads the shared object of a .pt2 package, for `runners` threads at once.

        cuda_device: the GPU that it was compiled for and that its green gpulets are on; the
        libraries of torch's CUDA side have to be loaded (import torch). None: the CPU.

        Raises DeviceError before load_torch(), ModelError when the file is no such model, does not
        fit the signature, or needs operators beyond torch's C interface.
        """

    @property
    def path(self) -> str: ...
    @property
    def runners(self) -> int: ...
    @property
    def constants_bytes(self) -> int:
        """Memory of the weights; 0 where the model does not say."""

class Emulation:
    """How long a stand-in device takes for one model; may be set while it serves."""

    def __init__(self, factor: float = 1.0) -> None: ...
    @property
    def factor(self) -> float: ...
    @factor.setter
    def factor(self, factor: float) -> None: ...
    def set_latency(self, latency: LatencyTable) -> None:
        """From the next batch on: the gpulet has another share. Times the factor."""

class Completion:
    """The one answer to a submitted request."""

    @property
    def tag(self) -> int: ...
    @property
    def outcome(
        self,
    ) -> Literal["ok", "late", "full", "failed", "unavailable", "invalid", "cancelled"]: ...
    @property
    def gpulet(self) -> int: ...
    @property
    def model(self) -> int: ...
    @property
    def batch(self) -> int:
        """Size of the batch it ran in; 0 when it did not run."""

    @property
    def queue_ns(self) -> int: ...
    @property
    def batch_ns(self) -> int: ...
    @property
    def execute_ns(self) -> int: ...
    @property
    def error(self) -> str | None:
        """What went wrong, for failed and invalid."""

    @property
    def outputs(self) -> int:
        """How many outputs there are."""

    def output(self, index: int) -> npt.NDArray[Any]:
        """One output of this request: a read-only array over the batch's memory, no copy.

        bfloat16 is seen as uint16. Raises ArgumentError when there is no such output.
        """

class ModelStats:
    """Counters of one model on one gpulet since it was loaded."""

    @property
    def gpulet(self) -> int: ...
    @property
    def model(self) -> int: ...
    @property
    def ok(self) -> int: ...
    @property
    def late(self) -> int: ...
    @property
    def full(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def cancelled(self) -> int: ...
    @property
    def batches(self) -> int: ...
    @property
    def items(self) -> int: ...
    @property
    def borrowed(self) -> int:
        """Batches that ran on the share of an idle neighbour, too."""

    @property
    def waiting(self) -> int: ...
    @property
    def correction(self) -> float:
        """Measured over predicted latency of a batch, slow-moving."""

    @property
    def busy_ns(self) -> int: ...
    @property
    def running_ns(self) -> int:
        """How long its batch has been running by now; 0 when none does."""

    @property
    def kind(self) -> str:
        """What computes: "aoti", "graph", "eager", "python", "profiled", "null"."""

    @property
    def reason(self) -> str:
        """Why it is not of the faster kind that it could be; mostly empty."""

    @property
    def graphs(self) -> int:
        """Captures that it keeps."""

    @property
    def graph_bytes(self) -> int:
        """Device memory of those, as the captures told it."""

    @property
    def pinned_bytes(self) -> int:
        """Host memory that the device copies from and to."""

    @property
    def device_busy_ns(self) -> int:
        """Device time of all runs, copies included; 0 where no device is asked."""

class Captured:
    """What a capture made for one batch size on one stream: a CUDA graph, or a call in its place.

    inputs, outputs: device addresses, in the order of the signature, each with room for the whole
    batch, contiguous. They are read and written by every launch.
    one_block: all inputs lie in one allocation, each beginning at the next multiple of 256 bytes
    after the one before, and all outputs in one likewise: one copy serves all; else there is one
    per tensor.
    graph: a CUgraphExec as an integer (torch: CUDAGraph.raw_cuda_graph_exec()).
    call: instead of a graph, call(n) -> addresses of the outputs. It launches the work for the
    first n items of `inputs` on the stream of the capture, under the GIL, once per batch, and the
    outputs have to stay as they are until it is called again. reason: why there is no graph.
    bytes: device memory that goes with the capture. owner: kept alive as long as it is used, and
    dropped on any thread before the green context goes.
    """

    def __init__(
        self,
        *,
        inputs: Sequence[int],
        outputs: Sequence[int] = (),
        graph: int = 0,
        call: Callable[[int], Sequence[int]] | None = None,
        one_block: bool = False,
        bytes: int = 0,  # noqa: A002
        owner: object = None,
        reason: str = "",
    ) -> None: ...

class Engine:
    """The gpulets of this process. Every submission is answered exactly once.

    Methods that name a gpulet or model that is not there raise ArgumentError, as all do once the
    engine is closed. Times in `_until_ns` are on the clock of now_ns().
    """

    def __init__(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *args: object) -> None: ...
    def close(self) -> None:
        """Stops all gpulets and drops what was not drained. Calling it again does nothing."""

    def add_gpulet(
        self,
        gpulet: int,
        kind: Literal["cpu", "profiled", "green"] = "cpu",
        share_pct: int = 100,
        cores: Sequence[int] = (),
        device: int = 0,
        placement: Placement | None = None,
        priority: int = 0,
    ) -> PartitionReport:
        """Starts a gpulet's thread, for "cpu" on these cores with one intra-op thread each.

        "green": on these units of the GPU `device` (the driver's number), in a green context of
        their own; cores, where there are any, are those of its thread. All green gpulets of a
        device in this process share one split of it, whose grid cuda_probe() tells.
        `priority` is of its streams, lower runs first; it stays when the gpulet is resized.
        Raises ArgumentError when the id is taken or units are not on the grid, DeviceError when the
        cores or the context cannot be had.
        """

    def resize_gpulet(
        self,
        gpulet: int,
        kind: Literal["cpu", "profiled", "green"] = "cpu",
        share_pct: int = 100,
        cores: Sequence[int] = (),
        device: int = 0,
        placement: Placement | None = None,
    ) -> PartitionReport:
        """Moves a gpulet into another share between two batches; nothing that waits is lost.

        "green": the new context is made, or taken from the pool, before the gpulet stops for it;
        the old one goes back to the pool, and with it the graphs captured on it stay usable.
        Raises ArgumentError when kind or device are not those it was added with, DeviceError when
        the share cannot be had; it then is as before.
        """

    def set_loans(
        self, gpulet: int, loans: Sequence[tuple[int, Sequence[tuple[int, LatencyTable]]]]
    ) -> None:
        """Gpulets whose share this one may borrow for a batch, in place of those set before.

        A loan is (lender, [(model, latency on both shares), ...]); what is not known is learned. A
        batch runs on both shares when the lender idles and whatever may come to it meanwhile still
        ends in time; for that its models need `slo_ns`, or requests with deadlines. A context or a
        graph that is missing is made beside the gpulets' threads, for the next time. A resize of
        either ends the leave. Raises ArgumentError when a lender is not there, is the gpulet
        itself, is of another kind or device, or has units that do not touch.
        """

    def remove_gpulet(self, gpulet: int, drain_until_ns: int = 0) -> None:
        """Lets what is queued finish until then; the rest is answered unavailable."""

    def green_counts(self, device: int = 0) -> dict[str, int]:
        """Green contexts: created, reused, destroyed (so far), in_use, idle.

        Raises ArgumentError for a device that has had no green gpulet in this engine.
        """

    def partition(self, gpulet: int) -> PartitionReport:
        """Asks the gpulet's thread, between batches."""

    def load_aoti(
        self, gpulet: int, model: int, aoti: AotiModel, max_batch: int, plan: ModelPlan
    ) -> None: ...
    def load_python(
        self,
        gpulet: int,
        model: int,
        function: Callable[..., Any],
        signature: Signature,
        max_batch: int,
        plan: ModelPlan,
    ) -> None:
        """Serves function(*inputs) -> output or sequence of outputs, once per batch.

        It runs on the gpulet's thread under the GIL. Inputs are arrays (n, *shape) that are valid
        during the call only; outputs are converted to the signature's dtype, have to have shape
        (n, *shape), and must not be changed by the function later. bfloat16 is uint16 both ways;
        tensors of bytes come as arrays of objects, each a `bytes`, and go as bytes or str.
        """

    def load_profiled(
        self,
        gpulet: int,
        model: int,
        signature: Signature,
        max_batch: int,
        plan: ModelPlan,
        emulation: Emulation | None = None,
    ) -> None:
        """A stand-in that takes as long as `plan.latency` says, times the emulation's factor."""

    def load_graph(
        self,
        gpulet: int,
        model: int,
        capture: Callable[[int, int, int], Captured],
        signature: Signature,
        max_batch: int,
        plan: ModelPlan,
        *,
        batches: Sequence[int] = (),
        max_graphs: int = 64,
        max_bytes: int = ...,
    ) -> None:
        """Replays CUDA graphs on a green gpulet, a batch in the smallest captured size above it.

        capture(batch, stream, context_id) is called on the gpulet's thread under the GIL, with the
        device's primary context current, when a size is first needed on a green context: after the
        load (measure() makes it happen at once), after a resize to units where it was not yet,
        and after the graph was dropped. All its work has to go to the CUstream `stream`. What it
        raises fails that batch only: out of memory (MemoryError, torch's OutOfMemoryError) as a
        DeviceError, the rest as a ModelError; it is asked again with the next batch.
        batches: the sizes that are captured, increasing up to max_batch; empty for 1, 2, 4, ...
        max_graphs, max_bytes: beyond them the least recently used captures go.
        Raises ArgumentError when the gpulet is not green or batches do not fit.
        """

    def load_null(
        self, gpulet: int, model: int, signature: Signature, max_batch: int, plan: ModelPlan
    ) -> None:
        """Returns at once: output i repeats input i where their bytes agree, else zeros."""

    def update(self, gpulet: int, model: int, plan: ModelPlan) -> None:
        """A new plan for a loaded model; nothing that waits is lost."""

    def unload(self, gpulet: int, model: int, drain_until_ns: int = 0) -> None:
        """Lets what waits finish until then; the rest is answered unavailable."""

    def measure(self, gpulet: int, model: int, batch: int, repeats: int) -> list[int]:
        """Nanoseconds of each run at this batch, on the gpulet's thread between real batches.

        Raises what the model raises.
        """

    def submit(self, requests: Sequence[tuple[int, int, int, int, Sequence[Buffer]]]) -> None:
        """Takes a burst of (tag, gpulet, model, deadline_ns, buffers).

        Buffers are C-contiguous, one per input; they are held, not copied, until the completion is
        drained. Raises ArgumentError, with nothing sent, when one is no such buffer.
        """

    def cancel(self, tag: int, gpulet: int, model: int, deadline_ns: int) -> bool:
        """Takes back a request that waits, named by what it was submitted with.

        It completes as cancelled. False when it does not wait: it completes as without this.
        """

    def drain(self, max: int = ...) -> list[Completion]:  # noqa: A002
        """Completions that are ready, at most `max`."""

    def wait(self, timeout_ns: int) -> bool:
        """Waits until completions are ready; False when the time is over or a signal came."""

    def completion_fd(self) -> int:
        """Readable while completions are ready."""

    def drain_all(self, until_ns: int) -> bool:
        """Refuses further submissions; True when all before were answered by then."""

    def close_idle_imports(self) -> None:
        """Closes device memory of clients that no request has named for a while."""

    def stats(self) -> list[ModelStats]: ...

def set_door_limits(
    loop: FrontendLoop, *, idle_s: float = 75.0, stall_s: float = 30.0, max_held_mb: int = 1024
) -> None:
    """Of the doors that are added later.

    `idle_s`: an HTTP connection between requests. `stall_s`: bytes of a request or an answer that
    do not move. `max_held_mb`: bytes of requests and answers that a door holds.
    """

class Tokens:
    """Bearer tokens: `TOKEN`, `NAME: TOKEN` or `NAME admin: TOKEN` a line, # for comments.

    ConfigError names `where` and the line. `dashboard_token` opens the dashboard and metrics only.
    """

    def __init__(self, text: str, where: str, *, dashboard_token: str = "") -> None: ...
    def right(self, authorization: str) -> str:
        """Of an Authorization header: "use", "admin", "dashboard", or "" for none."""

    def __len__(self) -> int: ...

class WebGuard:
    """Who gets in at the doors that were given it. Safe from any thread, also while doors run."""

    def __init__(self) -> None: ...
    def set_tls(self, libssl: str, cert: str, key: str, client_ca: str = "") -> None:
        """For new connections. ConfigError, one line, and then all is as it was."""

    def set_tokens(self, tokens: Tokens) -> None:
        """For requests from now on."""

    def expires_in_s(self) -> int:
        """Of the certificate, counted from set_tls(); 0 without."""

def add_http_door(
    loop: FrontendLoop,
    address: str,
    max_body_mb: int,
    max_connections: int,
    *,
    guard: WebGuard | None = None,
) -> str:
    """HTTP/1.1 at HOST:PORT, before start(); the address with a free port resolved.

    `guard`: TLS and tokens, where it has them; set both before the loop starts.
    ConfigError when it is taken or malformed.
    """

def add_grpc_door(
    loop: FrontendLoop,
    address: str,
    libnghttp2: str,
    max_message_mb: int,
    max_connections: int,
    *,
    max_streams: int = 1024,
    idle_s: float = 600.0,
    keepalive_s: float = 30.0,
    guard: WebGuard | None = None,
) -> str:
    """gRPC at HOST:PORT, before start(); the address with a free port resolved.

    `max_streams` are calls at once on one connection. A connection without a call for `idle_s` is
    ended, one that is silent for `keepalive_s` is pinged. ConfigError when the address is taken or
    malformed, DeviceError when `libnghttp2` cannot be opened.
    """

def read_infer_request(message: bytes, longest: int = 67108864) -> dict[str, Any]:
    """A ModelInferRequest as the gRPC door reads it: model, version, id, timeout_us and tensors.

    `longest`: bytes that typed contents may take. WireError, one line, when it is none.
    """

def parse_http(
    pieces: Sequence[bytes], max_body_bytes: int
) -> list[tuple[bytes, bytes, int, list[tuple[bytes, bytes]], bytes, bool] | tuple[int, str]]:
    """The requests that come out of a connection's bytes, in pieces as a socket would give them.

    (method, target, minor version, headers, body, keep_alive); at last (status, message) when the
    bytes are no HTTP.
    """

class ZapGate:
    """Which CURVE keys may connect to the sockets of a context; see csrc/glet/net/zap_gate.h."""

    def __init__(self, libzmq: str, context: int) -> None:
        """`context` is the address of one of libzmq. ConfigError when it has a gate already."""

    def allow(self, public_keys: set[bytes]) -> None:
        """These, 32 bytes each, and no others from now on; connections that are there stay."""

    def take_refused(self) -> list[tuple[str, bytes]]:
        """Address and key of those not let in since the last call, the last 64 at most."""

    def close(self) -> None: ...

class FrontendLoop:
    """The frontend's data plane: a thread that owns the clients' socket and those to executors."""

    def __init__(self, libzmq: str, keys: tuple[str, str] = ..., asks_gate: bool = False) -> None:
        """With `keys`, a CURVE pair (public, secret), all that goes over tcp is encrypted.

        `asks_gate`: only those clients come in whom a ZapGate of its context lets.
        """

    def zmq_context(self) -> int:
        """Its address, for ZapGate."""

    def bind(self, endpoint: str) -> str:
        """Before start(); the endpoint with wildcards resolved. ConfigError when it is in use."""

    def start(self) -> None: ...
    def close(self) -> None: ...
    def set_model(self, name: str, signature: Signature, slo_ms: float) -> None: ...
    def remove_model(self, name: str) -> None: ...
    def set_app(
        self,
        name: str,
        signature: Signature,
        slo_ms: float,
        stages: Sequence[
            tuple[str, str, int, float, Sequence[tuple[int, bool]], Sequence[TensorSpec]]
        ],
        outputs: Sequence[int],
    ) -> None:
        """An app; remove_model() removes it.

        Stages are (name, model, each, budget_ms, [(value, split), ...], outputs of one request).
        Values count the app's inputs, then every stage's outputs; `outputs` are values. `each` is
        0, or the number of rows that become requests. ArgumentError for a graph that is none.
        """

    def add_executor(self, executor: int, endpoint: str) -> None: ...
    def remove_executor(self, executor: int) -> None: ...
    def set_starting(self, starting: bool) -> None: ...
    def set_ready(self, ready: bool) -> None: ...
    def set_routes(self, name: str, routes: Sequence[tuple[int, int, int, float]]) -> None:
        """Takes (executor, gpulet, model, weight) tuples."""

    def set_accept(self, name: str, part: float) -> None:
        """Of a model or an app: the others are answered `full`. ArgumentError unless 0..1."""

    def control_fd(self) -> int: ...
    def take_control(self) -> list[tuple[bytes, str, int | None, bytes]]:
        """What Python answers: (client, op, id, header)."""

    def take_lost(self) -> list[int]: ...
    def answer(self, client: bytes, header: bytes) -> None: ...
    def web_fd(self) -> int:
        """Readable while take_web() has something."""

    def take_web(self) -> list[tuple[int, int, str, str, str, list[tuple[str, str]], bytes]]:
        """What doors ask Python: (door, call, protocol, method, target, headers, body)."""

    def answer_web(
        self, door: int, call: int, status: int, headers: Sequence[tuple[str, str]], body: bytes
    ) -> None:
        """Answers one of them; dropped when nobody waits for it any more."""

    def add_shm(self, name: str, address: int, size: int) -> None:
        """Memory that requests of doors may name; mapped until remove_shm() has returned."""

    def add_device_memory(self, name: str, handle: bytes, size: int) -> None:
        """Device memory of a client, by its CUDA IPC handle of 64 bytes; executors open it.

        Raises ArgumentError.
        """

    def remove_shm(self, name: str) -> None: ...
    def stop_admitting(self) -> None: ...
    def outstanding(self) -> int: ...
    def stats(self) -> dict[str, dict[str, Any]]:
        """Counters by model; `latency` are (upper end in ns, count) of buckets that are filled."""

    def set_trace_ratio(self, ratio: float, of_models: Mapping[str, float]) -> None:
        """Traces requests from now on, this part of those that have no W3C traceparent.

        ArgumentError for a ratio that is not in 0..1.
        """

    def take_traces(self) -> list[tuple[Any, ...]]:
        """Traced requests that ended, oldest first: rows of serve.tracing.TracedRequest."""

    def traces_dropped(self) -> int:
        """How many traced requests nobody took in time."""

class ExecutorLoop:
    """The executor's data plane: a thread that feeds the engine and sends its completions back."""

    def __init__(self, libzmq: str, engine: Engine, keys: tuple[str, str] = ...) -> None:
        """With `keys` frontends speak CURVE over tcp, and a ZapGate of its context lets them in."""

    def zmq_context(self) -> int:
        """Its address, for ZapGate."""

    def bind(self, endpoint: str) -> str:
        """Before start(); the endpoint with wildcards resolved. ConfigError when it is in use."""

    def start(self) -> None: ...
    def close(self) -> None: ...
    def stop_admitting(self) -> None: ...
    def outstanding(self) -> int: ...

class Spacing(enum.Enum):
    """How an interval's requests lie in it (csrc/glet/sim/arrivals.h)."""

    GAPS = ...
    POISSON = ...
    EVEN = ...

class Distribution:
    """How long something takes."""

    @staticmethod
    def fixed(ms: float) -> Distribution: ...
    @staticmethod
    def uniform(low_ms: float, high_ms: float) -> Distribution: ...
    @staticmethod
    def lognormal(location_ms: float, scale_ms: float, sigma: float) -> Distribution:
        """location + scale e^(sigma N(0, 1))."""

    @property
    def mean_ms(self) -> float: ...

class SimArrivals:
    @staticmethod
    def given(times_s: Sequence[float]) -> SimArrivals: ...
    @staticmethod
    def counted(
        counts: Sequence[float],
        interval_s: float,
        spacing: Spacing,
        *,
        seed: int,
        stream: int,
        tick_ms: float = 0.0,
    ) -> SimArrivals:
        """From requests per interval; the same seed and stream give the same times."""

    def times_s(self) -> NDArray[np.float64]:
        """All of them that are still to come, in seconds."""

class JobSettings:
    """csrc/glet/sim/replica_job.h."""

    router: Distribution
    service: Distribution
    start: Distribution
    hot_start_s: float
    blind: bool
    in_flight: int
    queue_limit: int
    tokens: int
    token_window_s: float
    objective_ms: float
    percentile: float
    refused_in_mean: bool
    units: int
    replicas: int
    def __init__(self) -> None: ...

class Fleet:
    """Jobs with replicas under one quota, in virtual time (csrc/glet/sim/fleet.h)."""

    def __init__(
        self,
        *,
        quota: int,
        seed: int,
        interval_s: float = 60.0,
        lookback_s: float = 30.0,
        retry_s: float = 5.0,
        idle_timeout_s: float = 30.0,
        monitor_s: float = 5.0,
    ) -> None: ...
    def add(self, settings: JobSettings, arrivals: SimArrivals) -> int: ...
    def set_target(self, job: int, replicas: int) -> None: ...
    def set_accept(self, job: int, part: float) -> None: ...
    def advance(self, until_s: float) -> None:
        """Everything before `until_s` happens; without the GIL."""

    def finish(self) -> None:
        """Arrivals end, what is outstanding is answered, ledgers are settled."""

    @property
    def now_s(self) -> float: ...
    @property
    def units(self) -> int: ...
    def state(self, job: int) -> dict[str, Any]: ...
    def offered(self, job: int, first: int = 0) -> list[float]:
        """Requests that arrived, by interval from `first` on."""

    def ledger(self, job: int) -> dict[str, NDArray[np.float64]]:
        """What became of requests, by interval of their arrival (csrc/glet/sim/ledger.h)."""

class Gpulets:
    """Gpulets behind a router, in virtual time (csrc/glet/sim/gpulets.h)."""

    def __init__(self, interval_s: float = 60.0) -> None: ...
    def add_model(self, slo_ms: float, arrivals: SimArrivals, percentile: float = 0.99) -> int: ...
    def load(
        self,
        gpulet: int,
        model: int,
        plan: ModelPlan,
        real: LatencyTable,
        slowdown: float = 1.0,
    ) -> None: ...
    def set_loans(
        self, gpulet: int, loans: Sequence[tuple[int, Sequence[tuple[int, LatencyTable]]]]
    ) -> None:
        """As Engine.set_loans(); only models whose latency on both shares is given borrow."""

    def unload(self, gpulet: int, model: int) -> None: ...
    def set_routes(self, model: int, routes: Sequence[tuple[int, float]]) -> None: ...
    def set_accept(self, model: int, part: float) -> None:
        """As FrontendLoop.set_accept()."""

    def advance(self, until_s: float) -> None:
        """Everything before `until_s` happens; without the GIL."""

    def finish(self) -> None:
        """Arrivals end, what is outstanding ends, ledgers are settled."""

    @property
    def now_s(self) -> float: ...
    def outstanding(self, model: int) -> int: ...
    def take_window(self, model: int) -> dict[str, Any]:
        """Counts and `latency`, buckets as of FrontendLoop.stats(), since the last call."""

    def take_tenant_window(self, gpulet: int, model: int) -> tuple[int, int, float, int]:
        """Requests and batches, seconds busy, batches on borrowed shares; since the last call."""

    def correction(self, gpulet: int, model: int) -> float: ...
    def waiting(self, gpulet: int, model: int) -> int: ...
    def hold(self, model: int, units: float, from_s: float, until_s: float) -> None: ...
    def ledger(self, model: int) -> dict[str, NDArray[np.float64]]: ...
