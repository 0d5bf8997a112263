"""What doctor found of the shares of a GPU is kept for who cuts it."""

from pathlib import Path

import msgspec
import pytest

from glet.serve.doctor_gpu_shares import keep
from glet.serve.doctor_gpu_work import ShareErrors, ShareFacts
from glet.serve.share_gate import bad_units, gate_file

GOOD: dict[str, float | None] = {"float32": 1e-6, "float16": 3e-4, "bfloat16": 3e-3}
FACTS = ShareFacts(
    device="NVIDIA H200",
    driver="13.0",
    unit_sms=8,
    sm_ids=((0, 1), (2, 3), (4, 5)),
    shares=(
        ShareErrors(units=3, sms=24, gemm=GOOD | {"bfloat16": 0.92}, network=1e-3),
        ShareErrors(units=1, sms=8, gemm=GOOD, network=None),
        ShareErrors(units=2, sms=16, gemm=GOOD, network=1e-3),
    ),
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_it_is_found_by_product_and_driver() -> None:
    assert bad_units("NVIDIA H200", "13.0", 8) == ()
    keep(FACTS)
    assert bad_units("NVIDIA H200", "13.0", 8) == (1, 3)
    assert bad_units("NVIDIA H200", "13.1", 8) == ()
    assert bad_units("NVIDIA H100", "13.0", 8) == ()
    # Other units are other kernels.
    assert bad_units("NVIDIA H200", "13.0", 16) == ()


def test_the_last_look_counts() -> None:
    keep(FACTS)
    keep(msgspec.structs.replace(FACTS, shares=FACTS.shares[2:]))
    assert bad_units("NVIDIA H200", "13.0", 8) == ()


def test_a_file_that_cannot_be_read_is_left_aside(caplog: pytest.LogCaptureFixture) -> None:
    keep(FACTS)
    file = gate_file("NVIDIA H200", "13.0")
    file.write_text("{")
    assert bad_units("NVIDIA H200", "13.0", 8) == ()
    assert "run glet doctor again" in caplog.text
    assert str(file) in caplog.text
