"""What a dashboard shows of the last minutes, and how busy gpulets are."""

from typing import Any

import msgspec
import pytest
from metric_parts import backend_state

from glet.observe.busy import BusyDevices
from glet.observe.history import History
from glet.wire.counters import FrontendCounters, ModelCounters

MS = 1_000_000


def counted(model: str = "m", **counts: Any) -> FrontendCounters:
    return FrontendCounters(model=model, slo_ms=25.0, **counts)


def test_rates_are_over_the_time_between_two_looks() -> None:
    history = History()
    history.add([counted(received=100)], 0.0)
    history.add(
        [
            counted(
                received=120, ok=15, good=12, late=2, full=1, latency=((3 * MS, 14), (9 * MS, 1))
            )
        ],
        2.0,
    )
    columns = history.columns(0, 3.5)
    assert columns == {
        "seq": 1,
        "ago_s": [1.5],
        "models": {
            "m": {"offered_rps": [10.0], "goodput_rps": [6.0], "refused_rps": [1.5],
                  "p50_ms": [3.0], "p99_ms": [9.0]},
        },
    }  # fmt: skip


def test_only_what_is_new_is_told_again() -> None:
    history = History()
    for second in range(4):
        history.add([counted(received=second)], float(second))
    assert history.columns(0, 3.0)["ago_s"] == [2.0, 1.0, 0.0]
    assert history.columns(2, 3.0)["ago_s"] == [0.0]
    assert history.columns(3, 3.0) == {"seq": 3, "ago_s": [], "models": {}}


def test_models_come_and_go() -> None:
    history = History()
    history.add([counted("a")], 0.0)
    history.add([counted("a"), counted("b", received=4)], 1.0)
    history.add([counted("b", received=4)], 2.0)
    models = history.columns(0, 2.0)["models"]
    assert models["a"]["offered_rps"] == [0.0, None]
    assert models["b"]["offered_rps"] == [4.0, 0.0]
    assert models["b"]["p99_ms"] == [None, None]


def test_counters_that_fell_are_of_a_new_life() -> None:
    history = History()
    history.add([counted(received=100)], 0.0)
    history.add([counted(received=7)], 1.0)
    assert history.columns(0, 1.0)["models"]["m"]["offered_rps"] == [7.0]


def test_it_forgets_and_ignores_time_that_stands_still() -> None:
    history = History(kept_s=2.0)
    history.add([], 0.0)
    history.add([], 0.0)
    for second in range(1, 6):
        history.add([counted(received=second)], float(second))
    assert history.columns(0, 5.0)["ago_s"] == [2.0, 1.0, 0.0]


def state(seq: int, at_s: float, busy_ms: float, name: str = "device0") -> Any:
    counters = (ModelCounters(gpulet=5, model=3, busy_ms=busy_ms, at_s=at_s),)
    return msgspec.structs.replace(backend_state(name, counters=counters), seq=seq)


def test_a_gpulet_is_as_busy_as_its_batches_ran() -> None:
    busy = BusyDevices()
    busy.take([state(1, 10.0, 0.0)])
    busy.take([state(2, 10.5, 125.0)])
    assert busy.ratios() == {("device0", 5): pytest.approx(0.25)}


def test_backends_that_are_silent_or_gone_are_not_busy() -> None:
    busy = BusyDevices()
    busy.take([state(1, 0.0, 0.0), state(1, 0.0, 0.0, "other")])
    assert busy.ratios({"device0"}).keys() == {("other", 5)}
    assert [device.alive for device in busy.devices({"device0"})] == [False, True]
    busy.take([state(2, 1.0, 0.0)])
    assert busy.ratios().keys() == {("device0", 5)}
