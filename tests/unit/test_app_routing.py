"""Apps on their way from backends' states into the frontend's loop."""

from typing import Any

import msgspec
import pytest

from glet.serve.app_routing import app_routing, tightest_ms
from glet.serve.control_report import COUNTED, app_counters, counters
from glet.serve.frontend_report import models_body
from glet.serve.route_table import RouteTable, routing
from glet.types.app import AppSpec, AppStage, Source, StageInput
from glet.types.device import DeviceInfo
from glet.types.model import ModelSpec, Signature, TensorSpec
from glet.wire.messages import AppState, BackendState, GpuletState, LoadedModel, ModelState

ROWS = TensorSpec(name="rows", dtype="float32", shape=(3, 2))
X = TensorSpec(name="x", dtype="float32", shape=(2,))
Y = TensorSpec(name="y", dtype="float32", shape=(2,))


def model(name: str, output: TensorSpec = Y) -> ModelState:
    signature = Signature(inputs=(X,), outputs=(output,))
    spec = ModelSpec(name=name, signature=signature, slo_ms=50.0, max_batch=8)
    return ModelState(name=name, state="known", spec=spec)


def stage(name: str, takes: Source) -> AppStage:
    inputs = (StageInput(name="x", source=takes, split=True),)
    return AppStage(name=name, model=f"m-{name}", each=3, inputs=inputs, outputs=(Y,))


APP = AppSpec(
    name="app",
    signature=Signature(inputs=(ROWS,), outputs=(msgspec.structs.replace(ROWS, name="out"),)),
    slo_ms=100.0,
    stages=(stage("a", Source(tensor="rows")), stage("b", Source(stage="a", tensor="y"))),
    outputs=(Source(stage="b", tensor="y"),),
)


def state(name: str = "one", **changes: Any) -> BackendState:
    loaded = tuple(
        LoadedModel(
            name=m, model=i, batch=8, state="ready", weight=1.0,
            latency_ms=((1, ms), (8, ms), (16, ms / 100)),
        )
        for i, (m, ms) in enumerate((("m-a", 20.0), ("m-b", 2.0)))
    )  # fmt: skip
    given: dict[str, Any] = {
        "seq": 1,
        "name": name,
        "incarnation": "i",
        "number": 0,
        "device": DeviceInfo(name="d", kind="profiled", type="t", emulated=True),
        "models": (model("m-a"), model("m-b")),
        "apps": (AppState(name="app", spec=APP),),
        "gpulets": (
            GpuletState(
                gpulet=0, executor=0, share_pct=50, given_pct=50.0, state="ready", models=loaded
            ),
        ),
        **changes,
    }
    return BackendState(**given)


class Loop:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, arguments))

    def take(self, name: str) -> list[Any]:
        found = [arguments for called, arguments in self.calls if called == name]
        self.calls.clear()
        return found


def test_an_app_reaches_the_loop_as_numbers_and_only_once() -> None:
    loop = Loop()
    table = RouteTable(loop)
    wanted = routing({"one": state()}, frozenset())
    assert table.apply(wanted)
    [(name, _, slo_ms, stages, outputs)] = loop.take("set_app")
    assert (name, slo_ms, outputs) == ("app", 100.0, [2])
    rows = [(s, m, each, inputs) for s, m, each, _, inputs, _ in stages]
    assert rows == [("a", "m-a", 3, [(0, True)]), ("b", "m-b", 3, [(1, True)])]
    # 20 ms against 2 ms, within batches that it may run, and a batch in progress to wait for.
    budgets = [budget_ms for *_, budget_ms, _, _ in stages]
    assert budgets[0] >= 40.0
    assert budgets[0] > budgets[1] >= 4.0
    assert sum(budgets) == pytest.approx(100.0)
    assert not table.apply(routing({"one": state()}, frozenset()))
    assert loop.calls == []
    table.apply(routing({"one": state(apps=())}, frozenset()))
    assert loop.take("remove_model") == [("app",)]


def test_an_app_is_let_in_by_the_least_part_of_its_models() -> None:
    loop = Loop()
    table = RouteTable(loop)
    table.apply(routing({"one": state()}, frozenset()))
    table.admit({"m-a": 0.75, "m-b": 0.5})
    assert sorted(loop.take("set_accept")) == [("app", 0.5), ("m-a", 0.75), ("m-b", 0.5)]
    table.admit({"m-a": 0.75})
    assert sorted(loop.take("set_accept")) == [("app", 0.75), ("m-b", 1.0)]


def test_an_app_goes_with_its_models_and_does_not_stand_in_for_one() -> None:
    changed = msgspec.structs.replace(Y, shape=(5,))
    for models in (
        (model("m-a"),),
        (model("m-a"), model("m-b", changed)),
        (model("m-a"), model("m-b"), model("app")),
    ):
        found = routing({"one": state(models=models)}, frozenset())
        assert found.apps == {}
        body = models_body({"one": state(models=models)}, found)
        if "app" not in {m.name for m in models}:
            assert body["app"]["state"] == "failed"
            assert "not what it was made for" in body["app"]["error"]


def test_a_broken_app_is_listed_with_its_error() -> None:
    broken = state(apps=(AppState(name="app", error="app 'app': has no stage"),))
    body = models_body({"one": broken}, routing({"one": broken}, frozenset()))
    assert (body["app"]["state"], body["app"]["error"]) == ("failed", "app 'app': has no stage")
    assert body["app"]["inputs"] == []


def test_of_two_ideas_of_an_app_the_first_backends_is_right() -> None:
    other = state("two", apps=(AppState(name="app", spec=msgspec.structs.replace(APP, slo_ms=9)),))
    models = {m.name: m.spec for m in state().models if m.spec is not None}
    found = app_routing({"two": other, "one": state()}, models)
    assert found["app"].spec.slo_ms == 100.0
    least = tightest_ms(found)
    assert least["m-a"] + least["m-b"] == pytest.approx(100.0)


def test_a_report_has_counters_of_apps_that_are_served_beside_those_of_models() -> None:
    applied = routing({"one": state()}, frozenset())
    one = {"latency": [(2_000_000, 4)], **dict.fromkeys(COUNTED, 4)}
    stats = {"m-a": one, "app": {**one, "app": True}, "gone": {**one, "app": True}}
    assert [row.model for row in counters(stats, applied.models)] == ["m-a"]
    (row,) = app_counters(stats, applied.apps)
    assert (row.counted.model, row.counted.slo_ms, row.counted.received) == ("app", 100.0, 4)
    assert [(s.stage, s.model, s.requests) for s in row.stages] == [
        ("a", "m-a", 3), ("b", "m-b", 3),
    ]  # fmt: skip
    assert sum(s.budget_ms for s in row.stages) == pytest.approx(100.0)
    assert app_counters({}, applied.apps) == ()
