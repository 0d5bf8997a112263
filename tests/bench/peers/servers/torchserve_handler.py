"""One model as a TorchServe handler; requests come here in the batches that TorchServe made."""

import json
from typing import Any

import numpy as np
from served import load_from_environment

infer = None


def handle(data: list[dict[str, Any]] | None, context: object) -> list[dict[str, list[float]]]:
    """`data` is None in the call in which a worker loads its model."""
    global infer
    if infer is None:
        infer = load_from_environment()
    if data is None:
        return []
    rows = np.array([numbers(each) for each in data], dtype=np.float32)
    return [{"y": row} for row in infer(rows).tolist()]


def numbers(request: dict[str, Any]) -> list[float]:
    """Over HTTP a JSON body comes parsed, over gRPC as the bytes of the input `body`."""
    body = request["body"]
    return (json.loads(body) if isinstance(body, bytes | bytearray) else body)["x"]
