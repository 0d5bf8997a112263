"""HTTP clients that people have, at the HTTP door of real daemons: curl, Triton's, KServe's."""

import asyncio
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from served_models import LIMIT_S, Served, pending, served_models
from waiting import wait_for

from glet.errors import ConfigError

X = np.arange(8, dtype=np.float32).reshape(2, 4)
BODY = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    try:
        with served_models(tmp_path_factory.mktemp("served")) as found:
            yield found
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture
def closed_gate(served: Served) -> Iterator[Served]:
    """`slow` stays in its first batch until the gate is removed."""
    served.gate.touch()
    yield served
    served.gate.unlink(missing_ok=True)


def tensor(module: Any) -> Any:
    made = module.InferInput("x", X.shape, "FP32")
    made.set_data_from_numpy(X)
    return made


# ---- curl


def curl(served: Served, path: str, *words: str) -> tuple[int, str]:
    """Status and body."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    done = subprocess.run(
        ["curl", "-sS", "-w", "\n%{http_code}", *words, f"http://{served.http}{path}"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v2", '"glet"'),
        ("/v2/health/live", '"live":true'),
        ("/v2/health/ready", '"ready":true'),
        ("/v2/models", '"double"'),
        ("/v2/models/double", '"glet_python"'),
        ("/v2/models/double/versions/1", '"glet_python"'),
        ("/v2/models/double/config", '"TYPE_FP32"'),
        ("/v2/models/double/ready", '"ready":true'),
        ("/v2/models/double/stats", '"inference_stats"'),
        ("/v2/models/stats", '"inference_stats"'),
        ("/v2/systemsharedmemory/status", "[]"),
        ("/v2/cudasharedmemory/status", "[]"),
        ("/v2/logging", '"log_verbose_level"'),
        ("/v2/trace/setting", '"trace_rate"'),
        ("/v2/models/double/trace/setting", '"trace_rate"'),
        ("/metrics", "glet_requests_outstanding"),
        ("/openapi.json", '"openapi"'),
        ("/dashboard", "<html"),
    ],
)
def test_curl_reads(served: Served, path: str, words: str) -> None:
    status, body = curl(served, path)
    assert status == 200
    assert words in body.replace('": ', '":')


@pytest.mark.parametrize("packing", [(), ("--compressed",)])
def test_curl_infers(served: Served, packing: tuple[str, ...]) -> None:
    status, body = curl(served, "/v2/models/double/infer", "-d", BODY, *packing)
    assert status == 200
    assert json.loads(body)["outputs"][0]["data"] == [2, 4, 6, 8]


def test_curl_unloads_and_loads(served: Served) -> None:
    assert curl(served, "/v2/repository/models/add/unload", "-X", "POST")[0] == 200
    assert curl(served, "/v2/models/add/ready")[0] != 200
    assert curl(served, "/v2/repository/models/add/load", "-X", "POST")[0] == 200
    assert curl(served, "/v2/models/add/ready")[0] == 200
    status, body = curl(served, "/v2/repository/index", "-X", "POST")
    assert status == 200
    rows = {row["name"]: row["state"] for row in json.loads(body)}
    assert rows["add"] == "READY"


@pytest.mark.parametrize(
    ("path", "words", "status"),
    [
        ("/v2/models/nobody", (), 404),
        ("/v2/models/double/infer", ("-d", "{"), 400),
        ("/v2/models/double/infer", ("-X", "DELETE"), 405),
        ("/nowhere", (), 404),
    ],
)
def test_curl_is_told_what_is_wrong(
    served: Served, path: str, words: tuple[str, ...], status: int
) -> None:
    got, body = curl(served, path, *words)
    assert got == status
    error = json.loads(body)["error"]
    assert error
    assert "\n" not in error


# ---- Triton's


def test_answers_of_tritons_client_later(served: Served) -> None:
    pytest.importorskip("geventhttpclient")
    triton = pytest.importorskip("tritonclient.http")
    client = triton.InferenceServerClient(served.http, concurrency=4)
    waiting = [client.async_infer("double", [tensor(triton)]) for _ in range(16)]
    for each in waiting:
        np.testing.assert_array_equal(each.get_result(timeout=LIMIT_S).as_numpy("y"), X * 2)
    client.close()


def test_tritons_client_for_asyncio(served: Served) -> None:
    pytest.importorskip("aiohttp")
    aio = pytest.importorskip("tritonclient.http.aio")

    async def ask() -> None:
        async with aio.InferenceServerClient(served.http) as client:
            assert await client.is_server_ready()
            assert (await client.get_model_metadata("double"))["name"] == "double"
            for packing in (None, "gzip", "deflate"):
                answers = await asyncio.gather(
                    *(
                        client.infer(
                            "double",
                            [tensor(aio)],
                            request_compression_algorithm=packing,
                            response_compression_algorithm=packing,
                        )
                        for _ in range(8)
                    )
                )
                for answer in answers:
                    np.testing.assert_array_equal(answer.as_numpy("y"), X * 2)

    asyncio.run(asyncio.wait_for(ask(), LIMIT_S))


def test_who_disconnects_frees_its_place(closed_gate: Served) -> None:
    host, _, port = closed_gate.http.rpartition(":")
    head = f"POST /v2/models/slow/infer HTTP/1.1\r\nHost: glet\r\nContent-Length: {len(BODY)}\r\n"
    request = f"{head}\r\n{BODY}".encode()
    peers = [socket.create_connection((host, int(port)), LIMIT_S) for _ in range(3)]
    for number, peer in enumerate(peers):
        peer.sendall(request)
        wait_for(lambda count=number + 1: pending(closed_gate, "slow") == count)
    for peer in peers[1:]:
        peer.close()
    wait_for(lambda: pending(closed_gate, "slow") == 1)
    closed_gate.gate.unlink()
    peers[0].settimeout(LIMIT_S)
    assert peers[0].recv(1 << 16).startswith(b"HTTP/1.1 200")
    peers[0].close()


# ---- KServe's


def test_kserves_clients(served: Served) -> None:
    pytest.importorskip("kserve", reason="the KServe SDK is not installed: 450 MB")
    from kserve import (
        InferenceGRPCClient,
        InferenceRESTClient,
        InferInput,
        InferRequest,
        RESTConfig,
    )

    def request() -> Any:
        given = InferInput("x", list(X.shape), "FP32")
        given.set_data_from_numpy(X, binary_data=False)
        return InferRequest(model_name="double", infer_inputs=[given])

    async def ask() -> None:
        rest = InferenceRESTClient(RESTConfig(protocol="v2"))
        base = f"http://{served.http}"
        assert await rest.is_server_live(base)
        assert await rest.is_server_ready(base)
        assert await rest.is_model_ready(base, "double")
        answer = await rest.infer(base, request(), model_name="double")
        np.testing.assert_array_equal(answer.outputs[0].as_numpy(), X * 2)
        await rest.close()
        grpc = InferenceGRPCClient(served.grpc)
        assert await grpc.is_server_live()
        assert await grpc.is_server_ready()
        assert await grpc.is_model_ready("double")
        answer = await grpc.infer(request())
        np.testing.assert_array_equal(answer.outputs[0].as_numpy(), X * 2)
        await grpc.close()

    asyncio.run(asyncio.wait_for(ask(), LIMIT_S))
