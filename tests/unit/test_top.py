"""Frames of `glet top` from observations, without a terminal."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from glet.cli.main import main
from glet.cli.top import Top
from glet.cli.top_view import frame, widths
from glet.clock import ManualClock
from glet.errors import UnavailableError
from glet.types.observation import (
    AppObservation,
    DeviceObservation,
    GpuletObservation,
    ModelObservation,
    Observation,
    Outcomes,
    StageObservation,
    TenantObservation,
)

TENANT = TenantObservation(
    model="lenet", state="ready", batch=8, served_rps=90.0, mean_batch=4.0, waiting=7, busy=0.5
)
GPULET = GpuletObservation(
    gpulet=0, share_pct=60, given_pct=60.0, state="ready", busy=0.5, models=(TENANT,)
)
DEVICES = (
    DeviceObservation(
        device=0, name="gpu0", type="t", kind="profiled", alive=True, emulated=True,
        gpulets=(GPULET,),
    ),
    DeviceObservation(device=1, name="gpu1", type="t", kind="profiled", alive=False),
)  # fmt: skip
MODEL = ModelObservation(
    model="lenet", slo_ms=25.0, offered_rps=100.0, goodput_rps=90.0, p50_ms=5.0, p99_ms=30.0,
    outcomes=Outcomes(ok=90, late=10),
)  # fmt: skip


def body(**changes: Any) -> dict[str, Any]:
    seen = Observation(now_s=1.0, span_s=1.0, models=(MODEL,), devices=DEVICES)
    controller = {"state": "running", "mode": "follow", "round": 3, "pid": 1, "restarts": 0,
                  "error": ""}  # fmt: skip
    change = {
        "ago_s": 4.0,
        "text": "plan 2: 1 gpulet on 1 device (x)",
        "errors": [],
        "reorganises": True,
    }
    said = {"observation": msgspec.to_builtins(seen), "age_s": 0.2, "controller": controller,
            "changes": [change]}  # fmt: skip
    return {**said, **changes}


def text(rendered: Any, width: int = 100) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(rendered)
    return captured.get()


def test_a_frame_shows_devices_models_and_changes() -> None:
    shown = text(frame("tcp://x:1", body(), 100)).splitlines()
    assert "follow, round 3, 1 of 2 emulated devices in use" in shown[0]
    bar, fill = (
        next(i for i, line in enumerate(shown) if line.startswith("gpu0")) + n for n in (0, 1)
    )
    assert "60% lenet" in shown[bar]
    cells = shown[fill]
    share = (cells.count("█") + cells.count("░")) / (len(cells.rstrip()) - cells.index("│") - 2)
    assert share == pytest.approx(0.6, abs=0.03)
    assert cells.count("█") == pytest.approx(cells.count("░"), abs=1)
    assert any(line.startswith("gpu1 lost") and "idle" in line for line in shown)
    row = next(line for line in shown if line.strip().startswith("lenet"))
    assert row.split()[1:] == [
        "100",
        "90.0",
        "5.00",
        "30.0",
        "25.0",
        "4.00",
        "7",
        "1.00",
        "0",
        "10",
    ]
    assert any("4 s ago  plan 2" in line for line in shown)


def test_an_app_is_a_row_with_its_stages_below() -> None:
    stages = (
        StageObservation(stage="find", model="rows", requests=1, budget_ms=40.0),
        StageObservation(stage="lenet", model="lenet", requests=1, budget_ms=15.0),
        StageObservation(stage="read", model="lenet", requests=3, budget_ms=60.0),
    )
    app = AppObservation(
        app="street", slo_ms=100.0, offered_rps=9.0, goodput_rps=6.0, p50_ms=40.0, p99_ms=110.0,
        outcomes=Outcomes(ok=6, late=3), stages=stages,
    )  # fmt: skip
    seen = Observation(now_s=1.0, span_s=1.0, models=(MODEL,), apps=(app,), devices=DEVICES)
    shown = text(frame("a", body(observation=msgspec.to_builtins(seen)), 100)).splitlines()
    at = next(index for index, line in enumerate(shown) if line.strip().startswith("street"))
    row, *below = (line.split() for line in shown[at : at + 4])
    assert row == ["street", "9.00", "6.00", "40.0", "110", "100", "-", "-", "-", "0", "3"]
    assert below == [
        ["find:", "rows", "40.0"],
        ["lenet", "15.0"],
        ["read:", "lenet", "x", "3", "60.0"],
    ]


def test_a_frame_says_what_is_not_there() -> None:
    down = {**body()["controller"], "state": "down", "error": "ended by SIGKILL"}
    said = text(frame("a", body(controller=down, age_s=9.0), 100))
    assert "controller down (ended by SIGKILL): the last plan keeps serving" in said
    assert "9 s old" in said
    nothing = body(observation=None, age_s=None)
    assert "nothing observed yet" in text(frame("a", nothing, 100))
    assert "no controller" in text(frame("a", {**nothing, "controller": None}, 100))


def test_a_frontend_that_is_gone_leaves_the_last_frame() -> None:
    answers: list[Any] = [body(), UnavailableError("broke"), body()]

    def ask() -> dict[str, Any]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    clock = ManualClock()
    top = Top("a", ask, Console(width=100), clock)
    assert "frontend" not in text(top.look())
    clock.sleep_s(3.0)
    gone = text(top.look())
    assert "frontend not reached for 3 s, trying again: broke" in gone
    assert "60% lenet" in gone
    assert "frontend" not in text(top.look())


@given(st.lists(st.integers(1, 100), max_size=20), st.integers(40, 200))
def test_cells_are_as_wide_as_shares(shares: list[int], room: int) -> None:
    cells = widths(shares, room)
    whole = max(100, sum(shares))
    for share, cell in zip(shares, cells, strict=True):
        assert cell == 2 or abs(cell - room * share / whole) <= 1.0


@pytest.mark.parametrize("interval", ["0", "nan", "1e9"])
def test_a_wrong_interval_is_one_line(interval: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--interval", interval]) == 2
    assert "--interval" in capsys.readouterr().err


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["top", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "example:" in shown
    assert "tcp://127.0.0.1:5555" in shown
