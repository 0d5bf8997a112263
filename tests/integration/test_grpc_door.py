"""The gRPC door of a frontend's loop, asked by grpcio: calls, streams, limits, failures."""

import gzip
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from echo_loop import echo_loop
from waiting import wait_for

from glet.errors import ConfigError
from glet.native import core
from glet.serve.nghttp2_path import nghttp2_path

grpc = pytest.importorskip("grpc")
pytest.importorskip("google.protobuf")
oip = pytest.importorskip("oip_messages")

SERVICE = "/inference.GRPCInferenceService/"
WAIT_S = 60.0
BIG = [1 << 22]  # 16 MiB of float32
LONG_MS = 60_000.0
MESSAGE_MB = 64
CONNECTIONS = 8
NO_LIMIT = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@pytest.fixture(scope="module")
def served() -> Iterator[Any]:
    """echo (16 floats), two (an int and a bool), big, and hold, which waits for `go`."""
    try:
        library = nghttp2_path()
    except ConfigError as error:
        pytest.skip(str(error))
    found = SimpleNamespace(go=threading.Event(), address="", batches=[])

    def hold(x: np.ndarray) -> np.ndarray:
        found.batches.append(len(x))
        found.go.wait(WAIT_S)
        return x

    def add_doors(loop: Any) -> None:
        found.address = core.add_grpc_door(
            loop, "127.0.0.1:0", library, max_message_mb=MESSAGE_MB, max_connections=CONNECTIONS
        )

    with echo_loop(add_doors) as rig:
        found.loop = rig.loop
        rig.echo("echo", [("x", "float32", [16])], LONG_MS)
        rig.echo("two", [("n", "int64", []), ("b", "bool", [2])], LONG_MS)
        rig.echo("big", [("x", "float32", BIG)], LONG_MS)
        rig.call("hold", hold, LONG_MS)
        yield found
        found.go.set()


@pytest.fixture
def channel(served: Any) -> Iterator[Any]:
    with grpc.insecure_channel(served.address, options=NO_LIMIT) as opened:
        yield opened


def method(channel: Any, name: str) -> Any:
    return channel.unary_unary(SERVICE + name)


def request(model: str, x: np.ndarray, **fields: Any) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": x.shape}
    return bytes(
        oip.message(
            "ModelInferRequest", model_name=model, inputs=[tensor],
            raw_input_contents=[x.astype(np.float32).tobytes()], **fields,
        ).SerializeToString()
    )  # fmt: skip


def infer(channel: Any, data: bytes, **options: Any) -> Any:
    answer = method(channel, "ModelInfer")(data, timeout=WAIT_S, **options)
    return oip.parse("ModelInferResponse", answer)


def failure(call: Any) -> tuple[Any, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert "\n" not in caught.value.details()
    return caught.value.code(), caught.value.details()


X = np.arange(16, dtype=np.float32)


def test_an_inference_comes_back(channel: Any) -> None:
    answer = infer(channel, request("echo", X, id="seven", model_version="1"))
    assert (answer.model_name, answer.model_version, answer.id) == ("echo", "1", "seven")
    (output,) = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("y0", "FP32", [16])
    assert list(answer.raw_output_contents) == [X.tobytes()]


def test_a_batch_is_as_many_items(channel: Any) -> None:
    batch = np.random.default_rng(1).standard_normal((5, 16)).astype(np.float32)
    answer = infer(channel, request("echo", batch))
    assert list(answer.outputs[0].shape) == [5, 16]
    assert answer.raw_output_contents[0] == batch.tobytes()


def test_typed_contents_and_a_choice_of_outputs(channel: Any) -> None:
    message = oip.message(
        "ModelInferRequest", model_name="two",
        inputs=[
            {"name": "b", "datatype": "BOOL", "shape": [2], "contents": {"bool_contents": [1, 0]}},
            {"name": "n", "datatype": "INT64", "shape": [], "contents": {"int64_contents": [-7]}},
        ],
        outputs=[{"name": "y1"}],
    )  # fmt: skip
    answer = infer(channel, message.SerializeToString())
    assert [output.name for output in answer.outputs] == ["y1"]
    assert list(answer.raw_output_contents) == [b"\x01\x00"]


def test_big_tensors_pass_both_ways(channel: Any) -> None:
    big = np.random.default_rng(2).standard_normal(BIG).astype(np.float32)
    answer = infer(channel, request("big", big))
    assert answer.raw_output_contents[0] == big.tobytes()


def test_many_calls_at_once_get_each_their_own(channel: Any) -> None:
    def ask(number: int) -> bool:
        x = np.full(16, number, dtype=np.float32)
        return bool(infer(channel, request("echo", x)).raw_output_contents[0] == x.tobytes())

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(400)))


@pytest.mark.parametrize("packing", ["Gzip", "Deflate"])
def test_a_compressed_request_is_read_and_answered(channel: Any, packing: str) -> None:
    x = np.zeros((32, 16), dtype=np.float32)
    answer = infer(channel, request("echo", x), compression=grpc.Compression[packing])
    assert answer.raw_output_contents[0] == x.tobytes()


def test_health(channel: Any, served: Any) -> None:
    assert oip.parse("ServerLiveResponse", method(channel, "ServerLive")(b"")).live
    assert oip.parse("ServerReadyResponse", method(channel, "ServerReady")(b"")).ready
    for name, version, ready in [("echo", "", True), ("echo", "1", True), ("echo", "2", False),
                                 ("none", "", False)]:  # fmt: skip
        asked = oip.message("ModelReadyRequest", name=name, version=version)
        answer = method(channel, "ModelReady")(asked.SerializeToString())
        assert oip.parse("ModelReadyResponse", answer).ready is ready


def test_a_stream_answers_every_request_and_goes_on_after_errors(channel: Any) -> None:
    def requests() -> Iterator[bytes]:
        for number in range(200):
            model = "ecko" if number % 10 == 3 else "echo"
            yield request(model, np.full(16, number, dtype=np.float32), id=str(number))
        yield b"\xff"

    answers = channel.stream_stream(SERVICE + "ModelStreamInfer")(requests(), timeout=WAIT_S)
    seen, refused = set(), []
    for data in answers:
        answer = oip.parse("ModelStreamInferResponse", data)
        if answer.error_message:
            refused.append((answer.infer_response.id, answer.error_message))
            continue
        number = int(answer.infer_response.id)
        wanted = np.full(16, number, dtype=np.float32).tobytes()
        assert answer.infer_response.raw_output_contents[0] == wanted
        seen.add(number)
    assert seen == {number for number in range(200) if number % 10 != 3}
    assert len(refused) == 21
    assert ("3", "no model 'ecko'; did you mean 'echo'?") in refused
    assert any("malformed ModelInferRequest" in line for _, line in refused)


def test_big_tensors_pass_on_a_stream(channel: Any) -> None:
    big = np.random.default_rng(3).standard_normal(BIG).astype(np.float32)
    stream = channel.stream_stream(SERVICE + "ModelStreamInfer")
    answers = stream(iter([request("big", big)] * 3), timeout=WAIT_S)
    for data in answers:
        answer = oip.parse("ModelStreamInferResponse", data)
        assert answer.infer_response.raw_output_contents[0] == big.tobytes()


def test_what_is_wrong_is_said_in_one_line_with_its_status(channel: Any) -> None:
    code = grpc.StatusCode
    other_version = request("echo", X, model_version="3")
    for call, wanted, line in [
        (lambda: infer(channel, request("ecko", X)), code.NOT_FOUND, "did you mean 'echo'?"),
        (lambda: infer(channel, other_version), code.NOT_FOUND, "valid: '1'"),
        (lambda: infer(channel, request("echo", X[:3])), code.INVALID_ARGUMENT, "expected FP32"),
        (lambda: infer(channel, b"\x0a\xff"), code.INVALID_ARGUMENT, "malformed ModelInferRequest"),
        (lambda: method(channel, "Nonsense")(b""), code.UNIMPLEMENTED, "no method"),
        (
            lambda: infer(channel, bytes((MESSAGE_MB << 20) + 1)),
            code.RESOURCE_EXHAUSTED,
            f"up to {MESSAGE_MB << 20} are valid",
        ),
    ]:  # fmt: skip
        found, details = failure(call)
        assert (found, line in details) == (wanted, True), details


def test_the_smaller_of_both_deadlines_holds(channel: Any) -> None:
    microsecond = {"timeout": {"int64_param": 1}}
    code, details = failure(lambda: infer(channel, request("echo", X, parameters=microsecond)))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "could not answer within 0.001 ms" in details


def test_a_cancelled_call_is_taken_back(served: Any, channel: Any) -> None:
    four = np.zeros(4, dtype=np.float32)
    call = method(channel, "ModelInfer")
    running = call.future(request("hold", four), timeout=WAIT_S)
    wait_for(lambda: served.batches)
    waiting = call.future(request("hold", four), timeout=WAIT_S)
    wait_for(lambda: served.loop.stats()["hold"]["outstanding"] == 2)
    waiting.cancel()
    wait_for(lambda: served.loop.stats()["hold"]["outstanding"] == 1)
    served.go.set()
    answer = oip.parse("ModelInferResponse", running.result())
    assert answer.raw_output_contents[0] == four.tobytes()
    wait_for(lambda: served.loop.outstanding() == 0)


def test_a_peer_that_goes_takes_its_calls_along(served: Any) -> None:
    served.go.clear()
    with grpc.insecure_channel(served.address) as gone:
        four = np.zeros(4, dtype=np.float32)
        held = method(gone, "ModelInfer").future(request("hold", four), timeout=WAIT_S)
        wait_for(lambda: served.loop.stats()["hold"]["outstanding"] == 1)
        assert not held.done()
    wait_for(lambda: served.loop.stats()["hold"]["outstanding"] == 0)
    served.go.set()


def test_python_answers_what_the_core_does_not(served: Any, channel: Any) -> None:
    asked = method(channel, "ServerMetadata").future(
        b"\x08\x01", timeout=WAIT_S, metadata=[("who", "me")]
    )
    ((door, call, protocol, http_method, target, headers, body),) = wait_for(served.loop.take_web)
    assert (protocol, http_method, target, body) == (
        "grpc",
        "",
        SERVICE + "ServerMetadata",
        b"\x08\x01",
    )
    assert ("who", "me") in headers
    served.loop.answer_web(door, call, 0, [], b"answer")
    assert asked.result() == b"answer"
    asked = method(channel, "ModelConfig").future(b"", timeout=WAIT_S)
    ((door, call, *_),) = wait_for(served.loop.take_web)
    served.loop.answer_web(door, call, 5, [], "kein Modell: ä%\n".encode())
    with pytest.raises(grpc.RpcError) as caught:
        asked.result()
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "kein Modell: ä%\n"


def test_connections_beyond_the_limit_are_closed(served: Any) -> None:
    own = [("grpc.use_local_subchannel_pool", 1)]
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            opened = stack.enter_context(grpc.insecure_channel(served.address, options=own))
            method(opened, "ServerLive")(b"", timeout=WAIT_S)
        beyond = stack.enter_context(grpc.insecure_channel(served.address, options=own))
        code, _ = failure(lambda: method(beyond, "ServerLive")(b"", timeout=WAIT_S))
        assert code is grpc.StatusCode.UNAVAILABLE


def test_gzip_of_too_much_is_refused(served: Any) -> None:
    with grpc.insecure_channel(served.address) as channel:
        bomb = bytes((MESSAGE_MB << 20) + 1)
        assert len(gzip.compress(bomb, 1)) < 1 << 20
        code, details = failure(lambda: infer(channel, bomb, compression=grpc.Compression.Gzip))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert f"more than {MESSAGE_MB << 20} bytes when unpacked" in details


def test_a_traceparent_is_of_its_own_call_only(served: Any, channel: Any) -> None:
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    served.loop.set_trace_ratio(0.0, {})
    infer(channel, request("echo", X), metadata=[("traceparent", f"00-{trace}-{span}-01")])
    infer(channel, request("echo", X))
    rows = [row[:4] for row in served.loop.take_traces()]
    assert rows == [("echo", "ok", trace, span)]
