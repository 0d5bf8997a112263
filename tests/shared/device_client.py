"""A client whose arrays are in device memory of the fake libcuda.so.1: a process of its own.

Started as `device_client.py ADDRESS HTTP`; prints one JSON object.
"""

import base64
import ctypes
import json
import sys
import urllib.error
import urllib.request
from typing import Any

import numpy as np

from glet.client import Client
from glet.errors import InvalidInputError
from glet.native import core

X = np.arange(4, dtype=np.float32)
FAKE = ctypes.CDLL("libcuda.so.1")
FAKE.fake_cuda_alloc.restype = ctypes.c_ulonglong
FAKE.fake_cuda_alloc.argtypes = [ctypes.c_ulonglong]


class There:
    """Four floats on the device, in the middle of an allocation."""

    def __init__(
        self, values: np.ndarray[Any, Any], strides: tuple[int, ...] | None = None
    ) -> None:
        self.base = FAKE.fake_cuda_alloc(1024)
        self.address = self.base + 256
        ctypes.memmove(self.address, values.tobytes(), values.nbytes)
        self.__cuda_array_interface__ = {
            "version": 3,
            "typestr": values.dtype.str,
            "shape": values.shape,
            "strides": strides,
            "data": (self.address, False),
            "stream": None,
        }

    def floats(self, offset: int, count: int) -> list[float]:
        raw = ctypes.string_at(self.base + offset, 4 * count)
        return np.frombuffer(raw, dtype=np.float32).tolist()

    def handle(self) -> bytes:
        return core.export_device_memory(self.base, 1024)[40:]


class AtHome:
    """An array of the host that DLPack knows."""

    def __init__(self) -> None:
        self.__cuda_array_interface__ = None

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray[Any, Any]:
        return X


def asked(http: str, path: str, body: Any) -> Any:
    request = urllib.request.Request(f"http://{http}{path}", data=json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return [error.code, json.loads(error.read())["error"]]


def refused(client: Client, value: Any) -> str:
    try:
        client.infer("a", {"x": value})
    except InvalidInputError as error:
        return str(error)
    return ""


def main(address: str, http: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with Client(address) as client:
        client.infer("a", X, deadline_ms=60_000)
        found["doubled"] = [
            client.infer(model, There(X + i), deadline_ms=60_000).tolist()
            for i, model in enumerate(("a", "a", "eager"))
        ]
        found["home"] = client.infer("a", AtHome(), deadline_ms=60_000).tolist()
        found["refused"] = [
            refused(client, There(X.astype(np.float64))),
            refused(client, There(X, strides=(8,))),
            refused(client, There(X[:2])),
        ]
    region, both = There(X), np.concatenate([X, X + 10]).astype(np.float32)
    ctypes.memmove(region.base, both.tobytes(), both.nbytes)
    where = "/v2/cudasharedmemory/region/r"
    raw = {"b64": base64.b64encode(region.handle()).decode()}
    known = {"raw_handle": raw, "device_id": 0, "byte_size": 1024}
    found["register"] = [
        asked(http, f"{where}/register", {**known, "raw_handle": {"b64": "AAAA"}}),
        asked(http, f"{where}/register", known),
        asked(http, f"{where}/register", known),
    ]

    def infer(size: int = 32, out: int = 32, region: str = "r") -> Any:
        shm = {"shared_memory_region": region, "shared_memory_byte_size": size}
        into = {**shm, "shared_memory_offset": 512, "shared_memory_byte_size": out}
        body = {
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 4], "parameters": shm}],
            "outputs": [{"name": "y", "parameters": into}],
            "parameters": {"timeout": 60_000_000},
        }
        return asked(http, "/v2/models/a/infer", body)

    answer = infer()
    found["answer"] = answer["outputs"] if isinstance(answer, dict) else answer
    found["written"] = region.floats(512, 8)
    found["wrong"] = [infer(size=16), infer(out=16), infer(region="q")]
    asked(http, f"{where}/unregister", {})
    found["after"] = infer()
    return found


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
