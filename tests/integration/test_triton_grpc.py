"""Triton's own gRPC client, plain and for asyncio, against real daemons."""

import asyncio
import json
import queue
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import numpy as np
import pytest
from served_models import LIMIT_S, Served, pending, served_models, write
from waiting import wait_for

from glet.errors import ConfigError

pytest.importorskip("google.protobuf")
triton = pytest.importorskip("tritonclient.grpc")
aio = pytest.importorskip("tritonclient.grpc.aio")
shm = pytest.importorskip("tritonclient.utils.shared_memory")
ml_dtypes = pytest.importorskip("ml_dtypes")

X = np.arange(8, dtype=np.float32).reshape(2, 4)
ONE = X[:1]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    try:
        with served_models(tmp_path_factory.mktemp("served")) as found:
            yield found
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture
def client(served: Served) -> Iterator[Any]:
    with triton.InferenceServerClient(served.grpc) as made:
        yield made


@pytest.fixture
def closed_gate(served: Served) -> Iterator[Served]:
    """`slow` stays in its first batch until the gate is removed."""
    served.gate.touch()
    yield served
    served.gate.unlink(missing_ok=True)


def given(array: np.ndarray, name: str = "x", datatype: str = "FP32") -> Any:
    tensor = triton.InferInput(name, array.shape, datatype)
    tensor.set_data_from_numpy(array)
    return tensor


def counted(client: Any, model: str) -> Any:
    """inference_stats of a model."""
    (stats,) = client.get_inference_statistics(model).model_stats
    return stats.inference_stats


def test_what_there_is(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("double", "1")
    assert not client.is_model_ready("double", "2")
    assert not client.is_model_ready("nobody")
    server = client.get_server_metadata(as_json=True)
    assert server["name"] == "glet"
    assert {"statistics", "system_shared_memory", "binary_tensor_data"} <= {*server["extensions"]}
    model = client.get_model_metadata("kinds")
    assert {tensor.name: tensor.datatype for tensor in model.inputs}["BF16"] == "BF16"
    assert list(model.inputs[0].shape) == [-1, 3]
    config = client.get_model_config("double").config
    assert (config.name, config.max_batch_size) == ("double", 8)
    assert not config.model_transaction_policy.decoupled
    states = {row.name: row.state for row in client.get_model_repository_index().models}
    assert states == dict.fromkeys(("add", "double", "kinds", "slow", "text"), "READY")


def test_tensors_of_every_datatype_come_back_as_they_went(client: Any) -> None:
    rng = np.random.default_rng(4)
    sent: dict[str, np.ndarray] = {"BOOL": np.array([[True, False, True]])}
    for bits in (8, 16, 32, 64):
        for kind in ("INT", "UINT"):
            limits = np.iinfo(f"{kind.lower()}{bits}")
            sent[f"{kind}{bits}"] = np.array([[limits.min, 7, limits.max]], limits.dtype)
    for kind, dtype in [("FP16", np.float16), ("BF16", ml_dtypes.bfloat16), ("FP32", np.float32),
                        ("FP64", np.float64)]:  # fmt: skip
        sent[kind] = rng.standard_normal((1, 3)).astype(dtype)
    answer = client.infer("kinds", [given(array, kind, kind) for kind, array in sent.items()])
    for kind, array in sent.items():
        got = answer.as_numpy(f"{kind}_same")
        assert got.tobytes() == array.tobytes(), kind
        assert got.shape == array.shape


def test_strings_are_bytes_of_any_length(client: Any) -> None:
    rows = np.array([[b"a\0b", "grün".encode()], [b"", b"x" * 1000]], dtype=object)
    answer = client.infer("text", [given(rows, datatype="BYTES")])
    wanted = [[b"A\0B", "grün".encode().upper()], [b"", b"X" * 1000]]
    assert answer.as_numpy("y").tolist() == wanted
    too_long = np.array([[b"x" * 1025, b""]], dtype=object)
    with pytest.raises(triton.InferenceServerException, match="at most 1024"):
        client.infer("text", [given(too_long, datatype="BYTES")])


@pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
def test_it_infers(client: Any, packing: str | None) -> None:
    answer = client.infer(
        "double",
        [given(X)],
        model_version="1",
        outputs=[triton.InferRequestedOutput("y")],
        request_id="7",
        priority=1,
        timeout=200_000_000,
        headers={"x-any": "header"},
        compression_algorithm=packing,
    )
    assert answer.get_response().id == "7"
    np.testing.assert_array_equal(answer.as_numpy("y"), X * 2)
    assert answer.as_numpy("nothing") is None


def test_a_choice_of_two_outputs(client: Any) -> None:
    inputs = [given(X, "b"), given(X + 1, "a")]
    answer = client.infer("add", inputs, outputs=[triton.InferRequestedOutput("product")])
    assert [output.name for output in answer.get_response().outputs] == ["product"]
    np.testing.assert_array_equal(answer.as_numpy("product"), X * (X + 1))


def test_answers_by_callback(client: Any) -> None:
    ended: queue.Queue[tuple[Any, Any]] = queue.Queue()
    for number in range(20):
        client.async_infer(
            "double", [given(ONE + number)], lambda result, error: ended.put((result, error)),
            request_id=str(number),
        )  # fmt: skip
    client.async_infer("dubble", [given(ONE)], lambda result, error: ended.put((result, error)))
    seen = [ended.get(timeout=LIMIT_S) for _ in range(21)]
    (error,) = [error for _, error in seen if error is not None]
    assert "did you mean 'double'" in str(error)
    for result in (result for result, _ in seen if result is not None):
        wanted = 2 * (ONE + int(result.get_response().id))
        np.testing.assert_array_equal(result.as_numpy("y"), wanted)


def test_a_stream_answers_each_request_and_outlives_errors(client: Any) -> None:
    ended: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: ended.put((result, error)))
    with pytest.raises(triton.InferenceServerException, match="single active stream"):
        client.start_stream(print)
    for number in range(30):
        model = "nobody" if number == 10 else "double"
        inputs = [given(ONE[:, :3] if number == 20 else ONE + number)]
        client.async_stream_infer(model, inputs, request_id=str(number))
    client.stop_stream()
    seen = [ended.get(timeout=LIMIT_S) for _ in range(30)]
    assert ended.empty()
    errors = sorted(str(error) for _, error in seen if error is not None)
    assert len(errors) == 2
    assert "no model 'nobody'" in errors[1]
    assert "input 'x'" in errors[0]
    numbers = set()
    for result in (result for result, error in seen if error is None):
        number = int(result.get_response().id)
        numbers.add(number)
        np.testing.assert_array_equal(result.as_numpy("y"), 2 * (ONE + number))
    assert numbers == {*range(30)} - {10, 20}


def test_a_stream_that_is_cancelled_takes_its_requests_along(
    client: Any, closed_gate: Served
) -> None:
    before = counted(client, "slow").fail.count
    ended: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: ended.put((result, error)))
    for _ in range(4):
        client.async_stream_infer("slow", [given(ONE)])
    wait_for(lambda: pending(closed_gate, "slow") == 4)
    client.stop_stream(cancel_requests=True)
    _, error = ended.get(timeout=LIMIT_S)
    assert "cancelled" in str(error).lower()
    wait_for(lambda: counted(client, "slow").fail.count == before + 4)
    assert pending(closed_gate, "slow") == 0


def test_a_call_that_is_cancelled_frees_its_place(client: Any, closed_gate: Served) -> None:
    before = counted(client, "slow")
    ended: queue.Queue[tuple[Any, Any]] = queue.Queue()
    calls = [
        client.async_infer("slow", [given(ONE)], lambda result, error: ended.put((result, error)))
        for _ in range(3)
    ]
    wait_for(lambda: pending(closed_gate, "slow") == 3)
    for call in calls[1:]:
        call.cancel()
    errors = [ended.get(timeout=LIMIT_S)[1] for _ in range(2)]
    assert all("cancelled" in str(error).lower() for error in errors)
    wait_for(lambda: pending(closed_gate, "slow") == 1)
    closed_gate.gate.unlink()
    result, error = ended.get(timeout=LIMIT_S)
    assert error is None
    np.testing.assert_array_equal(result.as_numpy("y"), ONE * 2)
    wait_for(lambda: counted(client, "slow").fail.count == before.fail.count + 2)
    after = counted(client, "slow")
    assert after.success.count == before.success.count + 1
    assert after.fail.ns > before.fail.ns


def test_a_client_that_gives_up_takes_its_request_back(client: Any, closed_gate: Served) -> None:
    before = counted(client, "slow").fail.count
    with pytest.raises(triton.InferenceServerException, match=r"(?i)deadline exceeded"):
        client.infer("slow", [given(ONE)], client_timeout=0.2)
    wait_for(lambda: pending(closed_gate, "slow") == 0)
    assert counted(client, "slow").fail.count == before + 1


def test_a_deadline_in_the_request_is_the_servers(client: Any) -> None:
    with pytest.raises(triton.InferenceServerException, match="could not answer within") as late:
        client.infer("double", [given(ONE)], timeout=1)
    assert late.value.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_what_is_wrong_has_a_code_and_one_line(client: Any) -> None:
    ask: list[tuple[Callable[[], Any], str, str]] = [
        (lambda: client.infer("nobody", [given(ONE)]), "NOT_FOUND", "no model 'nobody'"),
        (lambda: client.infer("double", [given(ONE)], model_version="9"), "NOT_FOUND", "valid"),
        (lambda: client.infer("double", [given(ONE, "z")]), "INVALID_ARGUMENT", "'z'"),
        (lambda: client.infer("double", [given(ONE[:, :2])]), "INVALID_ARGUMENT", "'x'"),
        (
            lambda: client.infer("double", [given(ONE.astype(np.int32), datatype="INT32")]),
            "INVALID_ARGUMENT",
            "INT32",
        ),
        (
            lambda: client.infer(
                "double", [given(ONE)], outputs=[triton.InferRequestedOutput("q")]
            ),
            "INVALID_ARGUMENT",
            "'q'",
        ),
        (lambda: client.get_model_metadata("dubble"), "NOT_FOUND", "did you mean 'double'"),
        (lambda: client.load_model("nobody"), "NOT_FOUND", "model 'nobody': not in"),
        (lambda: client.unload_model("nobody"), "NOT_FOUND", "no model 'nobody'"),
        (lambda: client.update_log_settings({"log_file": "x"}), "UNIMPLEMENTED", "log_file"),
        (
            lambda: client.register_cuda_shared_memory("r", b"AAAA", 0, 4),
            "UNIMPLEMENTED",
            "take system shared memory",
        ),
        (
            lambda: client.register_system_shared_memory("r", "/not_there", 4),
            "INVALID_ARGUMENT",
            "not_there",
        ),
    ]  # fmt: skip
    for call, code, words in ask:
        with pytest.raises(triton.InferenceServerException) as refused:
            call()
        assert refused.value.status() == f"StatusCode.{code}", refused.value
        assert words in refused.value.message()
        assert "\n" not in refused.value.message()


def test_tensors_in_shared_memory(client: Any) -> None:
    key = f"/glet_test_{uuid.uuid4().hex}"
    region = shm.create_shared_memory_region("io", key, 2 * X.nbytes)
    try:
        client.register_system_shared_memory("io", key, 2 * X.nbytes)
        status = client.get_system_shared_memory_status("io", as_json=True)
        assert status["regions"]["io"]["byte_size"] == str(2 * X.nbytes)
        shm.set_shared_memory_region(region, [X])
        tensor = triton.InferInput("x", X.shape, "FP32")
        tensor.set_shared_memory("io", X.nbytes)
        wanted = triton.InferRequestedOutput("y")
        wanted.set_shared_memory("io", X.nbytes, offset=X.nbytes)
        answer = client.infer("double", [tensor], outputs=[wanted])
        assert answer.get_output("y").parameters["shared_memory_region"].string_param == "io"
        result = shm.get_contents_as_numpy(region, np.float32, X.shape, offset=X.nbytes)
        np.testing.assert_array_equal(result, X * 2)
        here = triton.InferRequestedOutput("sum")
        here.set_shared_memory("io", X.nbytes, offset=X.nbytes)
        both = [here, triton.InferRequestedOutput("product")]
        answer = client.infer("add", [given(X, "a"), given(X, "b")], outputs=both)
        np.testing.assert_array_equal(answer.as_numpy("product"), X * X)
        result = shm.get_contents_as_numpy(region, np.float32, X.shape, offset=X.nbytes)
        np.testing.assert_array_equal(result, X + X)
        tensor.set_shared_memory("io", X.nbytes, offset=2 * X.nbytes)
        with pytest.raises(triton.InferenceServerException, match="io") as refused:
            client.infer("double", [tensor])
        assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"
        client.unregister_system_shared_memory("io")
        assert not client.get_system_shared_memory_status().regions
        assert not client.get_cuda_shared_memory_status().regions
    finally:
        shm.destroy_shared_memory_region(region)


def test_statistics_count_what_was_answered(client: Any) -> None:
    before = counted(client, "add")
    for _ in range(3):
        client.infer("add", [given(X, "a"), given(X, "b")])
    with pytest.raises(triton.InferenceServerException):
        client.infer("add", [given(X, "a"), given(X, "b")], timeout=1)
    after = counted(client, "add")
    assert after.success.count == before.success.count + 3 * len(X)
    assert after.compute_infer.ns > before.compute_infer.ns
    assert after.fail.count > before.fail.count
    everything = client.get_inference_statistics(as_json=True)["model_stats"]
    assert "add" in {row["name"] for row in everything}


def test_settings_of_logs_and_traces(client: Any) -> None:
    before = client.get_log_settings(as_json=True)["settings"]
    changed = client.update_log_settings({"log_verbose_level": 1, "log_info": False}, as_json=True)
    assert changed["settings"]["log_verbose_level"]["uint32_param"] == 1
    restored = {"log_verbose_level": 0, "log_info": before["log_info"]["bool_param"]}
    client.update_log_settings(restored)
    assert client.get_log_settings(as_json=True)["settings"]["log_info"] == before["log_info"]
    client.update_trace_settings("double", {"trace_rate": "5"})
    own = client.get_trace_settings("double").settings
    assert list(own["trace_rate"].value) == ["5"]
    assert list(client.get_trace_settings().settings["trace_rate"].value) == ["1000"]
    client.update_trace_settings("double", {"trace_rate": None})
    assert list(client.get_trace_settings("double").settings["trace_rate"].value) == ["1000"]
    with pytest.raises(triton.InferenceServerException, match="without tracing"):
        client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]})


def test_models_come_and_go(client: Any, served: Served) -> None:
    four = ("float32", "[4]")
    write(served.models, "late", {"x": four}, {"y": four}, "def infer(x):\n    return x * 3\n")
    client.load_model("late")
    assert client.is_model_ready("late")
    np.testing.assert_array_equal(client.infer("late", [given(X)]).as_numpy("y"), X * 3)
    client.load_model("late", config=json.dumps({"max_batch_size": 4}))
    assert client.get_model_config("late").config.max_batch_size == 4
    client.unload_model("late")
    assert not client.is_model_ready("late")
    rows = {row.name: row for row in client.get_model_repository_index().models}
    assert (rows["late"].state, rows["late"].reason) == ("UNAVAILABLE", "unloaded")
    with pytest.raises(triton.InferenceServerException):
        client.infer("late", [given(X)])
    with pytest.raises(triton.InferenceServerException, match="files come from") as refused:
        client.load_model("late", config="{}", files={"file:1/model.py": b""})
    assert refused.value.status() == "StatusCode.UNIMPLEMENTED"


def test_pings_of_a_client_that_keeps_alive(served: Served) -> None:
    options = triton.KeepAliveOptions(
        keepalive_time_ms=50, keepalive_timeout_ms=20_000, keepalive_permit_without_calls=True
    )
    with triton.InferenceServerClient(served.grpc, keepalive_options=options) as client:
        ended: queue.Queue[tuple[Any, Any]] = queue.Queue()
        served.gate.touch()
        client.async_infer("slow", [given(ONE)], lambda result, error: ended.put((result, error)))
        with pytest.raises(queue.Empty):
            ended.get(timeout=1.0)  # a long call, with pings meanwhile
        served.gate.unlink()
        result, error = ended.get(timeout=LIMIT_S)
        assert error is None
        np.testing.assert_array_equal(result.as_numpy("y"), ONE * 2)


def test_the_client_for_asyncio(served: Served) -> None:
    async def ask() -> None:
        async with aio.InferenceServerClient(served.grpc) as client:
            assert await client.is_server_ready()
            assert await client.is_model_ready("double")
            assert (await client.get_server_metadata()).name == "glet"
            config = await client.get_model_config("double", as_json=True)
            assert config["config"]["name"] == "double"
            answers = await asyncio.gather(
                *(client.infer("double", [given(ONE + n)]) for n in range(50))
            )
            for number, answer in enumerate(answers):
                np.testing.assert_array_equal(answer.as_numpy("y"), 2 * (ONE + number))
            answer = await client.infer("double", [given(X)], compression_algorithm="gzip")
            np.testing.assert_array_equal(answer.as_numpy("y"), X * 2)
            with pytest.raises(triton.InferenceServerException, match="did you mean"):
                await client.infer("dubble", [given(X)])

            async def requests() -> AsyncIterator[dict[str, Any]]:
                for number in range(5):
                    name = "nobody" if number == 2 else "double"
                    yield {
                        "model_name": name, "inputs": [given(ONE + number)],
                        "request_id": str(number),
                    }  # fmt: skip

            seen, errors = set(), []
            async for result, error in client.stream_infer(requests()):
                if error is not None:
                    errors.append(str(error))
                    continue
                number = int(result.get_response().id)
                np.testing.assert_array_equal(result.as_numpy("y"), 2 * (ONE + number))
                seen.add(number)
            assert (seen, len(errors)) == ({0, 1, 3, 4}, 1)

    asyncio.run(asyncio.wait_for(ask(), LIMIT_S))


def test_a_task_that_is_cancelled_frees_its_place(client: Any, closed_gate: Served) -> None:
    async def ask() -> None:
        async with aio.InferenceServerClient(closed_gate.grpc) as asking:
            tasks = [asyncio.create_task(asking.infer("slow", [given(ONE)])) for _ in range(3)]
            await asyncio.to_thread(wait_for, lambda: pending(closed_gate, "slow") == 3)
            for task in tasks[1:]:
                task.cancel()
            await asyncio.to_thread(wait_for, lambda: pending(closed_gate, "slow") == 1)
            closed_gate.gate.unlink()
            answer, *cancelled = await asyncio.gather(*tasks, return_exceptions=True)
            np.testing.assert_array_equal(answer.as_numpy("y"), ONE * 2)
            assert all(isinstance(each, asyncio.CancelledError) for each in cancelled)

    asyncio.run(asyncio.wait_for(ask(), LIMIT_S))
