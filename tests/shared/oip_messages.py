"""The messages of inference that the core reads and writes itself, for Google's own protobuf.

What the core is compared with. Import it after importorskip("google.protobuf").
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# Message -> "number name type", with `*` after the type of what is repeated, `=` of a map's value.
FIELDS = {
    "InferParameter": [
        "1 bool_param bool", "2 int64_param int64", "3 string_param string",
        "4 double_param double", "5 uint64_param uint64",
    ],
    "InferTensorContents": [
        "1 bool_contents bool*", "2 int_contents int32*", "3 int64_contents int64*",
        "4 uint_contents uint32*", "5 uint64_contents uint64*", "6 fp32_contents float*",
        "7 fp64_contents double*", "8 bytes_contents bytes*",
    ],
    "ModelInferRequest.InferInputTensor": [
        "1 name string", "2 datatype string", "3 shape int64*", "4 parameters InferParameter=",
        "5 contents InferTensorContents",
    ],
    "ModelInferRequest.InferRequestedOutputTensor": [
        "1 name string", "2 parameters InferParameter=",
    ],
    "ModelInferRequest": [
        "1 model_name string", "2 model_version string", "3 id string",
        "4 parameters InferParameter=", "5 inputs ModelInferRequest.InferInputTensor*",
        "6 outputs ModelInferRequest.InferRequestedOutputTensor*", "7 raw_input_contents bytes*",
    ],
    "ModelInferResponse.InferOutputTensor": [
        "1 name string", "2 datatype string", "3 shape int64*", "4 parameters InferParameter=",
        "5 contents InferTensorContents",
    ],
    "ModelInferResponse": [
        "1 model_name string", "2 model_version string", "3 id string",
        "4 parameters InferParameter=", "5 outputs ModelInferResponse.InferOutputTensor*",
        "6 raw_output_contents bytes*",
    ],
    "ModelStreamInferResponse": [
        "1 error_message string", "2 infer_response ModelInferResponse",
    ],
    "ServerLiveResponse": ["1 live bool"],
    "ServerReadyResponse": ["1 ready bool"],
    "ModelReadyRequest": ["1 name string", "2 version string"],
    "ModelReadyResponse": ["1 ready bool"],
}  # fmt: skip
PACKAGE = "glet.test.inference"
Field = descriptor_pb2.FieldDescriptorProto


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="glet_test_oip.proto", package=PACKAGE, syntax="proto3"
    )
    made: dict[str, descriptor_pb2.DescriptorProto] = {}
    for name in sorted(FIELDS, key=lambda full: full.count(".")):
        *outer, own = name.split(".")
        message = made[outer[0]].nested_type.add() if outer else file.message_type.add()
        message.name = own
        made[name] = message
    for name, rows in FIELDS.items():
        for row in rows:
            _add_field(made[name], f"{PACKAGE}.{name}", row)
    parameter = made["InferParameter"]
    parameter.oneof_decl.add().name = "parameter_choice"
    for field in parameter.field:
        field.oneof_index = 0
    return file


def _add_field(message: descriptor_pb2.DescriptorProto, full: str, row: str) -> None:
    number, name, kind = row.split()
    field = message.field.add(name=name, number=int(number), label=Field.LABEL_OPTIONAL)
    if kind[-1] in "*=":
        field.label = Field.LABEL_REPEATED
    if kind.endswith("="):
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=Field.LABEL_OPTIONAL, type=Field.TYPE_STRING)
        value = entry.field.add(name="value", number=2, label=Field.LABEL_OPTIONAL)
        _set_type(value, kind[:-1])
        field.type, field.type_name = Field.TYPE_MESSAGE, f".{full}.{entry.name}"
    else:
        _set_type(field, kind.rstrip("*"))


def _set_type(field: descriptor_pb2.FieldDescriptorProto, kind: str) -> None:
    if kind[0].islower():
        field.type = getattr(Field, f"TYPE_{kind.upper()}")
    else:
        field.type, field.type_name = Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"


_pool = descriptor_pool.DescriptorPool()
_pool.Add(_file())


def message(kind: str, /, **fields: Any) -> Any:
    """A message of that kind, `"ModelInferRequest"`; nested ones may be given as dicts."""
    descriptor = _pool.FindMessageTypeByName(f"{PACKAGE}.{kind}")
    return message_factory.GetMessageClass(descriptor)(**fields)


def parse(kind: str, data: bytes) -> Any:
    found = message(kind)
    found.ParseFromString(data)
    return found
