"""Callables for the Python runner: arrays (n, ...) in, an array or a tuple of arrays out.

Only here, and only for the forms that need it, the serving process imports torch.
"""

import importlib.util
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glet.errors import ModelError
from glet.serve.repository import Entry, Form
from glet.serve.torch_path import find_torch

if TYPE_CHECKING:
    import torch

Array = NDArray[Any]
Outputs = Array | tuple[Array, ...]
BatchCallable = Callable[..., Outputs]


def load_callable(entry: Entry) -> BatchCallable:
    """The model of an entry as a callable. Raises ModelError, DeviceError (no torch).

    Torch's thread count is left as the caller set it.
    """
    if entry.form is Form.CALLABLE:
        found = load_source(entry)
        # Who gives a module of torch has imported torch.
        torch_there = sys.modules.get("torch")
        if torch_there is not None and isinstance(found, torch_there.nn.Module):
            refuse_bytes(entry)
            return _over_torch(entry.name, found)
        return found
    find_torch()
    import torch

    module: torch.nn.Module
    try:
        if entry.form is Form.PROGRAM:
            module = torch.export.load(str(entry.path)).module()
        else:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", r".*torch\.jit", DeprecationWarning)
                module = torch.jit.load(str(entry.path), "cpu")  # type: ignore[no-untyped-call]
            module.eval()
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise ModelError(f"model {entry.name!r}: {_first_line(error)}") from error
    return _over_torch(entry.name, module)


def refuse_bytes(entry: Entry) -> None:
    """Raises ModelError when a module of torch is to take or give strings."""
    tensor = entry.config.bytes_tensor
    if tensor is not None:
        raise ModelError(
            f"model {entry.name!r}: {tensor!r} is of bytes and model.py gives a module of torch, "
            "which has none; give a function over numpy arrays"
        )


def _over_torch(name: str, module: "torch.nn.Module") -> BatchCallable:
    import torch

    def infer(*arrays: Array) -> Outputs:
        # from_numpy warns of read-only memory; `W` copies it.
        tensors = [torch.from_numpy(np.require(array, requirements="W")) for array in arrays]
        try:
            with torch.inference_mode():
                result = module(*tensors)
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            raise ModelError(f"model {name!r}: {_first_line(error)}") from error
        if isinstance(result, torch.Tensor):
            return _array(name, result)
        if isinstance(result, tuple | list):
            return tuple(_array(name, part) for part in result)
        raise ModelError(
            f"model {name!r} returned {type(result).__name__}; a tensor or a tuple is wanted"
        )

    return infer


def _array(name: str, value: object) -> Array:
    import torch

    if not isinstance(value, torch.Tensor):
        raise ModelError(f"model {name!r} returned {type(value).__name__} where a tensor is wanted")
    if value.dtype == torch.bfloat16:
        raise ModelError(f"model {name!r} returned bfloat16, which numpy does not have")
    array: Array = value.detach().contiguous().numpy()
    return array


def load_source(entry: Entry) -> BatchCallable:
    """What `model.py` gives, as it is: a callable over arrays, or a module of torch.

    Raises ModelError with the line in `model.py`.
    """
    module_name = f"glet_model_{entry.name}"
    found = importlib.util.spec_from_file_location(module_name, entry.path)
    if found is None or found.loader is None:
        raise ModelError(f"model {entry.name!r}: {entry.path} cannot be imported")
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
        infer = getattr(module, "infer", None)
        if infer is None and callable(getattr(module, "load", None)):
            infer = module.load()
    except Exception as error:
        # The model's own code may raise anything; here it gets the model's name and the place.
        line = _line_of(entry.path, error)
        raise ModelError(f"model {entry.name!r}: model.py{line}: {_first_line(error)}") from error
    if not callable(infer):
        raise ModelError(
            f"model {entry.name!r}: model.py gives no callable; "
            "define infer(*arrays), or load() that returns one"
        )
    return infer  # type: ignore[no-any-return]


def _line_of(path: Path, error: BaseException) -> str:
    """`:LINE` of the deepest frame in that file, or ''."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f":{lines[-1]}" if lines else ""


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return f"{type(error).__name__}: {lines[0]}"
