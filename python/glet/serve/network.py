"""A model as a network of torch on one device: its weights, and one call per batch.

Clients know the signature only. A network may compute in another precision and another order of
the dimensions in memory; both conversions are part of the call, so that a CUDA graph has them too.
Torch is imported by the functions, not by the module.
"""

import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from glet.config.model import Precision
from glet.errors import ModelError
from glet.serve.callables import load_source, refuse_bytes
from glet.serve.repository import Entry, Form
from glet.serve.torch_path import find_torch
from glet.types.model import Signature, TensorSpec

if TYPE_CHECKING:
    import torch

DTYPES: dict[Precision, str] = {"fp16": "float16", "bf16": "bfloat16"}
"""Precision -> torch's name, for those that convert."""


class Network:
    """A module, loaded on the CPU; move() puts it on its device. One call at a time."""

    def __init__(self, entry: Entry, module: "torch.nn.Module") -> None:
        import torch

        self.name = entry.name
        self.signature: Signature = entry.config.signature
        self.weights_bytes = _bytes_of(module)
        self._module = module
        self._dtype = _dtype(entry.config.precision)
        self._image = torch.channels_last if entry.config.channels_last else None

    def move(self, device: str) -> None:
        """To a device of torch. Its memory may be exhausted: torch's OutOfMemoryError."""
        import torch

        self._module = self._module.to(device)
        for part in _graphs(self._module):
            for name, value in list(vars(part).items()):
                if isinstance(value, torch.Tensor):
                    setattr(part, name, value.to(device))
            # A program has devices written into it, where it makes tensors.
            _rewrite(part, torch.device("cpu"), torch.device(device))

    def __call__(self, inputs: Sequence["torch.Tensor"]) -> tuple["torch.Tensor", ...]:
        """Outputs of a batch, each contiguous, (n, *shape) in the signature's dtype.

        Raises ModelError when the module returns something else; what the module raises goes
        through.
        """
        return _apart(self._outputs(inputs), inputs)

    def as_module(self) -> "torch.nn.Module":
        """The same call as a module of all inputs, to be exported; an output may be an input."""
        import torch

        network = self

        class Whole(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.module = network._module

            def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
                return network._outputs(tensors)

        return Whole()

    def _outputs(self, inputs: Sequence["torch.Tensor"]) -> tuple["torch.Tensor", ...]:
        result = self._module(*(self._inward(tensor) for tensor in inputs))
        return _checked(self.name, self.signature, result, inputs[0].shape[0])

    def _inward(self, tensor: "torch.Tensor") -> "torch.Tensor":
        if self._dtype is not None and tensor.is_floating_point():
            tensor = tensor.to(self._dtype)
        if self._image is not None and tensor.dim() == 4:
            tensor = tensor.contiguous(memory_format=self._image)
        return tensor


def load_network(entry: Entry) -> Network | None:
    """The model of an entry, on the CPU still; None when it is a plain Python callable.

    Raises ModelError when it cannot be loaded, DeviceError without torch.
    """
    find_torch()
    import torch

    module = _from_callable(entry) if entry.form is Form.CALLABLE else _from_file(entry)
    if module is None:
        return None
    dtype = _dtype(entry.config.precision)
    if dtype is not None:
        # Here and not on the device, which then never holds the weights twice.
        module = module.to(dtype)
        for part in _graphs(module):
            # Float64 is left alone: who asked for it by hand needs it.
            _rewrite(part, torch.float32, dtype)
    if entry.config.channels_last:
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return Network(entry, module)


def torch_dtype(name: str) -> "torch.dtype":
    """The same names in torch."""
    import torch

    dtype: torch.dtype = getattr(torch, name)
    return dtype


def first_line(error: BaseException) -> str:
    """`Kind: what it says`, one line."""
    lines = str(error).strip().splitlines() or ["it does not say why"]
    return f"{type(error).__name__}: {lines[0]}"


def _checked(
    name: str, signature: Signature, result: Any, count: int
) -> tuple["torch.Tensor", ...]:
    outputs = tuple(result) if isinstance(result, tuple | list) else (result,)
    specs = signature.outputs
    if len(outputs) != len(specs):
        raise ModelError(
            f"model {name!r} returned {len(outputs)} outputs, model.toml has {len(specs)}"
        )
    pairs = zip(specs, outputs, strict=True)
    return tuple(_outward(name, spec, output, count) for spec, output in pairs)


def _outward(name: str, spec: TensorSpec, output: Any, count: int) -> "torch.Tensor":
    import torch

    if not isinstance(output, torch.Tensor):
        raise ModelError(
            f"model {name!r} returned {type(output).__name__} where a tensor is wanted"
        )
    if tuple(output.shape) != (count, *spec.shape):
        raise ModelError(
            f"model {name!r}: output {spec.name!r} of a batch of {count} has shape "
            f"{list(output.shape)}; model.toml says {[count, *spec.shape]}"
        )
    tensor: torch.Tensor = output.detach().to(torch_dtype(spec.dtype))
    return tensor.contiguous()


def _apart(
    outputs: Sequence["torch.Tensor"], inputs: Sequence["torch.Tensor"]
) -> tuple["torch.Tensor", ...]:
    """The next batch may be copied in while the outputs of this one are copied out."""
    places = {tensor.untyped_storage().data_ptr() for tensor in inputs}
    return tuple(
        tensor.clone() if tensor.untyped_storage().data_ptr() in places else tensor
        for tensor in outputs
    )


def _from_callable(entry: Entry) -> "torch.nn.Module | None":
    import torch

    found: object = load_source(entry)
    if not isinstance(found, torch.nn.Module):
        return None
    refuse_bytes(entry)
    return found.eval()


def _from_file(entry: Entry) -> "torch.nn.Module":
    import torch

    try:
        if entry.form is Form.PROGRAM:
            return torch.export.load(str(entry.path)).module()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*torch\.jit", DeprecationWarning)
            script = torch.jit.load(str(entry.path), "cpu")  # type: ignore[no-untyped-call]
        return script.eval()  # type: ignore[no-any-return]
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise ModelError(f"model {entry.name!r}: {first_line(error)}") from error


def _graphs(module: "torch.nn.Module") -> list["torch.fx.GraphModule"]:
    import torch

    return [part for part in module.modules() if isinstance(part, torch.fx.GraphModule)]


def _rewrite(part: "torch.fx.GraphModule", old: object, new: object) -> None:
    """What is written into an exported program; checks that it is so still go."""
    import torch

    def other(value: Any) -> Any:
        # Of the same type first: a node compares with nothing.
        return new if type(value) is type(old) and value == old else value

    for node in list(part.graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            part.graph.erase_node(node)
            continue
        node.args = torch.fx.node.map_aggregate(node.args, other)
        node.kwargs = torch.fx.node.map_aggregate(node.kwargs, other)
    part.recompile()


def _dtype(precision: Precision) -> "torch.dtype | None":
    name = DTYPES.get(precision)
    return torch_dtype(name) if name is not None else None


def _bytes_of(module: "torch.nn.Module") -> int:
    """Memory of parameters and buffers; what several names share counts once."""
    tensors: Iterable[torch.Tensor] = (*module.parameters(), *module.buffers())
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())
