"""The protocol's operations against real daemons, with plain HTTP and with Triton's own client."""

import http.client
import json
import uuid
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glet.clock import SystemClock
from glet.config.cluster import ClusterConfig
from glet.serve.up import LocalCluster

TOML = """
slo_ms = 4000.0
max_batch = {max_batch}
[[input]]
name = "x"
dtype = "float32"
shape = [4]
[[output]]
name = "y"
dtype = "float32"
shape = [4]
"""
X = np.arange(8, dtype=np.float32).reshape(2, 4)
BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 4], "data": X.ravel().tolist()}]}
LIMIT_S = 300.0


def write(folder: Path, name: str, max_batch: int = 8) -> None:
    (folder / name).mkdir()
    (folder / name / "model.toml").write_text(TOML.format(max_batch=max_batch))
    (folder / name / "model.py").write_text("def infer(x):\n    return x * 2\n")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write(folder, "double")
    return folder


@pytest.fixture(scope="module")
def address(models: Path) -> Iterator[str]:
    """HOST:PORT of the HTTP door."""
    config = ClusterConfig(listen="tcp://127.0.0.1:0", http="127.0.0.1:0", models=str(models))
    with LocalCluster(config, SystemClock()) as cluster:
        yield cluster.doors["http"].removeprefix("http://")


def ask(address: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and body of one request."""
    connection = http.client.HTTPConnection(address, timeout=LIMIT_S)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None
    finally:
        connection.close()


def triton_module(name: str) -> Any:
    """A part of Triton's client; it raises RuntimeError where what it needs itself is missing."""
    try:
        return import_module(f"tritonclient.{name}")
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"tritonclient[http] is not installed: {error}")


def test_what_there_is(address: str) -> None:
    assert ask(address, "GET", "/v2")[1]["name"] == "glet"
    assert ask(address, "GET", "/v2/models") == (200, {"models": ["double"]})
    assert ask(address, "GET", "/v2/models/double")[1]["inputs"][0]["shape"] == [-1, 4]
    config = ask(address, "GET", "/v2/models/double/config")[1]
    assert (config["platform"], config["max_batch_size"]) == ("glet_python", 8)
    assert ask(address, "HEAD", "/v2/models/double") == (200, None)
    assert ask(address, "DELETE", "/v2/models/double")[0] == 405
    status, error = ask(address, "GET", "/v2/models/doubl")
    assert (status, error) == (404, {"error": "no model 'doubl'; did you mean 'double'?"})
    status, error = ask(address, "POST", "/v2/repository/models/doubl/load")
    assert (status, "did you mean 'double'?" in error["error"]) == (404, True)


def test_statistics_count_what_was_answered(address: str) -> None:
    def stats() -> Any:
        (found,) = ask(address, "GET", "/v2/models/double/stats")[1]["model_stats"]
        return found

    before = stats()
    status, answer = ask(address, "POST", "/v2/models/double/infer", BODY)
    assert (status, answer["outputs"][0]["data"]) == (200, (X * 2).ravel().tolist())
    after = stats()
    assert after["inference_count"] == before["inference_count"] + 2
    assert after["execution_count"] > before["execution_count"]
    for kind in ("success", "queue", "compute_input", "compute_infer"):
        was, now = before["inference_stats"][kind], after["inference_stats"][kind]
        assert now["count"] == was["count"] + 2
        assert now["ns"] > was["ns"]
    assert after["last_inference"] > before["last_inference"]
    total = sum(row["batch_size"] * row["compute_infer"]["count"] for row in after["batch_stats"])
    assert total >= after["inference_count"]


def test_models_come_and_go(address: str, models: Path) -> None:
    write(models, "late", max_batch=4)
    assert ask(address, "POST", "/v2/repository/models/late/load")[0] == 200
    assert ask(address, "POST", "/v2/models/late/infer", BODY)[0] == 200
    config = {"parameters": {"config": json.dumps({"max_batch_size": 16, "slo_ms": 3000})}}
    assert ask(address, "POST", "/v2/repository/models/late/load", config)[0] == 200
    assert ask(address, "GET", "/v2/models/late/config")[1]["max_batch_size"] == 16
    assert ask(address, "POST", "/v2/models/late/infer", BODY)[0] == 200
    assert ask(address, "POST", "/v2/repository/models/late/unload")[0] == 200
    rows = {row["name"]: row for row in ask(address, "POST", "/v2/repository/index")[1]}
    assert (rows["late"]["state"], rows["late"]["reason"]) == ("UNAVAILABLE", "unloaded")
    assert ask(address, "POST", "/v2/models/late/infer", BODY)[0] in {404, 503}
    assert ask(address, "GET", "/v2/models/late/ready")[0] in {404, 503}
    assert rows["double"]["state"] == "READY"


def test_tritons_http_client(address: str) -> None:
    triton = triton_module("http")
    client = triton.InferenceServerClient(address, network_timeout=LIMIT_S)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("double")
    assert client.get_server_metadata()["name"] == "glet"
    assert client.get_model_metadata("double", "1")["platform"] == "glet_python"
    assert client.get_model_config("double")["input"][0]["data_type"] == "TYPE_FP32"
    assert client.get_model_repository_index()[0]["name"] == "double"
    assert client.get_inference_statistics("double")["model_stats"][0]["name"] == "double"
    client.update_trace_settings("double", {"trace_rate": "2"})
    assert client.get_trace_settings("double")["trace_rate"] == "2"
    assert client.update_log_settings({"log_verbose_level": 0})["log_info"] is not None
    assert "log_error" in client.get_log_settings()
    client.unload_model("double")
    assert not client.is_model_ready("double")
    client.load_model("double", config=json.dumps({"max_batch_size": 8}))
    assert client.is_model_ready("double")

    assert client.get_cuda_shared_memory_status() == []
    client.unregister_cuda_shared_memory()

    given = triton.InferInput("x", X.shape, "FP32")
    given.set_data_from_numpy(X)
    assert np.array_equal(client.infer("double", [given]).as_numpy("y"), X * 2)
    with pytest.raises(Exception, match="did you mean 'double'"):
        client.get_model_metadata("dubble")
    client.close()


def test_tritons_client_over_shared_memory(address: str) -> None:
    triton, shm = triton_module("http"), triton_module("utils.shared_memory")
    client = triton.InferenceServerClient(address, network_timeout=LIMIT_S)
    key = f"/glet_test_{uuid.uuid4().hex}"
    region = shm.create_shared_memory_region("io", key, 2 * X.nbytes)
    try:
        client.unregister_system_shared_memory()
        client.register_system_shared_memory("io", key, 2 * X.nbytes)
        assert client.get_system_shared_memory_status("io")[0]["byte_size"] == 2 * X.nbytes
        shm.set_shared_memory_region(region, [X])
        given = triton.InferInput("x", X.shape, "FP32")
        given.set_shared_memory("io", X.nbytes)
        wanted = triton.InferRequestedOutput("y")
        wanted.set_shared_memory("io", X.nbytes, offset=X.nbytes)
        client.infer("double", [given], outputs=[wanted])
        result = shm.get_contents_as_numpy(region, np.float32, X.shape, offset=X.nbytes)
        assert np.array_equal(result, X * 2)
        client.unregister_system_shared_memory("io")
        assert client.get_system_shared_memory_status() == []
    finally:
        shm.destroy_shared_memory_region(region)
    client.close()
