"""`glet infer`: one request from files."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glet.cli.key_options import add_key_options, keys
from glet.client import Client, Result
from glet.errors import ConfigError

EXAMPLE = """example:
  glet infer lenet --input digit.npy
  glet infer bert --input tokens=tokens.npy --output out.npz
"""
DEFAULT_ADDRESS = "tcp://127.0.0.1:5555"


def add_parser(subparsers: Any) -> None:
    """Adds the command; `args.run` is set to the function that does it."""
    parser = subparsers.add_parser(
        "infer",
        help="send one request",
        description="Send one request with inputs from .npy files, print the outputs.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="the model's name")
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="FILE",
        help="x.npy for the only input, or NAME=x.npy for each",
    )
    parser.add_argument(
        "--address",
        default=DEFAULT_ADDRESS,
        metavar="ENDPOINT",
        help="of the frontend (default: %(default)s)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write the outputs there, as .npz"
    )
    parser.add_argument(
        "--deadline-ms", type=float, metavar="X", help="of the request (default: the model's SLO)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    add_key_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Sends the request; 0 when it was answered."""
    inputs = read_inputs(args.input)
    if args.deadline_ms is not None and not args.deadline_ms > 0.0:
        raise ConfigError(f"--deadline-ms {args.deadline_ms:g}; give milliseconds, above 0")
    with Client(args.address, **keys(args)) as client:
        result = client.infer_detailed(args.model, inputs, deadline_ms=args.deadline_ms)
        emulated = bool(client.models().get(args.model, {}).get("emulated"))
    outputs = result.outputs if isinstance(result.outputs, dict) else {"output": result.outputs}
    if args.output:
        write_outputs(args.output, outputs)
    if args.json:
        print(json.dumps(as_json(args.model, result, outputs) | {"emulated": emulated}))
    else:
        show(result, outputs)
        if emulated:
            print("emulated: the times are a profile's, and nothing was computed")
    return 0


def read_inputs(texts: list[str]) -> NDArray[Any] | dict[str, NDArray[Any]]:
    """One array, or a dict of them by name. Raises ConfigError for anything else."""
    if len(texts) == 1 and "=" not in texts[0]:
        return read_array(texts[0])
    inputs: dict[str, NDArray[Any]] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not name or name in inputs:
            raise ConfigError(f"--input {text!r}; give NAME=FILE.npy, every name once")
        inputs[name] = read_array(path)
    return inputs


def read_array(path: str) -> NDArray[Any]:
    """Raises ConfigError when the file is not one array of numbers."""
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, EOFError):
        # What numpy says of such files advises to unpickle them.
        raise ConfigError(f"{path}: is no array of numbers; numpy.save writes one") from None
    if not isinstance(array, np.ndarray):
        raise ConfigError(f"{path}: holds several arrays; give a .npy file per input")
    return array


def write_outputs(path: Path, outputs: dict[str, NDArray[Any]]) -> None:
    """Raises ConfigError when the file cannot be written."""
    try:
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **{n: plain(a) for n, a in outputs.items()})
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


def as_json(model: str, result: Result, outputs: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """What --json prints."""
    return {
        "model": model,
        "batch": result.batch,
        "queue_ms": result.queue_ms,
        "batch_ms": result.batch_ms,
        "execute_ms": result.execute_ms,
        "outputs": {
            name: {
                "dtype": dtype_name(array),
                "shape": list(array.shape),
                "data": plain(array, text=True).tolist(),
            }
            for name, array in outputs.items()
        },
    }


def dtype_name(array: NDArray[Any]) -> str:
    """The wire's name of it."""
    return "bytes" if array.dtype == object else array.dtype.name


def plain(array: NDArray[Any], *, text: bool = False) -> NDArray[Any]:
    """Strings as an array without objects: of bytes, or of text in which \\x.. is no UTF-8."""
    if array.dtype != object:
        return array
    if not text:
        return array.astype(np.bytes_)
    decoded = [element.decode("utf-8", "backslashreplace") for element in array.flat]
    return np.array(decoded, dtype=np.str_).reshape(array.shape)


def show(result: Result, outputs: dict[str, NDArray[Any]]) -> None:
    """Prints outputs, shortened by numpy where they are long."""
    for name, array in outputs.items():
        print(f"{name}: {dtype_name(array)} {list(array.shape)}")
        print(np.array2string(array, precision=5, threshold=100))
    print(
        f"batch {result.batch}, queue {result.queue_ms:.3f} ms, batching {result.batch_ms:.3f} ms, "
        f"execute {result.execute_ms:.3f} ms"
    )
