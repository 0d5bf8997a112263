"""What a plan may not be, said in a line each."""

import pytest

from glet.types.plan import MOST_WAIT_MS, GpuletPlan, ModelShare, problems


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": 0},
        {"rate_rps": float("nan")},
        {"rate_rps": float("inf")},
        {"time_share": float("nan")},
        {"linger_ms": float("nan")},
        {"linger_ms": float("inf")},
        {"linger_ms": -1.0},
        {"linger_ms": 2.0 * MOST_WAIT_MS},
        {"duty_cycle_ms": float("nan")},
        {"duty_cycle_ms": float("inf")},
        {"duty_cycle_ms": 2.0 * MOST_WAIT_MS},
        {"model": "m" * 300},
    ],
)
def test_numbers_and_names_that_cannot_be_are_said(changes: dict[str, object]) -> None:
    share = ModelShare(**{"model": "m", "batch": 4, **changes})
    (found,) = problems((GpuletPlan(device=0, share_pct=50, models=(share,)),))
    assert len(found) < 200


def test_usual_ones_are_fine() -> None:
    shares = (
        ModelShare(model="a", batch=4, rate_rps=10.0, duty_cycle_ms=25.0, linger_ms=20.0),
        ModelShare(model="b", batch=1, time_share=0.5),
    )
    assert problems((GpuletPlan(device=0, share_pct=50, models=shares),)) == []
