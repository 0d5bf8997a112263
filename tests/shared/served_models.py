"""Small Python models behind real daemons with both doors, for other people's clients."""

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from glet.clock import SystemClock
from glet.config.cluster import ClusterConfig
from glet.serve.nghttp2_path import nghttp2_path
from glet.serve.up import LocalCluster

LIMIT_S = 300.0
LONG_MS = 240_000.0
DTYPES = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64", "FP16": "float16",
    "BF16": "bfloat16", "FP32": "float32", "FP64": "float64",
}  # fmt: skip
"""Datatypes of the protocol that are numbers -> dtypes of model.toml."""


class Served(NamedTuple):
    """Addresses are HOST:PORT; while `gate` exists, `slow` stays in its batch."""

    http: str
    grpc: str
    models: Path
    gate: Path
    frontend_pid: int


@contextmanager
def served_models(folder: Path) -> Iterator[Served]:
    """`double` (4 floats, twice as large), `kinds` (one tensor of each of DTYPES, as they came),
    `text` (strings in upper case), `slow` (as `double`, one at a time), `add`: two inputs.

    Raises ConfigError without nghttp2.
    """
    nghttp2_path()
    gate = folder / "gate"
    models = folder / "models"
    four = ("float32", "[4]")
    write(models, "double", {"x": four}, {"y": four}, "def infer(x):\n    return x * 2\n")
    write(
        models, "add", {"a": four, "b": four}, {"sum": four, "product": four},
        "def infer(a, b):\n    return a + b, a * b\n",
    )  # fmt: skip
    kinds = {kind: (dtype, "[3]") for kind, dtype in DTYPES.items()}
    same = {f"{kind}_same": tensor for kind, tensor in kinds.items()}
    write(models, "kinds", kinds, same, "def infer(*tensors):\n    return tensors\n")
    texts = ("bytes", "[2]")
    upper = (
        "import numpy as np\n\n\ndef infer(x):\n    rows = [[t.upper() for t in r] for r in x]\n"
    )
    write(
        models, "text", {"x": texts}, {"y": texts},
        f"{upper}    return np.array(rows, dtype=object)\n",
    )  # fmt: skip
    wait = f"GATE = {str(gate)!r}\n\n\ndef infer(x):\n    while os.path.exists(GATE):\n"
    write(
        models, "slow", {"x": four}, {"y": four},
        f"import os\nimport time\n\n{wait}        time.sleep(0.01)\n    return x * 2\n",
        max_batch=1,
    )  # fmt: skip
    config = ClusterConfig(
        listen="tcp://127.0.0.1:0",
        http="127.0.0.1:0",
        grpc="127.0.0.1:0",
        models=str(models),
        hang_s=LIMIT_S,
        drain_s=LIMIT_S,
    )
    with LocalCluster(config, SystemClock()) as cluster:
        doors = {name: at.removeprefix("http://") for name, at in cluster.doors.items()}
        yield Served(doors["http"], doors["grpc"], models, gate, cluster.pids()["frontend"])


def write(
    models: Path,
    name: str,
    inputs: dict[str, tuple[str, str]],
    outputs: dict[str, tuple[str, str]],
    code: str,
    max_batch: int = 8,
) -> None:
    """An entry; tensors are name -> (dtype, shape)."""
    entry = models / name
    entry.mkdir(parents=True)
    lines = [f"slo_ms = {LONG_MS}", f"max_batch = {max_batch}"]
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for tensor, (dtype, shape) in tensors.items():
            lines += [f"[[{kind}]]", f'name = "{tensor}"', f'dtype = "{dtype}"', f"shape = {shape}"]
    (entry / "model.toml").write_text("\n".join(lines) + "\n")
    (entry / "model.py").write_text(code)


def pending(served: Served, model: str) -> int:
    """Requests that the frontend has not answered yet."""
    return total(served, "glet_requests_outstanding", model)


def total(served: Served, family: str, model: str) -> int:
    """The sum of a model's series of a metric."""
    with urllib.request.urlopen(f"http://{served.http}/metrics", timeout=LIMIT_S) as answer:
        lines = answer.read().decode().splitlines()
    mine = [line for line in lines if line.startswith(f"{family}{{") and f'model="{model}"' in line]
    return sum(int(line.rpartition(" ")[2]) for line in mine)
