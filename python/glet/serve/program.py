"""What an exported program says about itself, read without torch.

A `.pt2` of torch.export.save is a zip whose `models/model.json` holds the graph: its inputs and
outputs, their element types and sizes, and the range of the dynamic batch. The layout is torch's
published export schema (torch/_export/serde/schema.py), which stays readable across versions.
"""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import msgspec

from glet.errors import ConfigError
from glet.types.model import Signature, TensorSpec

_DTYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    12: "bool",
    13: "bfloat16",
    28: "uint16",
    34: "uint32",
    35: "uint64",
}
_SYMBOL = re.compile(r"^(?:Symbol\('(\w+)'.*\)|(\w+))$")


class Tensor(msgspec.Struct, frozen=True):
    """A tensor of the program without its batch dimension; `batch` names the batch's symbol."""

    dtype: str
    shape: tuple[int | str, ...]
    batch: str | None


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """Inputs, outputs and the batch sizes an exported program takes."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    min_batch: int
    max_batch: int | None  # None: any


def read_program(path: Path) -> Program:
    """Raises ConfigError when the file is not an exported program, or none with one batch."""
    try:
        with zipfile.ZipFile(path) as archive:
            inside = [name for name in archive.namelist() if name.endswith("models/model.json")]
            if not inside:
                raise ConfigError(
                    f"{path.name} is a zip but no exported program; save with torch.export.save"
                )
            graph = json.loads(archive.read(inside[0]))
        return _program(graph, path.name)
    except (zipfile.BadZipFile, EOFError) as error:
        raise ConfigError(f"{path.name} is corrupt or no exported program: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{path.name} is an exported program of a layout that glet cannot read: {error!r}"
        ) from error


def mismatches(program: Program, signature: Signature, max_batch: int) -> list[str]:
    """Every way in which a `model.toml` contradicts the program; empty when it fits."""
    found = []
    for role, declared, actual in (
        ("input", signature.inputs, program.inputs),
        ("output", signature.outputs, program.outputs),
    ):
        if len(declared) != len(actual):
            found.append(f"model.toml has {len(declared)} {role}(s), the program has {len(actual)}")
        for spec, tensor in zip(declared, actual, strict=False):
            found += _mismatch(role, spec, tensor)
    if program.min_batch > 1:
        found.append(f"the program takes no batch below {program.min_batch}; export with min=1")
    if program.max_batch is not None and max_batch > program.max_batch:
        found.append(f"max_batch is {max_batch}, the program takes at most {program.max_batch}")
    return found


def _mismatch(role: str, spec: TensorSpec, tensor: Tensor) -> list[str]:
    if tensor.batch is None:
        return [f"{role} {spec.name!r} has no dynamic batch dimension in the program"]
    if spec.dtype == tensor.dtype and spec.shape == tensor.shape:
        return []
    actual = f"{tensor.dtype} [{', '.join(str(size) for size in tensor.shape)}]"
    return [
        f"{role} {spec.name!r} is {spec.dtype} {list(spec.shape)} in model.toml, "
        f"{actual} in the program"
    ]


def _program(document: dict[str, Any], name: str) -> Program:
    module = document["graph_module"]
    values = module["graph"]["tensor_values"]
    inputs = [
        spec["user_input"] for spec in module["signature"]["input_specs"] if "user_input" in spec
    ]
    outputs = [
        spec["user_output"] for spec in module["signature"]["output_specs"] if "user_output" in spec
    ]
    for spec in (*inputs, *outputs):
        if "as_tensor" not in spec["arg"]:
            kind = next(iter(spec["arg"]))
            raise ConfigError(f"{name} takes or returns something that is no tensor ({kind})")
    tensors = [
        tuple(_tensor(values[spec["arg"]["as_tensor"]["name"]]) for spec in specs)
        for specs in (inputs, outputs)
    ]
    batches = {tensor.batch for tensor in tensors[0] if tensor.batch is not None}
    if len(batches) > 1:
        raise ConfigError(f"{name} has inputs with different batch dimensions; use one Dim for all")
    ranges = document["range_constraints"].get(next(iter(batches), ""), {})
    return Program(
        inputs=tensors[0],
        outputs=tensors[1],
        min_batch=max(1, ranges.get("min_val") or 1),
        max_batch=ranges.get("max_val"),
    )


def _tensor(value: dict[str, Any]) -> Tensor:
    sizes = [_size(size) for size in value["sizes"]]
    dtype = _DTYPES.get(value["dtype"], f"unsupported type {value['dtype']}")
    batch = sizes[0] if sizes and isinstance(sizes[0], str) else None
    return Tensor(dtype, tuple(sizes[1:] if batch is not None else sizes), batch)


def _size(size: dict[str, Any]) -> int | str:
    if "as_int" in size:
        return int(size["as_int"])
    expression = str(size["as_expr"]["expr_str"])
    symbol = _SYMBOL.match(expression)
    return (symbol[1] or symbol[2]) if symbol else expression
