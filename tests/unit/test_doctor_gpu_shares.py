"""What doctor says of the shares of a GPU, by what was seen on them."""

import msgspec
import pytest

from glet.serve.doctor_gpu_shares import bad_units, judge_gpu_shares
from glet.serve.doctor_gpu_work import ShareErrors, ShareFacts

GOOD: dict[str, float | None] = {"float32": 1e-6, "float16": 3e-4, "bfloat16": 3e-3}


def share(units: int, network: float | None = 1e-3, **gemm: float | None) -> ShareErrors:
    return ShareErrors(units=units, sms=8 * units, gemm=GOOD | gemm, network=network)


FACTS = ShareFacts(
    device="Fake GPU",
    unit_sms=2,
    sm_ids=((0, 1), (2, 3), (4, 5)),
    shares=(share(1), share(2), share(3)),
    alone_ms=10.0,
    together_ms=10.4,
)


@pytest.mark.parametrize(
    ("change", "state", "says"),
    [
        ({}, "ok", "3 disjoint units; two gpulets run side by side"),
        ({"sm_ids": ((0, 1), (2, 3), (3, 4))}, "failed", "units 1 and 2 both run on SM 3"),
        ({"together_ms": 19.8}, "failed", "take 2.0 times as long as one"),
        (
            {"shares": (share(1), share(7, bfloat16=0.92))},
            "failed",
            "on 56 SMs results are off by float32 1.0e-06, float16 3.0e-04, bfloat16 9.2e-01",
        ),
        ({"shares": (share(1, float16=None), share(2))}, "failed", "float16 no number"),
        ({"shares": (share(1), share(2, network=0.5))}, "failed", "2-unit network 5.0e-01"),
    ],
)
def test_a_sentence_for_what_was_seen(change: dict[str, object], state: str, says: str) -> None:
    finding = judge_gpu_shares(msgspec.structs.replace(FACTS, **change))
    assert finding.state == state
    assert says in finding.says


def test_which_shares_are_not_to_be_planned() -> None:
    shares = (share(3, bfloat16=0.92), share(2), share(1, network=None))
    assert bad_units(msgspec.structs.replace(FACTS, shares=shares)) == (1, 3)
    assert bad_units(FACTS) == ()
