"""What `glet load` asks and sends a server of the Open Inference Protocol over HTTP.

What a model takes is read from the server's metadata; requests carry tensors in binary where the
server names that extension, else in JSON.
"""

import http.client
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec
import numpy as np
from numpy.typing import NDArray

from glet.cli.generate import ModelLoad, Sample
from glet.errors import (
    ConfigError,
    ModelNotFoundError,
    PeerLostError,
    UnavailableError,
    WireError,
)
from glet.serve.web.published import DATATYPES, PLATFORMS

SCHEME = "http://"
BINARY = "binary_tensor_data"
TIMEOUT_S = 30.0
QUOTED = 200
DTYPES = {datatype: dtype for dtype, datatype in DATATYPES.items()}


class Tensor(NamedTuple):
    """A tensor of the metadata. `shape` as the server says it; -1 is a free size."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def of_one(self) -> list[int]:
        """The shape of one item: without the batch, and 1 for what else is free."""
        return [max(size, 1) for size in self._item()]

    def of_request(self, item: Sequence[int]) -> list[int]:
        """The shape of a request with this one item."""
        has_batch = len(self._item()) < len(self.shape) and len(item) < len(self.shape)
        return [1, *item] if has_batch else list(item)

    def _item(self) -> tuple[int, ...]:
        return self.shape[1:] if self.shape[:1] == (-1,) else self.shape


class Served(NamedTuple):
    """A model of the server."""

    inputs: list[Tensor]
    outputs: list[Tensor]
    slo_ms: float | None
    emulated: bool

    def answer_bytes(self) -> int:
        """Bytes of the first output of one item, when it is float32; else 0."""
        if not self.outputs or self.outputs[0].datatype != "FP32":
            return 0
        return 4 * int(np.prod(self.outputs[0].of_one(), dtype=np.int64))

    def as_wire(self, slo_ms: float) -> dict[str, Any]:
        """The same in the form in which a frontend of glet answers to `models`."""
        specs = [(each.name, DTYPES[each.datatype], each.of_one()) for each in self.inputs]
        return {"inputs": specs, "slo_ms": slo_ms, "emulated": self.emulated}


class HttpServer:
    """Asks a server what it is. Errors name its address.

    Raises ConfigError when `address` is not http://HOST:PORT.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        try:
            parts = urlsplit(address)
            port, host = parts.port, parts.hostname
        except ValueError:
            port, host = None, None
        rest = parts.path.strip("/") + parts.query + parts.fragment if host else "?"
        if not address.startswith(SCHEME) or host is None or port is None or rest:
            raise ConfigError(f"address {address!r}; valid is http://HOST:PORT")
        self._host, self._port = host, port
        self._place = parts.netloc

    def metadata(self) -> tuple[str, bool]:
        """Name and version, and whether it takes tensors in binary."""
        status, found = self._get("/v2")
        if status != 200 or not isinstance(found, dict):
            raise WireError(f"{self.address}/v2: HTTP {status}; not the Open Inference Protocol")
        extensions = found.get("extensions") or []
        name = f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()
        return name, isinstance(extensions, list) and BINARY in extensions

    def model(self, name: str) -> Served:
        """Raises ModelNotFoundError, UnavailableError, or WireError for what makes no sense."""
        path = f"/v2/models/{quote(name, safe='')}"
        status, found = self._get(path)
        if status != 200 or not isinstance(found, dict):
            said = found.get("error") if isinstance(found, dict) else found
            text = f"{self.address}: model {name!r}: HTTP {status} {str(said)[:QUOTED]}"
            raise UnavailableError(text) if status == 503 else ModelNotFoundError(text)
        try:
            inputs, outputs = (_tensors(found[key]) for key in ("inputs", "outputs"))
        except (KeyError, TypeError, ValueError):
            inputs = outputs = []
        if not inputs:
            raise WireError(f"{self.address}: model {name!r}: metadata without inputs")
        for tensor in inputs:
            if tensor.datatype not in DTYPES:
                raise WireError(
                    f"{self.address}: model {name!r}: input {tensor.name!r} is of an unknown "
                    f"datatype {tensor.datatype[:QUOTED]!r}; known are {', '.join(DTYPES)}"
                )
        emulated = found.get("platform") == PLATFORMS["profiled"]
        return Served(inputs, outputs, self._slo_ms(path), emulated)

    def _slo_ms(self, path: str) -> float | None:
        """What glet puts into the configuration; other servers know of none."""
        status, found = self._get(f"{path}/config")
        try:
            return float(found["parameters"]["slo_ms"]["string_value"]) if status == 200 else None
        except (KeyError, TypeError, ValueError):
            return None

    def _get(self, path: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            text = str(error) or type(error).__name__
            raise PeerLostError(f"no answer from {self.address}: {text[:QUOTED]}") from None
        finally:
            connection.close()
        try:
            return response.status, json.loads(body)
        except (ValueError, RecursionError):
            return response.status, body[:QUOTED].decode(errors="replace")

    def with_requests(self, load: ModelLoad, served: Served, *, binary: bool) -> ModelLoad:
        """The load with its samples as requests, head and body."""
        path = f"/v2/models/{quote(load.name, safe='')}/infer"
        tensors = {each.name: each for each in served.inputs}
        requests = [
            self._post(path, *encode(sample, tensors, load.deadline_ms, binary=binary))
            for sample in load.samples
        ]
        reads = binary and load.labels is not None
        return msgspec.structs.replace(
            load, requests=requests, answer_bytes=served.answer_bytes() if reads else 0
        )

    def _post(self, path: str, body: bytes, json_bytes: int | None) -> bytes:
        head = f"POST {path} HTTP/1.1\r\nHost: {self._place}\r\nContent-Length: {len(body)}\r\n"
        if json_bytes is None:
            head += "Content-Type: application/json\r\n\r\n"
        else:
            head += (
                "Content-Type: application/octet-stream\r\n"
                f"Inference-Header-Content-Length: {json_bytes}\r\n\r\n"
            )
        return head.encode() + body


def _tensors(rows: Sequence[Mapping[str, Any]]) -> list[Tensor]:
    return [
        Tensor(str(row["name"]), str(row["datatype"]), tuple(int(size) for size in row["shape"]))
        for row in rows
    ]


def encode(
    sample: Sample, tensors: Mapping[str, Tensor], deadline_ms: float | None, *, binary: bool
) -> tuple[bytes, int | None]:
    """The body of a request, and in binary the bytes of the JSON at its begin.

    Raises ConfigError for an input that the model does not have, or bfloat16 in JSON.
    """
    inputs: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for name, array, _ in sample:
        tensor = tensors.get(name)
        if tensor is None:
            raise ConfigError(f"no input {name!r}; the server's model takes {', '.join(tensors)}")
        shape = tensor.of_request(array.shape)
        row: dict[str, Any] = {"name": name, "datatype": tensor.datatype, "shape": shape}
        if binary:
            raw.append(raw_bytes(array, tensor.datatype))
            row["parameters"] = {"binary_data_size": len(raw[-1])}
        elif tensor.datatype == "BF16":
            raise ConfigError(f"input {name!r} is BF16, which JSON does not have")
        else:
            row["data"] = [_plain(value) for value in array.ravel().tolist()]
        inputs.append(row)
    request: dict[str, Any] = {"inputs": inputs}
    parameters: dict[str, Any] = {"binary_data_output": True} if binary else {}
    if deadline_ms is not None:
        parameters["timeout"] = max(round(deadline_ms * 1e3), 1)
    if parameters:
        request["parameters"] = parameters
    head = json.dumps(request).encode()
    return head + b"".join(raw), len(head) if binary else None


def raw_bytes(array: NDArray[Any], datatype: str) -> bytes:
    """Elements in C order, little-endian; before each string its length in 4 bytes."""
    if datatype != "BYTES":
        return np.ascontiguousarray(array).tobytes()
    texts = [each if isinstance(each, bytes) else str(each).encode() for each in array.ravel()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _plain(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
