"""Every operation of the protocol over REST, and what is wrong with requests."""

import logging
import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from web_parts import MODELS, WALL_MS, WebRig

import glet
from glet.errors import ModelFailedError, UnavailableError
from glet.serve.loading import Override
from glet.serve.web.request import WebRequest
from glet.serve.web.settings import TraceSettings


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[WebRig]:
    made = WebRig(tmp_path)
    yield made
    made.http("POST", "/v2/systemsharedmemory/unregister")


def test_the_server_says_what_it_is(rig: WebRig) -> None:
    for path in ("/v2", "/v2/"):
        server = rig.get(path)
        assert (server["name"], server["version"]) == ("glet", glet.__version__)
        assert "binary_tensor_data" in server["extensions"]
    assert rig.get("/v2/health/live") == {"live": True}
    assert rig.get("/v2/health/ready") == {"ready": True}
    rig.ready = False
    not_ready = rig.http("GET", "/v2/health/ready")
    assert (not_ready.status, not_ready.body) == (503, b'{"ready":false}')


def test_models_have_metadata_with_a_batch_dimension(rig: WebRig) -> None:
    assert rig.get("/v2/models") == {"models": ["lenet", "traffic"]}
    for path in ("/v2/models/lenet", "/v2/models/lenet/versions/1"):
        assert rig.get(path) == {
            "name": "lenet",
            "versions": ["1"],
            "platform": "glet_compiled",
            "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 28, 28]}],
            "outputs": [
                {"name": "scores", "datatype": "FP32", "shape": [-1, 10]},
                {"name": "text", "datatype": "BYTES", "shape": [-1, 1]},
            ],
        }
    assert rig.get("/v2/models/traffic")["platform"] == "glet_app"
    assert rig.get("/v2/models/resnet")["platform"] == "glet"


def test_models_have_a_configuration(rig: WebRig) -> None:
    config = rig.get("/v2/models/lenet/config")
    assert (config["max_batch_size"], config["backend"]) == (32, "glet")
    assert config["input"][0]["data_type"] == "TYPE_FP32"
    assert config["input"][0]["dims"] == [1, 28, 28]
    assert config["output"][1]["data_type"] == "TYPE_STRING"
    assert config["dynamic_batching"]["preferred_batch_size"] == [8]
    policy = config["dynamic_batching"]["default_queue_policy"]
    assert policy["default_timeout_microseconds"] == 25_000
    assert config["instance_group"][0]["kind"] == "KIND_CPU"
    assert config["version_policy"] == {"specific": {"versions": [1]}}
    app = rig.get("/v2/models/traffic/versions/1/config")
    assert app["max_batch_size"] == 256
    assert app["parameters"]["stage:detect"] == {"string_value": "lenet x 1, 12.5 ms"}


def test_models_are_ready_or_say_so(rig: WebRig) -> None:
    assert rig.get("/v2/models/lenet/ready") == {"name": "lenet", "ready": True}
    assert rig.http("GET", "/v2/models/lenet/versions/1/ready").status == 200
    assert rig.http("GET", "/v2/models/resnet/ready").status == 503
    status, line = rig.refused("GET", "/v2/models/lenett/ready")
    assert (status, line) == (404, "no model 'lenett'; did you mean 'lenet'?")
    status, line = rig.refused("GET", "/v2/models/lenet/versions/2")
    assert (status, line) == (404, "model 'lenet' has no version '2'; valid is 1")
    assert rig.refused("GET", "/v2/models/broken") == (
        503,
        "model 'broken': " * 2 + "has no model.toml",
    )


def test_the_index_tells_states_and_reasons(rig: WebRig) -> None:
    rows = {row["name"]: row for row in rig.post("/v2/repository/index")}
    assert rows.keys() == MODELS.keys()
    assert rows["lenet"] == {"name": "lenet", "version": "1", "state": "READY", "reason": ""}
    assert (rows["resnet"]["state"], rows["resnet"]["reason"]) == ("LOADING", "is being compiled")
    assert (rows["gone"]["state"], rows["gone"]["reason"]) == ("UNAVAILABLE", "unloaded")
    assert rows["broken"]["reason"] == "model 'broken': has no model.toml"
    ready = rig.post("/v2/repository/index", {"ready": True})
    assert {row["name"] for row in ready} == {"lenet", "traffic"}
    assert rig.refused("POST", "/v2/repository/index", {"ready": "yes"})[0] == 400
    assert rig.refused("POST", "/v2/repository/index", {"repository_name": "r"})[0] == 400


def test_statistics_are_of_what_was_counted(rig: WebRig) -> None:
    (stats,) = rig.get("/v2/models/lenet/stats")["model_stats"]
    assert (stats["inference_count"], stats["execution_count"]) == (10, 4)
    assert stats["last_inference"] == WALL_MS - 500
    of = stats["inference_stats"]
    assert of["success"] == {"count": 10, "ns": 50_000}
    assert of["fail"]["count"] == 6
    assert of["queue"] == {"count": 10, "ns": 20_000}
    assert of["compute_infer"] == {"count": 10, "ns": 30_000}
    assert [(b["batch_size"], b["compute_infer"]) for b in stats["batch_stats"]] == [
        (1, {"count": 2, "ns": 4_000}),
        (4, {"count": 2, "ns": 6_500}),
    ]
    assert stats["memory_usage"] == [{"type": "CPU", "id": 0, "byte_size": 1_500_000}]
    assert [s["name"] for s in rig.get("/v2/models/stats")["model_stats"]] == ["lenet"]
    (unused,) = rig.get("/v2/models/resnet/versions/1/stats")["model_stats"]
    assert (unused["inference_count"], unused["last_inference"]) == (0, 0)


def test_load_and_unload_are_passed_on_and_answered_when_done(rig: WebRig) -> None:
    assert rig.post("/v2/repository/models/lenet/load") == {"name": "lenet", "load": True}
    config = '{"slo_ms": 50, "max_batch_size": "16"}'
    rig.post("/v2/repository/models/lenet/load", {"parameters": {"config": config}})
    assert rig.told[1] == ("load", "lenet", Override(slo_ms=50.0, max_batch=16))
    rig.post("/v2/repository/models/lenet/unload", {"parameters": {"unload_dependents": True}})
    assert rig.told[2] == ("unload", "lenet", True)
    assert rig.refused("POST", "/v2/repository/models/nothing/load")[0] == 404
    rig.fail = ModelFailedError("model 'lenet': it\nbroke")
    assert rig.refused("POST", "/v2/repository/models/lenet/load") == (
        500,
        "model 'lenet': it broke",
    )
    rig.fail = UnavailableError("no device has room")
    assert rig.refused("POST", "/v2/repository/models/lenet/load") == (503, "no device has room")


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"config": '{"slo_ms": -1}'}, "slo_ms is -1"),
        ({"config": '{"max_batch": 5000}'}, "valid is 1 to 4096"),
        ({"config": '{"max_batch_size": "many"}'}, "give a number"),
        ({"config": '{"max_batch": 1, "max_batch_size": 2}'}, "are the same"),
        ({"config": '{"slo": 1}'}, "did you mean 'slo_ms'?"),
        ({"config": '{"name": "other"}'}, "cannot be changed"),
        ({"config": "{"}, "config of 'lenet':1:2"),
        ({"config": 5}, "no JSON text"),
        ({"what": 1}, "valid is config"),
    ],
)
def test_a_config_that_cannot_be_is_refused(rig: WebRig, parameters: Any, says: str) -> None:
    status, line = rig.refused(
        "POST", "/v2/repository/models/lenet/load", {"parameters": parameters}
    )
    assert status == 400
    assert says in line
    assert rig.told == []


def test_files_of_a_load_are_not_supported(rig: WebRig) -> None:
    body = {"parameters": {"file:1/model.onnx": "AA=="}}
    assert rig.refused("POST", "/v2/repository/models/lenet/load", body)[0] == 501


def test_shared_memory_is_mapped_and_let_go(rig: WebRig, tmp_path: Path) -> None:
    (tmp_path / "tensors").write_bytes(bytes(10_000))
    region = {"key": "/tensors", "offset": 4096, "byte_size": 5000}
    assert rig.post("/v2/systemsharedmemory/region/one/register", region) == {}
    address, size = rig.regions["one"]
    assert (address > 0, size) == (True, 5000)
    assert rig.get("/v2/systemsharedmemory/status") == [{"name": "one", **region}]
    assert rig.get("/v2/systemsharedmemory/region/one/status") == [{"name": "one", **region}]
    status, line = rig.refused("POST", "/v2/systemsharedmemory/region/one/register", region)
    assert (status, "unregister it first" in line) == (409, True)
    rig.post("/v2/systemsharedmemory/region/two/register", {"key": "tensors", "byte_size": 1})
    rig.post("/v2/systemsharedmemory/region/one/unregister")
    assert rig.regions.keys() == {"two"}
    assert rig.refused("GET", "/v2/systemsharedmemory/region/one/status")[0] == 404
    rig.post("/v2/systemsharedmemory/unregister")
    assert (rig.regions, rig.get("/v2/systemsharedmemory/status")) == ({}, [])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"key": "/none", "byte_size": 1}, "cannot be opened"),
        ({"key": "../passwd", "byte_size": 1}, "name of an object"),
        ({"key": "/link", "byte_size": 1}, "cannot be opened"),
        ({"key": "/pipe", "byte_size": 1}, "is no shared memory"),
        ({"key": "/small", "byte_size": 11}, "has 10 bytes"),
        ({"key": "/small", "byte_size": 1, "offset": 10}, "has 10 bytes"),
        ({"key": "/small", "byte_size": 0}, "valid are 0 or more"),
        ({"key": "/small", "byte_size": 1, "offset": -1}, "valid are 0 or more"),
        ({"key": "/small"}, "byte_size is missing"),
        ({"key": 5, "byte_size": 1}, "key is a whole number; text is valid"),
        ({"key": "/small", "byte_size": True}, "byte_size is true or false; a whole number"),
        ({"key": "/small", "byte_size": 1, "size": 1}, "no key 'size'"),
    ],
)
def test_what_is_no_shared_memory_is_refused(
    rig: WebRig, tmp_path: Path, body: dict[str, Any], says: str
) -> None:
    (tmp_path / "small").write_bytes(bytes(10))
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    # Opening a pipe to write waits for who reads it, so somebody does.
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    status, line = rig.refused("POST", "/v2/systemsharedmemory/region/r/register", body)
    os.close(reader)
    assert status == 400
    assert says in line
    assert rig.regions == {}


def test_cuda_shared_memory_is_refused_without_a_gpu(rig: WebRig) -> None:
    status, line = rig.refused("POST", "/v2/cudasharedmemory/region/r/register", {})
    assert status == 501
    assert "no model is served on a GPU here" in line
    assert rig.get("/v2/cudasharedmemory/status") == []
    assert rig.refused("GET", "/v2/cudasharedmemory/region/r/status")[0] == 404
    assert rig.post("/v2/cudasharedmemory/unregister") == {}


HANDLE = bytes(range(64))
KNOWN = {"raw_handle": {"b64": b64encode(HANDLE).decode()}, "device_id": 1, "byte_size": 4096}


def test_cuda_shared_memory(rig: WebRig, tmp_path: Path) -> None:
    rig.on_gpu = True
    where = "/v2/cudasharedmemory/region/r"
    assert rig.post(f"{where}/register", KNOWN) == {}
    assert rig.cuda_regions == {"r": (HANDLE, 4096)}
    rows = [{"name": "r", "device_id": 1, "byte_size": 4096}]
    assert rig.get(f"{where}/status") == rig.get("/v2/cudasharedmemory/status") == rows
    assert rig.refused("POST", f"{where}/register", KNOWN)[0] == 409
    (tmp_path / "small").write_bytes(bytes(10))
    shared = "/v2/systemsharedmemory/region/r/register"
    assert rig.refused("POST", shared, {"key": "/small", "byte_size": 10})[0] == 409
    assert rig.post(f"{where}/unregister") == {}
    assert rig.cuda_regions == {}
    assert rig.post(shared, {"key": "/small", "byte_size": 10}) == {}
    assert rig.refused("POST", f"{where}/register", KNOWN)[0] == 409
    assert rig.post("/v2/cudasharedmemory/region/s/register", KNOWN) == {}
    assert rig.post("/v2/cudasharedmemory/unregister") == {}
    assert rig.cuda_regions == {}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"raw_handle": {"b64": "AAAA"}}, "raw_handle has 3 bytes; a CUDA IPC handle has 64"),
        ({"raw_handle": {"b64": "?"}}, "raw_handle.b64 is no base64"),
        ({"raw_handle": "AAAA"}, "raw_handle is text; an object is valid"),
        ({"raw_handle": {}}, "b64 is missing"),
        ({"device_id": -1}, "device_id -1"),
        ({"byte_size": 0}, "byte_size 0"),
        ({"byte_size": 2**64}, "byte_size 18446744073709551616"),
        ({"offset": 1}, "no key 'offset'"),
    ],
)
def test_what_is_no_cuda_memory_is_refused(rig: WebRig, change: dict[str, Any], says: str) -> None:
    rig.on_gpu = True
    where = "/v2/cudasharedmemory/region/r/register"
    status, line = rig.refused("POST", where, {**KNOWN, **change})
    assert status == 400
    assert says in line
    assert rig.cuda_regions == {}


def test_log_settings_change_what_is_logged(rig: WebRig) -> None:
    seen: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.levelname)

    rig.logger.addHandler(Handler())

    def logged() -> list[str]:
        seen.clear()
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            rig.logger.log(level, "text")
        return seen

    assert rig.get("/v2/logging")["log_info"] is True
    assert logged() == ["INFO", "WARNING", "ERROR"]
    assert rig.post("/v2/logging", {"log_verbose_level": 1})["log_verbose_level"] == 1
    assert logged() == ["DEBUG", "INFO", "WARNING", "ERROR"]
    rig.post("/v2/logging", {"log_verbose_level": 0, "log_info": False, "log_error": False})
    assert logged() == ["WARNING"]
    for bad in ({"log_inf": True}, {"log_info": 1}, {"log_verbose_level": -1}, {"log_format": "x"}):
        assert rig.refused("POST", "/v2/logging", {"log_info": True, **bad})[0] == 400
    assert rig.refused("POST", "/v2/logging", {"log_file": "/tmp/x"})[0] == 501
    assert logged() == ["WARNING"]


def test_trace_settings_are_kept_for_all_and_for_a_model(tmp_path: Path) -> None:
    changes: list[float] = []
    trace = TraceSettings(lambda: changes.append(trace.ratio("lenet")))
    rig = WebRig(tmp_path, trace)
    assert rig.get("/v2/trace/setting")["trace_level"] == ["OFF"]
    on = {"trace_level": ["TIMESTAMPS"], "trace_rate": "4"}
    assert rig.post("/v2/trace/setting", on)["trace_rate"] == "4"
    rig.post("/v2/models/lenet/trace/setting", {"trace_rate": ["1"]})
    assert rig.get("/v2/models/lenet/trace/setting")["trace_rate"] == "1"
    assert (trace.ratio(), trace.ratio("lenet"), trace.ratio("traffic")) == (0.25, 1.0, 0.25)
    rig.post("/v2/models/lenet/trace/setting", {"trace_rate": None})
    rig.post("/v2/trace/setting", {"trace_level": None})
    assert changes == [0.25, 1.0, 0.25, 0.0]
    assert rig.refused("POST", "/v2/trace/setting", {"trace_rate": "0"})[0] == 400
    assert rig.refused("POST", "/v2/trace/setting", {"trace_levels": ["OFF"]})[0] == 400
    assert rig.refused("POST", "/v2/trace/setting", {"trace_count": "5"})[0] == 501
    assert rig.refused("GET", "/v2/models/nothing/trace/setting")[0] == 404


def test_tracing_that_nobody_does_is_refused(rig: WebRig) -> None:
    status, line = rig.refused("POST", "/v2/trace/setting", {"trace_level": ["TIMESTAMPS"]})
    assert (status, "started without tracing" in line) == (501, True)


def test_paths_and_methods_that_are_not_there(rig: WebRig) -> None:
    status, line = rig.refused("GET", "/v2/model/lenet")
    assert (status, line) == (
        404,
        "no resource '/v2/model/lenet'; did you mean '/v2/models/lenet'?",
    )
    assert "/v2 says" in rig.refused("GET", "/nothing/of/all/that/is")[1]
    answer = rig.http("DELETE", "/v2/models/lenet")
    assert (answer.status, dict(answer.headers)["allow"]) == (405, "GET, HEAD")
    assert rig.http("HEAD", "/v2/models/lenet").status == 200
    assert rig.refused("GET", "/v2/repository/index")[0] == 405
    assert rig.get("/v2/models/lenet?verbose=1")["name"] == "lenet"
    assert rig.get("/v2/models/le%6eet")["name"] == "lenet"
    assert rig.refused("GET", "/v2/models//ready")[0] == 404


@pytest.mark.parametrize("body", [b"{", b"[]", b"5", b"\xff", b'{"a":' * 5000, b"null"])
def test_bodies_that_are_no_object_are_refused(rig: WebRig, body: bytes) -> None:
    for target in ("/v2/repository/index", "/v2/logging", "/v2/repository/models/lenet/load"):
        assert rig.refused("POST", target, body)[0] == 400


PARTS = (
    "v2 models lenet stats config repository load index logging region systemsharedmemory register"
)
SETTINGS = "trace_level trace_rate log_info log_file log_verbose_level"
OTHERS = "parameters config key offset byte_size ready repository_name unload_dependents x"
KEYS = st.sampled_from([*SETTINGS.split(), *OTHERS.split()])
TARGETS = st.one_of(
    st.text(max_size=60).map(lambda text: f"/v2/{text}"),
    st.lists(
        st.sampled_from([*PARTS.split(), "trace", "setting", "", "%00", "..", "?"]), max_size=7
    ).map(lambda parts: "/" + "/".join(parts)),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


PER_TEST = [HealthCheck.function_scoped_fixture]


@settings(max_examples=300, deadline=None, suppress_health_check=PER_TEST)
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT", "", "é"]),
    target=TARGETS,
    body=st.binary(max_size=40)
    | st.dictionaries(KEYS, VALUES, max_size=4).map(msgspec.json.encode),
)
def test_whatever_comes_is_answered_with_a_status_and_at_most_one_line(
    rig: WebRig, method: str, target: str, body: bytes
) -> None:
    answer = rig.web.handle(WebRequest(method=method, target=target, body=body))
    if answer is None:
        assert rig.open.pop() is not None
        return
    assert answer.status in {200, 400, 404, 405, 409, 501, 503}
    if answer.status not in {200, 503}:
        line = msgspec.json.decode(answer.body)["error"]
        assert line
        assert len(line.splitlines()) == 1
