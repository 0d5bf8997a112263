"""What a model looks like from outside: its signature, its objective, its largest batch."""

import math
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

Megabytes = Annotated[float, Meta(ge=0.0, le=1e18)]

DTYPE_BYTES = {
    "float32": 4,
    "float64": 8,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
}
"""Element types by name -> bytes of one element; the same names as csrc/glet/exec/tensor.h."""
BYTES = "bytes"
"""The element type of strings: each has a length of its own, at most `TensorSpec.max_bytes`."""
LENGTH_BYTES = 4
"""What the length of such an element takes on the wire."""
DEFAULT_MAX_BYTES = 1024
MOST_FRAME_BYTES = 256 << 20
"""Of one tensor on the wire."""


class TensorSpec(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One input or output of ONE request: the batch dimension is not part of the shape.

    `max_bytes` bounds an element of dtype `bytes` (left out: DEFAULT_MAX_BYTES); 0 for all others.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    max_bytes: int = 0

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a tensor's name is empty")
        if self.dtype not in DTYPE_BYTES and not self.is_bytes:
            valid = ", ".join((*DTYPE_BYTES, BYTES))
            raise ValueError(f"dtype {self.dtype!r} is unknown; valid are {valid}")
        if any(size < 1 for size in self.shape):
            raise ValueError(f"shape {list(self.shape)} has a size below 1")
        self._check_max_bytes()

    def _check_max_bytes(self) -> None:
        if not self.is_bytes:
            if self.max_bytes != 0:
                raise ValueError(
                    f"max_bytes is for tensors of dtype 'bytes'; {self.name!r} is {self.dtype}"
                )
            return
        if self.max_bytes == 0:
            msgspec.structs.force_setattr(self, "max_bytes", DEFAULT_MAX_BYTES)
        most = MOST_FRAME_BYTES // self.elements - LENGTH_BYTES
        if not 1 <= self.max_bytes <= most:
            raise ValueError(
                f"max_bytes {self.max_bytes} of {self.name!r}; valid is 1 to {most}, "
                f"so that {self.elements} elements fit into {MOST_FRAME_BYTES >> 20} MiB"
            )

    @property
    def is_bytes(self) -> bool:
        """Whether elements are strings."""
        return self.dtype == BYTES

    @property
    def elements(self) -> int:
        """Elements of one request."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of one request; of strings the most that it can have."""
        if self.is_bytes:
            return self.elements * (LENGTH_BYTES + self.max_bytes)
        return self.elements * DTYPE_BYTES[self.dtype]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} {list(self.shape)}"


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """Inputs and outputs of a model, in the order in which it takes and returns them."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A model as everything above the runner knows it."""

    name: str
    signature: Signature
    slo_ms: Annotated[float, Meta(gt=0.0, le=1e18)]
    max_batch: Annotated[int, Meta(ge=1, le=2**31 - 1)]


class ModelMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Known parts of what a model on a gpulet needs of its device's memory.

    All gpulets of an executor share the weights. Graphs include their inputs and outputs.
    """

    weights_mb: Megabytes = 0.0
    graphs_mb: Megabytes = 0.0
    staging_mb: Megabytes = 0.0


def check_signature(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Raises ValueError unless there are inputs and outputs, each list without a name twice."""
    for role, specs in (("input", inputs), ("output", outputs)):
        names = [spec.name for spec in specs]
        if not names:
            raise ValueError(f"there is no {role}: give at least one [[{role}]]")
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"{role} name {sorted(twice)[0]!r} is used twice")
