"""Load straight into engines, as Python sees it; the loop itself is tested in tests/cpp."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from glet.errors import ArgumentError
from glet.native import core
from glet.observe.report import RECORD_FIELDS, LoadedModel, report

MODEL = 3
PATIENCE_S = 60.0


def signature() -> Any:
    spec = core.TensorSpec("x", "float32", [2])
    return core.Signature([spec], [spec])


@pytest.fixture
def engine() -> Iterator[Any]:
    plan = core.ModelPlan(
        core.LatencyTable([(1, 1000), (8, 1000)]), core.QueueLimits(max_batch=8, capacity=65536)
    )
    with core.Engine() as made:
        for gpulet in (0, 1):
            made.add_gpulet(gpulet, "profiled")
            made.load_null(gpulet, MODEL, signature(), 8, plan)
        yield made


@pytest.fixture
def load() -> Iterator[Any]:
    made = core.EngineLoad(drain_s=PATIENCE_S)
    yield made
    made.close()


def arrivals_ns(count: int, gap_ns: int = 50_000) -> np.ndarray[Any, Any]:
    return np.arange(count, dtype=np.int64) * gap_ns


def sample(size: int = 2) -> list[list[Any]]:
    return [[np.zeros(size, dtype=np.float32)]]


def test_a_run_gives_the_records_that_reports_are_made_of(engine: Any, load: Any) -> None:
    routes = [(engine, 0, MODEL, 1.0), (engine, 1, MODEL, 3.0)]
    assert load.add_model(sample(), arrivals_ns(2000), routes, slo_ms=1e6) == 0
    assert load.add_model(sample(3), arrivals_ns(100), routes) == 1
    load.start()
    assert load.wait(PATIENCE_S)
    records = load.records()
    assert records.dtype.names == RECORD_FIELDS
    models = [LoadedModel(name="good", slo_ms=1e6), LoadedModel(name="misfit", slo_ms=1e6)]
    made = report(records, models, 0.1, device="none", emulated=True)["models"]
    assert (made["good"]["sent"], made["good"]["ok"]) == (2000, 2000)
    assert (made["misfit"]["sent"], made["misfit"]["failed"]) == (100, 100)
    assert made["good"]["unanswered"] == made["misfit"]["unanswered"] == 0
    served = {stats.gpulet: stats.ok for stats in engine.stats()}
    assert served[0] + served[1] == 2000
    assert served[0] > 0
    assert served[1] > 0
    assert load.progress()[0]["good"] == 2000
    assert load.first_batch_ns(0, engine, 1) > 0
    assert load.first_batch_ns(1, engine, 1) is None


def test_sample_order_and_routes_at_run_time(engine: Any, load: Any) -> None:
    order = np.array([0, 0, 1], dtype=np.int32)
    samples = [sample()[0], sample(5)[0]]
    number = load.add_model(samples, arrivals_ns(3), [(engine, 0, MODEL, 1.0)], sample_order=order)
    load.set_routes(number, [(engine, 1, MODEL, 1.0)])
    load.start()
    assert load.wait(PATIENCE_S)
    assert load.records()["outcome"].tolist() == [0, 0, 5]
    assert load.records()["sample"].tolist() == [0, 0, 1]
    assert load.first_batch_ns(number, engine, 0) is None


def test_what_cannot_be_is_refused_in_one_line(engine: Any, load: Any) -> None:
    route = (engine, 0, MODEL, 1.0)
    with pytest.raises(ArgumentError, match="arrivals are not sorted"):
        load.add_model(sample(), arrivals_ns(3)[::-1], [route])
    with pytest.raises(ArgumentError, match="gpulet 0 has weight -1"):
        load.add_model(sample(), arrivals_ns(3), [(engine, 0, MODEL, -1.0)])
    with pytest.raises(ArgumentError, match="no model 0 here; there are 0"):
        load.set_routes(0, [route])
    with pytest.raises(ArgumentError, match="the run is not over"):
        load.records()


def test_a_closed_load_lets_go_of_its_engine(engine: Any, load: Any) -> None:
    load.add_model(sample(), arrivals_ns(1000, gap_ns=10_000_000), [(engine, 0, MODEL, 1.0)])
    load.start()
    load.close()
    assert load.wait(PATIENCE_S)
    assert len(load.records()) < 1000
    with pytest.raises(ArgumentError, match="one run per object"):
        load.start()
