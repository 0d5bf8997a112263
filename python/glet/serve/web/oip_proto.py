"""The messages of inference.GRPCInferenceService, as far as Python answers them.

Names and numbers are those of the public grpc_service.proto and model_config.proto of the Open
Inference Protocol. The descriptors live in a pool of their own: a process may have others of the
same names. Needs the package protobuf.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"

_Field = descriptor_pb2.FieldDescriptorProto

# Message -> "number name type" of its fields; `*` repeats, `a|b` is a map from a to b, a `?` is in
# the message's one oneof. Types with a capital are messages here.
MESSAGES = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "1 live bool",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "1 ready bool",
    "ModelReadyRequest": "1 name string, 2 version string",
    "ModelReadyResponse": "1 ready bool",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "1 name string, 2 version string, 3 extensions string*",
    "ModelMetadataRequest": "1 name string, 2 version string",
    "TensorMetadata": "1 name string, 2 datatype string, 3 shape int64*",
    "ModelMetadataResponse": "1 name string, 2 versions string*, 3 platform string, "
    "4 inputs TensorMetadata*, 5 outputs TensorMetadata*",
    "ModelConfigRequest": "1 name string, 2 version string",
    "ModelConfigResponse": "1 config ModelConfig",
    "ModelStatisticsRequest": "1 name string, 2 version string",
    "ModelStatisticsResponse": "1 model_stats ModelStatistics*",
    "ModelStatistics": "1 name string, 2 version string, 3 last_inference uint64, "
    "4 inference_count uint64, 5 execution_count uint64, 6 inference_stats InferStatistics, "
    "7 batch_stats InferBatchStatistics*, 8 memory_usage MemoryUsage*, "
    "9 response_stats string|InferResponseStatistics",
    "StatisticDuration": "1 count uint64, 2 ns uint64",
    "InferStatistics": "1 success StatisticDuration, 2 fail StatisticDuration, "
    "3 queue StatisticDuration, 4 compute_input StatisticDuration, "
    "5 compute_infer StatisticDuration, 6 compute_output StatisticDuration, "
    "7 cache_hit StatisticDuration, 8 cache_miss StatisticDuration",
    "InferBatchStatistics": "1 batch_size uint64, 2 compute_input StatisticDuration, "
    "3 compute_infer StatisticDuration, 4 compute_output StatisticDuration",
    "InferResponseStatistics": "1 compute_infer StatisticDuration, "
    "2 compute_output StatisticDuration, 3 success StatisticDuration, 4 fail StatisticDuration, "
    "5 empty_response StatisticDuration, 6 cancel StatisticDuration",
    "MemoryUsage": "1 type string, 2 id int64, 3 byte_size uint64",
    "ModelRepositoryParameter": "1 bool_param bool?, 2 int64_param int64?, 3 string_param string?, "
    "4 bytes_param bytes?",
    "RepositoryIndexRequest": "1 repository_name string, 2 ready bool",
    "RepositoryIndexResponse": "1 models ModelIndex*",
    "ModelIndex": "1 name string, 2 version string, 3 state string, 4 reason string",
    "RepositoryModelLoadRequest": "1 repository_name string, 2 model_name string, "
    "3 parameters string|ModelRepositoryParameter",
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": "1 repository_name string, 2 model_name string, "
    "3 parameters string|ModelRepositoryParameter",
    "RepositoryModelUnloadResponse": "",
    "SystemSharedMemoryStatusRequest": "1 name string",
    "SystemSharedMemoryStatusResponse": "1 regions string|SystemRegion",
    "SystemRegion": "1 name string, 2 key string, 3 offset uint64, 4 byte_size uint64",
    "SystemSharedMemoryRegisterRequest": "1 name string, 2 key string, 3 offset uint64, "
    "4 byte_size uint64",
    "SystemSharedMemoryRegisterResponse": "",
    "SystemSharedMemoryUnregisterRequest": "1 name string",
    "SystemSharedMemoryUnregisterResponse": "",
    "CudaSharedMemoryStatusRequest": "1 name string",
    "CudaSharedMemoryStatusResponse": "1 regions string|CudaRegion",
    "CudaRegion": "1 name string, 2 device_id uint64, 3 byte_size uint64",
    "CudaSharedMemoryRegisterRequest": "1 name string, 2 raw_handle bytes, 3 device_id int64, "
    "4 byte_size uint64",
    "CudaSharedMemoryRegisterResponse": "",
    "CudaSharedMemoryUnregisterRequest": "1 name string",
    "CudaSharedMemoryUnregisterResponse": "",
    "TraceSettingRequest": "1 settings string|TraceValue, 2 model_name string",
    "TraceSettingResponse": "1 settings string|TraceValue",
    "TraceValue": "1 value string*",
    "LogSettingsRequest": "1 settings string|LogValue",
    "LogSettingsResponse": "1 settings string|LogValue",
    "LogValue": "1 bool_param bool?, 2 uint32_param uint32?, 3 string_param string?",
    "ModelConfig": "1 name string, 2 platform string, 17 backend string, "
    "3 version_policy VersionPolicy, 4 max_batch_size int32, 5 input ModelInput*, "
    "6 output ModelOutput*, 11 dynamic_batching DynamicBatching, 7 instance_group InstanceGroup*, "
    "14 parameters string|ModelParameter, 19 model_transaction_policy TransactionPolicy",
    "VersionPolicy": "3 specific SpecificVersions",
    "SpecificVersions": "1 versions int64*",
    "ModelInput": "1 name string, 2 data_type DataType, 3 format Format, 4 dims int64*, "
    "6 is_shape_tensor bool, 7 allow_ragged_batch bool, 8 optional bool",
    "ModelOutput": "1 name string, 2 data_type DataType, 3 dims int64*, 4 label_filename string, "
    "6 is_shape_tensor bool",
    "DynamicBatching": "1 preferred_batch_size int32*, 2 max_queue_delay_microseconds uint64, "
    "3 preserve_ordering bool, 6 default_queue_policy QueuePolicy",
    "QueuePolicy": "1 timeout_action TimeoutAction, 2 default_timeout_microseconds uint64, "
    "3 allow_timeout_override bool, 4 max_queue_size uint32",
    "InstanceGroup": "1 name string, 4 kind Kind, 2 count int32, 3 gpus int32*",
    "ModelParameter": "1 string_value string",
    "TransactionPolicy": "1 decoupled bool",
    "HealthCheckRequest": "1 service string",
    "HealthCheckResponse": "1 status ServingStatus",
}
ENUMS = {
    "DataType": "TYPE_INVALID TYPE_BOOL TYPE_UINT8 TYPE_UINT16 TYPE_UINT32 TYPE_UINT64 TYPE_INT8 "
    "TYPE_INT16 TYPE_INT32 TYPE_INT64 TYPE_FP16 TYPE_FP32 TYPE_FP64 TYPE_STRING TYPE_BF16",
    "Format": "FORMAT_NONE FORMAT_NHWC FORMAT_NCHW",
    "TimeoutAction": "REJECT DELAY",
    "Kind": "KIND_AUTO KIND_GPU KIND_CPU KIND_MODEL",
    "ServingStatus": "UNKNOWN SERVING NOT_SERVING SERVICE_UNKNOWN",
}
"""Values from 0 on."""


def message_class(name: str) -> Any:
    """The class of a message of MESSAGES."""
    return _CLASSES[name]


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="glet/oip.proto", package=PACKAGE, syntax="proto3"
    )
    for name, values in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values.split()):
            enum.value.add(name=value, number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in filter(None, fields.split(", ")):
            at, field_name, kind = field.split()
            _add_field(message, int(at), field_name, kind)
    return file


def _add_field(message: descriptor_pb2.DescriptorProto, number: int, name: str, kind: str) -> None:
    field = message.field.add(name=name, number=number)
    field.label = (
        _Field.LABEL_REPEATED if kind.endswith("*") or "|" in kind else _Field.LABEL_OPTIONAL
    )
    if "|" in kind:
        key, value = kind.split("|")
        entry = message.nested_type.add(name=f"{_camel(name)}Entry")
        entry.options.map_entry = True
        _add_field(entry, 1, "key", key)
        _add_field(entry, 2, "value", value)
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{message.name}.{entry.name}"
        return
    if kind.endswith("?"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    base = kind.rstrip("*?")
    if base in ENUMS:
        field.type, field.type_name = _Field.TYPE_ENUM, f".{PACKAGE}.{base}"
    elif base in MESSAGES:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{base}"
    else:
        field.type = getattr(_Field, f"TYPE_{base.upper()}")


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in MESSAGES
    }


_CLASSES = _classes()
