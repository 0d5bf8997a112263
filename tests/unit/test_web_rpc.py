"""Every operation of the protocol over gRPC: the same answers as over REST, in messages."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from web_parts import MODELS, WebRig

from glet.errors import ModelFailedError
from glet.serve.loading import Override
from glet.serve.web.request import WebRequest
from glet.serve.web.settings import TraceSettings

pytest.importorskip("google.protobuf")

from glet.serve.web.oip_proto import ENUMS, MESSAGES, message_class
from glet.serve.web.rpc import HEALTH, SERVICE

OK, INVALID, NOT_FOUND, EXISTS, UNIMPLEMENTED, INTERNAL = 0, 3, 5, 6, 12, 13


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[WebRig]:
    made = WebRig(tmp_path, TraceSettings(lambda: None))
    yield made
    ask(made, "SystemSharedMemoryUnregister")


def ask(rig: WebRig, method: str, **fields: Any) -> Any:
    """The response, or (code, line)."""
    asked = message_class(f"{method}Request")(**fields)
    request = WebRequest(
        protocol="grpc", method="", target=SERVICE + method, body=asked.SerializeToString()
    )
    answer = rig.web.handle(request)
    if answer is None:
        rig.open.pop()(rig.fail)
        answer = rig.answers.pop()
    if answer.status != OK:
        return answer.status, answer.body.decode()
    return message_class(f"{method}Response").FromString(answer.body)


def test_server_and_health(rig: WebRig) -> None:
    assert ask(rig, "ServerLive").live is True
    assert ask(rig, "ServerReady").ready is True
    server = ask(rig, "ServerMetadata")
    assert server.name == "glet"
    assert list(server.extensions) == rig.get("/v2")["extensions"]

    def health(service: str) -> Any:
        body = message_class("HealthCheckRequest")(service=service).SerializeToString()
        answer = rig.web.handle(WebRequest(protocol="grpc", target=HEALTH, body=body))
        assert answer is not None
        if answer.status:
            return answer.status
        return message_class("HealthCheckResponse").FromString(answer.body).status

    assert [health(name) for name in ("", "lenet", "gone", "x")] == [1, 1, 2, NOT_FOUND]
    rig.ready = False
    assert health("inference.GRPCInferenceService") == 2
    assert ask(rig, "ServerReady").ready is False


def test_models(rig: WebRig) -> None:
    ready = [ask(rig, "ModelReady", name=name).ready for name in ("lenet", "resnet", "x")]
    assert ready == [True, False, False]
    metadata = ask(rig, "ModelMetadata", name="lenet", version="1")
    (image,) = metadata.inputs
    assert (image.datatype, list(image.shape)) == ("FP32", [-1, 1, 28, 28])
    config = ask(rig, "ModelConfig", name="lenet").config
    assert (config.max_batch_size, list(config.input[0].dims)) == (32, [1, 28, 28])
    assert config.input[0].data_type == ENUMS["DataType"].split().index("TYPE_FP32")
    assert list(config.version_policy.specific.versions) == [1]
    assert ask(rig, "ModelConfig", name="traffic").config.platform == "glet_app"
    assert ask(rig, "ModelMetadata", name="lent") == (
        NOT_FOUND, "no model 'lent'; did you mean 'lenet'?",
    )  # fmt: skip
    assert ask(rig, "ModelConfig", name="lenet", version="3")[0] == NOT_FOUND


def test_statistics_and_index(rig: WebRig) -> None:
    (stats,) = ask(rig, "ModelStatistics").model_stats
    assert (stats.name, stats.execution_count) == ("lenet", 4)
    assert stats.inference_stats.compute_infer.ns == 30_000
    assert [row.batch_size for row in stats.batch_stats] == [1, 4]
    rows = ask(rig, "RepositoryIndex").models
    assert [row.name for row in rows] == list(MODELS)
    assert len(ask(rig, "RepositoryIndex", ready=True).models) == 2
    assert ask(rig, "RepositoryIndex", repository_name="r")[0] == INVALID


def test_load_and_unload(rig: WebRig) -> None:
    assert ask(rig, "RepositoryModelLoad", model_name="lenet").ListFields() == []
    parameter = message_class("ModelRepositoryParameter")
    config = {"config": parameter(string_param='{"max_batch": 4}')}
    ask(rig, "RepositoryModelLoad", model_name="lenet", parameters=config)
    assert rig.told[1] == ("load", "lenet", Override(max_batch=4))
    dependents = {"unload_dependents": parameter(bool_param=True)}
    ask(rig, "RepositoryModelUnload", model_name="lenet", parameters=dependents)
    assert rig.told[2] == ("unload", "lenet", True)
    files = {"file:1/model.onnx": parameter(bytes_param=b"x")}
    assert ask(rig, "RepositoryModelLoad", model_name="lenet", parameters=files)[0] == UNIMPLEMENTED
    rig.fail = ModelFailedError("model 'lenet': broke")
    assert ask(rig, "RepositoryModelLoad", model_name="lenet") == (INTERNAL, "model 'lenet': broke")


def test_shared_memory(rig: WebRig, tmp_path: Path) -> None:
    (tmp_path / "tensors").write_bytes(bytes(100))
    region = {"name": "one", "key": "/tensors", "byte_size": 100}
    assert ask(rig, "SystemSharedMemoryRegister", **region).ListFields() == []
    status = ask(rig, "SystemSharedMemoryStatus").regions
    assert (status["one"].key, status["one"].byte_size) == ("/tensors", 100)
    assert ask(rig, "SystemSharedMemoryRegister", **region)[0] == EXISTS
    assert ask(rig, "SystemSharedMemoryStatus", name="two")[0] == NOT_FOUND
    large = {"name": "two", "key": "/tensors", "offset": 2**64 - 1, "byte_size": 2**64 - 1}
    assert ask(rig, "SystemSharedMemoryRegister", **large)[0] == INVALID
    assert ask(rig, "CudaSharedMemoryRegister", name="g")[0] == UNIMPLEMENTED
    assert ask(rig, "CudaSharedMemoryStatus").ListFields() == []
    assert ask(rig, "CudaSharedMemoryUnregister").ListFields() == []
    rig.on_gpu = True
    known = {"raw_handle": bytes(64), "device_id": 1, "byte_size": 100}
    assert ask(rig, "CudaSharedMemoryRegister", name="g", **known).ListFields() == []
    assert rig.cuda_regions == {"g": (bytes(64), 100)}
    status = ask(rig, "CudaSharedMemoryStatus", name="g").regions["g"]
    assert (status.device_id, status.byte_size) == (1, 100)
    assert ask(rig, "CudaSharedMemoryRegister", name="g", **known)[0] == EXISTS
    assert ask(rig, "CudaSharedMemoryRegister", name="one", **known)[0] == EXISTS
    assert ask(rig, "CudaSharedMemoryUnregister", name="g").ListFields() == []
    assert rig.cuda_regions == {}


def test_settings(rig: WebRig) -> None:
    value = message_class("TraceValue")
    given = {"trace_level": value(value=["TIMESTAMPS"]), "trace_rate": value(value=["2"])}
    ask(rig, "TraceSetting", settings=given, model_name="lenet")
    kept = ask(rig, "TraceSetting", model_name="lenet").settings
    assert list(kept["trace_level"].value) == ["TIMESTAMPS"]
    assert list(kept["trace_rate"].value) == ["2"]
    assert list(ask(rig, "TraceSetting").settings["trace_level"].value) == ["OFF"]
    ask(rig, "TraceSetting", settings={"trace_rate": value()}, model_name="lenet")
    kept = ask(rig, "TraceSetting", model_name="lenet").settings
    assert list(kept["trace_rate"].value) == ["1000"]
    log = message_class("LogValue")
    changed = ask(rig, "LogSettings", settings={"log_verbose_level": log(uint32_param=2)}).settings
    assert changed["log_verbose_level"].uint32_param == 2
    assert changed["log_info"].bool_param is True
    assert ask(rig, "LogSettings", settings={"log_info": log(string_param="x")})[0] == INVALID


def test_methods_that_are_not_there(rig: WebRig) -> None:
    for target in (SERVICE + "ModelInfer", SERVICE, "/", "", "/a.B/C"):
        answer = rig.web.handle(WebRequest(protocol="grpc", target=target))
        assert answer is not None
        assert answer.status == UNIMPLEMENTED


METHODS = [HEALTH, *(f"{SERVICE}{name[:-7]}" for name in MESSAGES if name.endswith("Request"))]
PER_TEST = [HealthCheck.function_scoped_fixture]


@settings(max_examples=200, deadline=None, suppress_health_check=PER_TEST)
@given(data=st.data(), body=st.binary(max_size=60))
def test_whatever_comes_is_answered(rig: WebRig, data: st.DataObject, body: bytes) -> None:
    target = data.draw(st.sampled_from(METHODS))
    answer = rig.web.handle(WebRequest(protocol="grpc", target=target, body=body))
    if answer is None:
        rig.open.pop()
    else:
        assert answer.status in {OK, INVALID, NOT_FOUND, EXISTS, UNIMPLEMENTED}
        if answer.status != OK:
            assert len(answer.body.decode().splitlines()) == 1


# Ours -> theirs, where messages have other names because they are nested there.
NAMES = {
    "TensorMetadata": "ModelMetadataResponse.TensorMetadata",
    "ModelIndex": "RepositoryIndexResponse.ModelIndex",
    "SystemRegion": "SystemSharedMemoryStatusResponse.RegionStatus",
    "CudaRegion": "CudaSharedMemoryStatusResponse.RegionStatus",
    "TraceValue": "TraceSettingResponse.SettingValue",
    "LogValue": "LogSettingsResponse.SettingValue",
    "VersionPolicy": "ModelVersionPolicy",
    "SpecificVersions": "ModelVersionPolicy.Specific",
    "DynamicBatching": "ModelDynamicBatching",
    "QueuePolicy": "ModelQueuePolicy",
    "InstanceGroup": "ModelInstanceGroup",
    "TransactionPolicy": "ModelTransactionPolicy",
}


@pytest.mark.parametrize("name", [name for name in MESSAGES if not name.startswith("HealthCheck")])
def test_messages_have_the_numbers_of_the_public_protocol(name: str) -> None:
    try:
        service = import_module("tritonclient.grpc.service_pb2")
        model_config = import_module("tritonclient.grpc.model_config_pb2")
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"tritonclient[grpc] is not installed: {error}")
    outer, *inner = NAMES.get(name, name).split(".")
    types = {
        **service.DESCRIPTOR.message_types_by_name,
        **model_config.DESCRIPTOR.message_types_by_name,
    }
    theirs = types[outer]
    for part in inner:
        theirs = theirs.nested_types_by_name[part]
    ours = message_class(name).DESCRIPTOR
    for field in ours.fields:
        other = theirs.fields_by_name[field.name]
        assert (field.number, field.type, field.is_repeated) == (
            other.number, other.type, other.is_repeated,
        )  # fmt: skip
        assert field.containing_oneof is None or other.containing_oneof is not None
        if field.enum_type is not None:
            values = {value.name: value.number for value in other.enum_type.values}
            assert {value.name: value.number for value in field.enum_type.values} == values
