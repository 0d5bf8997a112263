"""The core's reader of ModelInferRequest against Google's protobuf, and against anything at all."""

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glet.errors import WireError
from glet.native import core

pytest.importorskip("google.protobuf")
oip = pytest.importorskip("oip_messages")

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
INT64 = st.integers(-(2**63), 2**63 - 1)
PARAMETERS = st.dictionaries(
    TEXT.filter(lambda key: key != "timeout" and not key.startswith("shared_memory")),
    st.one_of(
        st.builds(lambda value: {"bool_param": value}, st.booleans()),
        st.builds(lambda value: {"int64_param": value}, INT64),
        st.builds(lambda value: {"string_param": value}, TEXT),
        st.builds(lambda value: {"double_param": value}, st.floats()),
    ),
    max_size=3,
)
SHAPE = st.lists(INT64, max_size=16)
# Datatype -> field of InferTensorContents, values, numpy's type.
KINDS: dict[str, tuple[str, Any, Any]] = {
    "BOOL": ("bool_contents", st.booleans(), np.bool_),
    "INT8": ("int_contents", st.integers(-128, 127), np.int8),
    "INT16": ("int_contents", st.integers(-(2**15), 2**15 - 1), np.int16),
    "INT32": ("int_contents", st.integers(-(2**31), 2**31 - 1), np.int32),
    "INT64": ("int64_contents", INT64, np.int64),
    "UINT8": ("uint_contents", st.integers(0, 255), np.uint8),
    "UINT16": ("uint_contents", st.integers(0, 2**16 - 1), np.uint16),
    "UINT32": ("uint_contents", st.integers(0, 2**32 - 1), np.uint32),
    "UINT64": ("uint64_contents", st.integers(0, 2**64 - 1), np.uint64),
    "FP32": ("fp32_contents", st.floats(width=32), np.float32),
    "FP64": ("fp64_contents", st.floats(), np.float64),
    "BYTES": ("bytes_contents", st.binary(max_size=20), None),
}


def bytes_of(datatype: str, values: list[Any]) -> bytes:
    """The tensor as raw_input_contents would have it."""
    numpy_type = KINDS[datatype][2]
    if numpy_type is None:
        return b"".join(struct.pack("<I", len(value)) + value for value in values)
    return np.array(values, dtype=numpy_type).tobytes()


def request(**fields: Any) -> bytes:
    return oip.message("ModelInferRequest", **fields).SerializeToString()


@given(
    texts=st.tuples(TEXT, TEXT, TEXT),
    inputs=st.lists(st.tuples(TEXT, TEXT, SHAPE, PARAMETERS, st.binary(max_size=300)), max_size=8),
    outputs=st.lists(st.tuples(TEXT, st.integers(0, 2**20)), max_size=8),
    timeout_us=st.none() | st.integers(0, 2**53),
)
def test_raw_requests_are_read_as_protobuf_wrote_them(
    texts: Any, inputs: Any, outputs: Any, timeout_us: int | None
) -> None:
    data = request(
        model_name=texts[0],
        model_version=texts[1],
        id=texts[2],
        parameters={} if timeout_us is None else {"timeout": {"int64_param": timeout_us}},
        inputs=[
            {"name": name, "datatype": datatype, "shape": shape, "parameters": parameters}
            for name, datatype, shape, parameters, _ in inputs
        ],
        outputs=[
            {"name": name, "parameters": {"classification": {"int64_param": classes}}}
            for name, classes in outputs
        ],
        raw_input_contents=[raw for *_, raw in inputs],
    )
    assert core.read_infer_request(data) == {
        "model": texts[0],
        "version": texts[1],
        "id": texts[2],
        "timeout_us": timeout_us,
        "inputs": [
            {"name": name, "datatype": datatype, "shape": shape, "bytes": raw, "shm": None}
            for name, datatype, shape, _, raw in inputs
        ],
        "outputs": [
            {"name": name, "classification": classes, "shm": None} for name, classes in outputs
        ],
    }


@given(data=st.data(), datatype=st.sampled_from(sorted(KINDS)))
def test_typed_contents_become_the_bytes_of_the_tensor(data: Any, datatype: str) -> None:
    field, values, _ = KINDS[datatype]
    tensor = data.draw(st.lists(values, max_size=30))
    message = request(inputs=[{"datatype": datatype, "contents": {field: tensor}}])
    (found,) = core.read_infer_request(message)["inputs"]
    assert found["bytes"] == bytes_of(datatype, tensor)


def test_values_need_not_be_packed_nor_in_one_place() -> None:
    values = [1.5, -2.0, 0.25]
    first = b"\x35" + struct.pack("<f", values[0])  # field 6 as a fixed32 of its own
    second = b"\x32\x08" + struct.pack("<2f", *values[1:])  # packed
    contents = b"".join(b"\x2a" + bytes([len(part)]) + part for part in (first, second))
    tensor = contents + b"\x12\x04FP32"  # the datatype comes last
    found = core.read_infer_request(b"\x2a" + bytes([len(tensor)]) + tensor)
    assert found["inputs"][0]["bytes"] == np.array(values, dtype=np.float32).tobytes()


def test_shared_memory_is_named_by_parameters() -> None:
    parameters = {
        "shared_memory_region": {"string_param": "region"},
        "shared_memory_byte_size": {"int64_param": 64},
        "shared_memory_offset": {"int64_param": 8},
    }
    raw = np.zeros(2, dtype=np.float32).tobytes()
    data = request(
        inputs=[{"name": "a", "parameters": parameters}, {"name": "b"}],
        outputs=[{"name": "c", "parameters": parameters}],
        raw_input_contents=[raw],
    )
    found = core.read_infer_request(data)
    assert found["inputs"][0]["shm"] == found["outputs"][0]["shm"] == ("region", 8, 64)
    assert found["inputs"][1]["bytes"] == raw


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"inputs": [{}] * 65}, "more than 64 inputs"),
        ({"outputs": [{}] * 65}, "more than 64 outputs"),
        ({"inputs": [{"shape": [1] * 17}]}, "more than 16 dimensions"),
        ({"raw_input_contents": [b"x"]}, "1 raw_input_contents for 0 inputs"),
        ({"parameters": {"timeout": {"string_param": "5"}}}, "'timeout': an int64_param"),
        ({"parameters": {"timeout": {"int64_param": -1}}}, "'timeout': an int64_param"),
        (
            {"inputs": [{"name": "x", "datatype": "FP32", "contents": {"int_contents": [1]}}]},
            "input 'x': values of FP32 are in int_contents; fp32_contents is valid",
        ),
        (
            {"inputs": [{"name": "x", "datatype": "FP16", "contents": {"fp32_contents": [1]}}]},
            "input 'x': FP16 has no typed contents; send it in raw_input_contents",
        ),
        (
            {"inputs": [{"name": "x", "datatype": "INT8", "contents": {"int_contents": [128]}}]},
            "input 'x': 128 does not fit INT8",
        ),
        (
            {
                "inputs": [{"datatype": "FP32", "contents": {"fp32_contents": [1]}}],
                "raw_input_contents": [b"xxxx"],
            },
            "both raw_input_contents and contents",
        ),
        (
            {"inputs": [{"parameters": {"shared_memory_size": {"int64_param": 1}}}]},
            "unknown parameter 'shared_memory_size'",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(fields: dict[str, Any], line: str) -> None:
    with pytest.raises(WireError) as caught:
        core.read_infer_request(request(**fields))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_contents_do_not_grow_beyond_the_limit() -> None:
    data = request(inputs=[{"datatype": "INT64", "contents": {"int64_contents": [1] * 1000}}])
    assert len(core.read_infer_request(data, longest=8000)["inputs"][0]["bytes"]) == 8000
    with pytest.raises(WireError, match="more than 7999 bytes of contents"):
        core.read_infer_request(data, longest=7999)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_one_line(data: bytes) -> None:
    try:
        line = str(core.read_infer_request(data)["inputs"])
    except WireError as error:
        line = str(error)
    assert "\n" not in line


@given(data=st.data())
def test_damaged_requests_are_read_as_protobuf_reads_them(data: Any) -> None:
    """What the core accepts, protobuf accepts, and both find the same in it."""
    good = request(
        model_name="mödel", id="7", model_version="1",
        inputs=[{"name": "x", "datatype": "FP32", "shape": [2, 3]}],
        raw_input_contents=[b"12345678"],
    )  # fmt: skip
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = core.read_infer_request(bytes(damaged))
    except WireError:
        return
    theirs = oip.parse("ModelInferRequest", bytes(damaged))
    assert found["model"] == theirs.model_name
    assert found["id"] == theirs.id
    assert found["version"] == theirs.model_version
    assert [i["name"] for i in found["inputs"]] == [i.name for i in theirs.inputs]
    assert [i["shape"] for i in found["inputs"]] == [list(i.shape) for i in theirs.inputs]


def test_names_and_numbers_are_those_of_tritonclient() -> None:
    service = pytest.importorskip("tritonclient.grpc.service_pb2")
    for name, rows in oip.FIELDS.items():
        descriptor = service.DESCRIPTOR.message_types_by_name[name.split(".")[0]]
        for nested in name.split(".")[1:]:
            descriptor = descriptor.nested_types_by_name[nested]
        ours = oip.message(name).DESCRIPTOR
        assert {(f.number, f.name, f.type) for f in ours.fields} == {
            (f.number, f.name, f.type) for f in descriptor.fields
        }, rows
