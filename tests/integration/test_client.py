"""Client and AsyncClient against a frontend that the test plays."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glet
from glet.errors import (
    REQUEST_ERRORS,
    ConfigError,
    InvalidInputError,
    ModelNotFoundError,
    ProtocolVersionError,
    RequestError,
    UnavailableError,
    WireError,
)

X = np.arange(4, dtype=np.float32)
Fake = Callable[..., Any]


def hold(frontend: Any, client: bytes, header: dict[str, Any], tensors: list[bytes]) -> None:
    frontend.held.append((client, header, tensors))


def hold_then_reverse(count: int) -> Callable[..., None]:
    """Answers nothing until `count` requests are there, then all of them, the last first."""

    def on_infer(frontend: Any, *request: Any) -> None:
        hold(frontend, *request)
        if len(frontend.held) == count:
            while frontend.held:
                frontend.compute(*frontend.held.pop())

    return on_infer


def heard_infer(frontend: Any) -> dict[str, Any]:
    while True:
        header = frontend.heard.get(timeout=60)
        if header["op"] == "infer":
            return header


def test_one_output_is_an_array_and_several_are_a_dict(fake_frontend: Fake) -> None:
    with glet.Client(fake_frontend().address) as client:
        assert np.array_equal(client.infer("double", X), X * 2)
        outputs = client.infer("pair", {"a": np.array([1, 2]), "b": np.array([3, 4])})
    assert {name: array.tolist() for name, array in outputs.items()} == {
        "sum": [4, 6],
        "product": [3, 8],
    }


def test_a_result_says_where_the_time_went(fake_frontend: Fake) -> None:
    with glet.Client(fake_frontend().address) as client:
        result = client.infer_detailed("double", X)
    assert (result.batch, result.queue_ms, result.batch_ms, result.execute_ms) == (3, 1.5, 0.25, 2)


def test_models_and_stats(fake_frontend: Fake) -> None:
    with glet.Client(fake_frontend().address) as client:
        assert client.models()["double"]["inputs"] == [["x", "float32", [4]]]
        assert client.stats()["uptime_s"] == 1.5


def test_lists_take_the_dtype_of_the_model_and_arrays_keep_theirs(fake_frontend: Fake) -> None:
    with glet.Client(fake_frontend().address) as client:
        assert client.infer("double", [1, 2, 3, 4.5]).dtype == np.float32
        assert client.infer("pair", {"a": [1, 2], "b": np.array([1, 1])})["sum"].dtype == np.int64
        with pytest.raises(InvalidInputError, match="float64"):
            client.infer("double", X.astype(np.float64))
        with pytest.raises(InvalidInputError, match="'x'"):
            client.infer("double", ["a", "b", "c", "d"])
        with pytest.raises(InvalidInputError, match="complex64"):
            client.infer("double", X.astype(np.complex64))
        with pytest.raises(InvalidInputError, match="give a dict with a, b"):
            client.infer("pair", X)
        with pytest.raises(ModelNotFoundError, match="valid are double, early, pair"):
            client.infer("none", X)
        with pytest.raises(UnavailableError, match="not loaded"):
            client.infer("early", X)


def test_any_layout_of_an_array_arrives_as_its_values(fake_frontend: Fake) -> None:
    with glet.Client(fake_frontend().address) as client:
        assert np.array_equal(client.infer("double", np.arange(8, dtype="f4")[::2]), X * 4)
        assert np.array_equal(client.infer("double", X.astype(">f4")), X * 2)


def test_signatures_are_asked_for_once_and_again_after_an_error(fake_frontend: Fake) -> None:
    frontend = fake_frontend()
    with glet.Client(frontend.address) as client:
        for _ in range(3):
            client.infer("double", X)
        with pytest.raises(InvalidInputError):
            client.infer("double", X.astype(np.int8))
        client.infer("double", X)
    ops = [frontend.heard.get()["op"] for _ in range(frontend.heard.qsize())]
    assert ops == ["hello", "models", *["infer"] * 4, "models", "infer"]


def echo(frontend: Any, client: bytes, header: dict[str, Any], tensors: list[bytes]) -> None:
    answer = {"op": "result", "id": header["id"], "outputs": header["inputs"], "batch": 1}
    frontend.send(client, answer, *tensors)


def taking(dtype: str, *shape: int) -> dict[str, Any]:
    spec = [["x", dtype, list(shape)]]
    return {"any": {"inputs": spec, "outputs": spec, "slo_ms": 100.0}}


@pytest.mark.parametrize("inputs", [{"x": np.array([0x3F80, 0x4000], np.uint16)}, [1.0, 2.0]])
def test_bfloat16_travels_as_uint16(fake_frontend: Fake, inputs: Any) -> None:
    frontend = fake_frontend(on_infer=echo, models=taking("bfloat16", 2))
    with glet.Client(frontend.address) as client:
        out = client.infer("any", inputs)
    assert heard_infer(frontend)["inputs"] == [["x", "bfloat16", [2]]]
    assert out.dtype == np.uint16
    assert out.tolist() == [0x3F80, 0x4000]


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64"])
def test_unsigned_integers_travel_as_they_are(fake_frontend: Fake, dtype: str) -> None:
    frontend = fake_frontend(on_infer=echo, models=taking(dtype, 2))
    most = np.iinfo(dtype).max
    with glet.Client(frontend.address) as client:
        for inputs in ([7, most], {"x": np.array([7, most], dtype)}):
            out = client.infer("any", inputs)
            assert heard_infer(frontend)["inputs"] == [["x", dtype, [2]]]
            assert out.dtype == np.dtype(dtype)
            assert out.tolist() == [7, most]
        with pytest.raises(InvalidInputError, match="'x' cannot become"):
            client.infer("any", [7, most + 1])


STRINGS = [
    ["", "Zürich"],
    np.array(["", "Zürich"]),
    np.array([b"", "Zürich".encode()]),
    np.array([b"", "Zürich"], dtype=object),
    np.array([["x", "Zürich"], ["x", ""]])[::-1, 1],
]


@pytest.mark.parametrize("inputs", STRINGS)
def test_strings_travel_with_their_lengths(fake_frontend: Fake, inputs: Any) -> None:
    heard: list[bytes] = []

    def note(frontend: Any, client: bytes, header: dict[str, Any], tensors: list[bytes]) -> None:
        heard.extend(tensors)
        echo(frontend, client, header, tensors)

    frontend = fake_frontend(on_infer=note, models=taking("bytes", 2))
    with glet.Client(frontend.address) as client:
        out = client.infer("any", inputs)
    assert heard == [b"\0\0\0\0\7\0\0\0Z\xc3\xbcrich"]
    assert heard_infer(frontend)["inputs"] == [["x", "bytes", [2]]]
    assert out.dtype == object
    assert out.tolist() == [b"", "Zürich".encode()]


def test_what_is_no_string_is_named(fake_frontend: Fake) -> None:
    frontend = fake_frontend(on_infer=echo, models=taking("bytes", 2))
    with glet.Client(frontend.address) as client:
        with pytest.raises(InvalidInputError, match="input 'x': element 1 is a int; valid are"):
            client.infer("any", ["a", 1])
        with pytest.raises(InvalidInputError, match="element 0 is a str that UTF-8 cannot hold"):
            client.infer("any", ["\ud800", "a"])


@pytest.mark.parametrize(
    "frame", [b"", b"\1\0\0\0", b"\0\0\0\0", b"\0" * 9, b"\xff" * 8, b"\1\0\0\0a\2\0\0\0b"]
)
def test_strings_of_a_peer_that_lies_about_lengths(fake_frontend: Fake, frame: bytes) -> None:
    def lie(frontend: Any, client: bytes, header: dict[str, Any], _: list[bytes]) -> None:
        echo(frontend, client, header, [frame])

    frontend = fake_frontend(on_infer=lie, models=taking("bytes", 2))
    with (
        glet.Client(frontend.address) as client,
        pytest.raises(WireError, match=r"output 'x' (ends|has)"),
    ):
        client.infer("any", ["a", "b"])


@pytest.mark.parametrize("shape", [(), (0, 3), (3, 5), (512, 600)])
def test_any_shape_comes_back(fake_frontend: Fake, shape: tuple[int, ...]) -> None:
    def echo(frontend: Any, client: bytes, header: dict[str, Any], tensors: list[bytes]) -> None:
        frontend.send(
            client, {"op": "result", "id": header["id"], "outputs": header["inputs"]}, *tensors
        )

    given = np.random.default_rng(0).random(shape)
    with glet.Client(fake_frontend(on_infer=echo).address) as client:
        out = client.infer("any", {"x": given})
    assert out.shape == shape
    assert np.array_equal(out, given)
    assert out.flags.aligned


@pytest.mark.parametrize("code", [*REQUEST_ERRORS, "of a later version"])
def test_every_error_code_has_its_class(fake_frontend: Fake, code: str) -> None:
    def refuse(frontend: Any, client: bytes, header: dict[str, Any], _: list[bytes]) -> None:
        frontend.error(client, header["id"], code, "what the frontend says")

    with (
        glet.Client(fake_frontend(on_infer=refuse).address) as client,
        pytest.raises(RequestError, match="what the frontend says") as raised,
    ):
        client.infer("double", {"x": X})
    assert type(raised.value) is REQUEST_ERRORS.get(code, RequestError)


def test_the_deadline_is_sent(fake_frontend: Fake) -> None:
    frontend = fake_frontend()
    with glet.Client(frontend.address) as client:
        client.infer("double", {"x": X}, deadline_ms=12.5)
        client.infer("double", {"x": X})
    assert heard_infer(frontend)["deadline_ms"] == 12.5
    assert "deadline_ms" not in heard_infer(frontend)


def test_the_callers_trace_is_sent(fake_frontend: Fake) -> None:
    frontend = fake_frontend()
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with glet.Client(frontend.address) as client:
        client.infer_detailed("double", {"x": X}, deadline_ms=12.5, traceparent=traceparent)
        client.infer_detailed("double", {"x": X}, traceparent=traceparent)
        client.infer("double", {"x": X})
    first, second, third = (heard_infer(frontend) for _ in range(3))
    assert (first["traceparent"], first["deadline_ms"]) == (traceparent, 12.5)
    assert second["traceparent"] == traceparent
    assert "traceparent" not in third


def test_answers_in_any_order_reach_the_right_threads(fake_frontend: Fake) -> None:
    frontend = fake_frontend(on_infer=hold_then_reverse(16))
    with glet.Client(frontend.address) as client, ThreadPoolExecutor(16) as pool:
        outs = list(pool.map(lambda i: client.infer("double", {"x": X + i}), range(16)))
    for i, out in enumerate(outs):
        assert np.array_equal(out, (X + i) * 2)


def test_many_threads_share_one_client(fake_frontend: Fake) -> None:
    def ask(client: glet.Client, worker: int) -> None:
        for i in range(40):
            given = X + worker * 1000 + i
            assert np.array_equal(client.infer("double", given), given * 2)

    with glet.Client(fake_frontend().address) as client, ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda worker: ask(client, worker), range(12)))


def garbage_answers(request: int) -> dict[str, tuple[Any, ...]]:
    head = {"op": "result", "id": request, "outputs": [["y", "float32", [4]]]}
    return {
        "frame of another size": (head, b"123"),
        "frame missing": (head,),
        "frame too many": (head, bytes(16), bytes(16)),
        "frames by the hundred": (head, *[b"1"] * 200),
        "no outputs": ({"op": "result", "id": request}, bytes(16)),
        "outputs of another kind": ({**head, "outputs": "y"}, bytes(16)),
        "unknown dtype": ({**head, "outputs": [["y", "float31", [4]]]}, bytes(16)),
        "negative size": ({**head, "outputs": [["y", "float32", [-4]]]}, bytes(16)),
        "huge size": ({**head, "outputs": [["y", "float64", [2**62, 8]]]}, bytes(16)),
        "unknown op": ({"op": "surprise", "id": request},),
    }


@pytest.mark.parametrize("kind", garbage_answers(0))
def test_a_malformed_answer_is_an_error_of_that_request(fake_frontend: Fake, kind: str) -> None:
    def answer(frontend: Any, client: bytes, header: dict[str, Any], _: list[bytes]) -> None:
        frontend.send(client, *garbage_answers(header["id"])[kind])
        frontend.on_infer = type(frontend).compute

    with glet.Client(fake_frontend(on_infer=answer).address) as client:
        with pytest.raises(WireError, match="malformed"):
            client.infer("double", {"x": X})
        assert np.array_equal(client.infer("double", {"x": X}), X * 2)


def test_frames_that_belong_to_nobody_are_dropped_and_counted(fake_frontend: Fake) -> None:
    junk = [
        b"",
        b"\xc1",
        b"\xff" * 100,
        b"\x81\xa2op",
        [1, 2],
        {"op": "result"},
        {"op": "error", "id": None, "error": "invalid_input", "message": "unreadable"},
        {"op": "result", "id": -1, "outputs": []},
        {"op": "result", "id": 2**62, "outputs": []},
        {"op": "hello", "version": 77},
        {"id": "text", "op": "result"},
        {"op": "error", "id": 10**6, "error": "late", "message": "too late for anything"},
    ]

    def answer(frontend: Any, client: bytes, header: dict[str, Any], tensors: list[bytes]) -> None:
        for each in junk:
            frontend.send(client, each, b"more", b"frames")
        frontend.compute(client, header, tensors)

    with glet.Client(fake_frontend(on_infer=answer).address) as client:
        assert np.array_equal(client.infer("double", {"x": X}), X * 2)
        counts = client._loop.counts()
    assert counts["garbage"] == 8
    assert counts["stale"] == 3


def test_a_restarted_frontend_is_found_again(fake_frontend: Fake, tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/frontend"
    first = fake_frontend(endpoint, on_infer=hold)
    with glet.Client(endpoint, timeout_s=30) as client, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(client.infer, "double", {"x": X}) for _ in range(4)]
        for _ in asked:
            heard_infer(first)
        first.close()
        for each in asked:
            with pytest.raises(UnavailableError, match="broke before the answer came"):
                each.result(timeout=60)
        fake_frontend(endpoint)
        assert np.array_equal(client.infer("double", {"x": X}), X * 2)
        assert client._loop.counts()["connects"] == 2


def test_a_client_may_start_before_its_frontend(fake_frontend: Fake, tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/frontend"
    with glet.Client(endpoint) as client, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.infer, "double", {"x": X})
        fake_frontend(endpoint)
        assert np.array_equal(asked.result(timeout=60), X * 2)


def test_nobody_there_is_said(tmp_path: Path) -> None:
    with (
        glet.Client(f"ipc://{tmp_path}/none", timeout_s=0.05) as client,
        pytest.raises(UnavailableError, match="no connection to ipc://"),
    ):
        client.models()


def test_a_frontend_that_forgot_the_hello_gets_another(fake_frontend: Fake) -> None:
    frontend = fake_frontend()
    with glet.Client(frontend.address) as client:
        client.infer("double", {"x": X})
        frontend.greeted.clear()
        assert np.array_equal(client.infer("double", {"x": X}), X * 2)
        assert client._loop.counts()["resent"] == 1


def test_asking_for_a_hello_for_ever_has_an_end(fake_frontend: Fake) -> None:
    def forget(frontend: Any, client: bytes, header: dict[str, Any], _: list[bytes]) -> None:
        frontend.error(client, header["id"], "hello_required", "say hello")

    with (
        glet.Client(fake_frontend(on_infer=forget).address) as client,
        pytest.raises(UnavailableError, match="asks for a hello again and again"),
    ):
        client.infer("double", {"x": X})


@pytest.mark.parametrize(
    ("hello", "message"),
    [
        ({"op": "error", "id": None, "error": "version", "message": "2 is spoken"}, "2 is spoken"),
        ({"op": "hello", "version": 2, "role": "frontend"}, "speaks protocol version 2"),
        ({"op": "hello"}, "speaks protocol version none"),
    ],
)
def test_another_version_is_an_error(
    fake_frontend: Fake, hello: dict[str, Any], message: str
) -> None:
    with glet.Client(fake_frontend(hello=hello).address) as client:
        for _ in range(2):
            with pytest.raises(ProtocolVersionError, match=message):
                client.infer("double", {"x": X})


def test_a_request_ends_without_an_answer_and_a_late_one_is_dropped(fake_frontend: Fake) -> None:
    def second_first(frontend: Any, *request: Any) -> None:
        hold(frontend, *request)
        if len(frontend.held) == 2:
            for each in frontend.held:
                frontend.compute(*each)

    with glet.Client(fake_frontend(on_infer=second_first).address, timeout_s=0.3) as client:
        with pytest.raises(UnavailableError, match="no answer from"):
            client.infer("double", {"x": X})
        assert np.array_equal(client.infer("double", {"x": X + 1}), (X + 1) * 2)
        assert client._loop.counts()["stale"] == 1


def test_closing_ends_what_is_in_flight(fake_frontend: Fake) -> None:
    frontend = fake_frontend(on_infer=hold)
    client = glet.Client(frontend.address)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.infer, "double", {"x": X})
        heard_infer(frontend)
        client.close()
        with pytest.raises(UnavailableError, match="closed"):
            asked.result(timeout=60)
    with pytest.raises(UnavailableError, match="closed"):
        client.infer("double", {"x": X})
    client.close()


def test_a_malformed_address_is_refused() -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        glet.Client("nonsense")


def test_no_thread_outlives_its_client(fake_frontend: Fake) -> None:
    address = fake_frontend().address

    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    before = threads(), threading.active_count()
    for _ in range(3):
        with glet.Client(address) as client:
            client.infer("double", X)
        del client
    assert (threads(), threading.active_count()) == before
