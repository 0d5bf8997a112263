"""Triton's own HTTP client at the HTTP door."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from fake_executor import LATE, OK
from http_rig import Rig

pytest.importorskip("geventhttpclient")
triton = pytest.importorskip("tritonclient.http")

X = np.arange(4, dtype=np.float32).reshape(1, 4)
Y = np.array([0.1, 2.0], dtype=np.float32)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.close()


@contextmanager
def executor(rig: Rig, outcome: int = OK) -> Iterator[list[bytes]]:
    """Answers one request meanwhile; its tensors are in the list afterwards."""
    got: list[bytes] = []
    thread = threading.Thread(
        target=lambda: got.extend(rig.serve(Y.tobytes(), outcome=outcome).tensors)
    )
    thread.start()
    yield got
    thread.join()


def given(binary: bool) -> list[Any]:
    x = triton.InferInput("x", [1, 4], "FP32")
    x.set_data_from_numpy(X, binary_data=binary)
    return [x]


@pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_it_infers(rig: Rig, binary: bool, packing: str | None) -> None:
    client = triton.InferenceServerClient(rig.address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("m")
    with executor(rig) as got:
        answer = client.infer(
            "m",
            given(binary),
            outputs=[triton.InferRequestedOutput("y", binary_data=binary)],
            request_id="7",
            request_compression_algorithm=packing,
            response_compression_algorithm=packing,
        )
    assert got == [X.tobytes()]
    assert answer.get_response()["id"] == "7"
    np.testing.assert_array_equal(answer.as_numpy("y"), Y.reshape(1, 2))
    client.close()


def test_it_raises_what_went_wrong(rig: Rig) -> None:
    client = triton.InferenceServerClient(rig.address)
    with executor(rig, LATE), pytest.raises(triton.InferenceServerException, match="within"):
        client.infer("m", given(True), timeout=5_000_000)
    with pytest.raises(triton.InferenceServerException, match="did you mean 'pair'"):
        client.infer("pear", given(True))
    client.close()
