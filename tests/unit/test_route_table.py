"""States of backends become routes; a loop is brought there make-before-break."""

from typing import Any

import msgspec
import pytest

from glet.errors import ArgumentError, ConfigError
from glet.serve.route_table import ExecutorKey, Route, RouteTable, Routing, outlasting, routing
from glet.types.device import DeviceInfo
from glet.types.model import ModelSpec, Signature, TensorSpec
from glet.wire.messages import (
    BackendState,
    ExecutorPhase,
    ExecutorState,
    GpuletState,
    LoadedModel,
    LoadedPhase,
    ModelState,
)

X = TensorSpec(name="x", dtype="float32", shape=(4,))
SPEC = ModelSpec(name="m", signature=Signature(inputs=(X,), outputs=(X,)), slo_ms=10.0, max_batch=8)
KEY = ExecutorKey("b", "life", 0, 1)
NOBODY: frozenset[str] = frozenset()


def state(
    generation: int = 1,
    executor: ExecutorPhase = "ready",
    model: LoadedPhase = "ready",
    name: str = "b",
    spec: ModelSpec = SPEC,
) -> BackendState:
    return BackendState(
        seq=1,
        name=name,
        incarnation="life",
        number=0,
        device=DeviceInfo(name=name, kind="cpu", type="cpu", cores=(0,)),
        executors=(
            ExecutorState(
                executor=0, generation=generation, state=executor, endpoint=f"ipc://{generation}"
            ),
        ),
        gpulets=(
            GpuletState(
                gpulet=4,
                executor=0,
                share_pct=100,
                given_pct=100.0,
                state="ready",
                models=(LoadedModel(name="m", model=2, batch=8, state=model, weight=30.0),),
            ),
        ),
        models=(ModelState(name="m", state="known", spec=spec),),
    )


class Loop:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def set_model(self, name: str, signature: Any, slo_ms: float) -> None:
        self.calls.append(("set_model", name, slo_ms))

    def set_routes(self, name: str, routes: list[tuple[int, int, int, float]]) -> None:
        self.calls.append(("set_routes", name, routes))

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, *arguments))

    def taken(self) -> list[tuple[Any, ...]]:
        calls, self.calls = self.calls, []
        return calls


def test_only_what_is_ready_is_routed() -> None:
    assert routing({"b": state()}, NOBODY).routes == {"m": (Route(KEY, 4, 2, 30.0),)}
    assert routing({"b": state(model="draining")}, NOBODY).routes == {}
    assert routing({"b": state(executor="stopping")}, NOBODY).routes == {}
    assert routing({"b": state(executor="dead")}, NOBODY).executors == {}


def test_a_silent_backend_keeps_its_executors_and_loses_its_routes() -> None:
    made = routing({"b": state()}, frozenset({"b"}))
    assert made.routes == {}
    assert made.executors == {KEY: "ipc://1"}
    assert made.models == {"m": SPEC}


def test_backends_that_disagree_on_a_model() -> None:
    other = msgspec.structs.replace(SPEC, max_batch=4)
    made = routing({"b": state(), "c": state(name="c", spec=other)}, NOBODY)
    assert made.models == {"m": SPEC}
    assert [route.executor.backend for route in made.routes["m"]] == ["b"]


def test_the_loop_is_told_once() -> None:
    loop = Loop()
    table = RouteTable(loop)
    assert table.apply(routing({"b": state()}, NOBODY))
    assert loop.taken() == [
        ("set_model", "m", 10.0),
        ("add_executor", 0, "ipc://1"),
        ("set_routes", "m", [(0, 4, 2, 30.0)]),
    ]
    assert not table.apply(routing({"b": state()}, NOBODY))
    assert loop.taken() == []


def test_what_is_let_in_is_told_when_it_changes_and_is_everything_again_after() -> None:
    loop = Loop()
    table = RouteTable(loop)
    table.apply(routing({"b": state()}, NOBODY))
    loop.taken()
    table.admit({"m": 0.5, "stranger": 0.1})
    table.admit({"m": 0.5})
    assert loop.taken() == [("set_accept", "m", 0.5)]
    table.admit({})
    assert loop.taken() == [("set_accept", "m", 1.0)]
    # The core keeps what it was told of a model that goes and comes back.
    table.admit({"m": 0.2})
    table.apply(routing({}, NOBODY))
    table.admit({})
    table.apply(routing({"b": state()}, NOBODY))
    loop.taken()
    table.admit({})
    assert loop.taken() == [("set_accept", "m", 1.0)]


def test_a_new_generation_is_a_new_executor_added_before_the_old_one_goes() -> None:
    loop = Loop()
    table = RouteTable(loop)
    table.apply(routing({"b": state()}, NOBODY))
    loop.taken()
    table.apply(routing({"b": state(generation=2)}, NOBODY))
    assert loop.taken() == [
        ("add_executor", 1, "ipc://2"),
        ("set_routes", "m", [(1, 4, 2, 30.0)]),
        ("remove_executor", 0),
    ]


def test_a_lost_executor_comes_back_under_a_new_number() -> None:
    loop = Loop()
    table = RouteTable(loop)
    table.apply(routing({"b": state()}, NOBODY))
    loop.taken()
    assert table.lost(0) == KEY
    assert table.lost(0) is None
    assert loop.taken() == [("remove_executor", 0)]
    table.apply(routing({"b": state()}, NOBODY))
    assert loop.taken() == [("add_executor", 1, "ipc://1"), ("set_routes", "m", [(1, 4, 2, 30.0)])]


def test_a_model_that_is_gone_is_removed() -> None:
    loop = Loop()
    table = RouteTable(loop)
    table.apply(routing({"b": state()}, NOBODY))
    loop.taken()
    table.apply(routing({}, NOBODY))
    assert loop.taken() == [("remove_executor", 0), ("remove_model", "m")]


def test_an_unloaded_model_goes_when_nobody_hosts_it_and_all_is_answered() -> None:
    def unloaded(*, hosted: bool) -> Routing:
        made = state(model="draining")
        models = tuple(msgspec.structs.replace(m, state="unloaded") for m in made.models)
        gpulets = made.gpulets if hosted else ()
        return routing({"b": msgspec.structs.replace(made, models=models, gpulets=gpulets)}, NOBODY)

    served = routing({"b": state()}, NOBODY)
    draining, gone = unloaded(hosted=True), unloaded(hosted=False)
    assert (draining.models, draining.routes) == ({"m": SPEC}, {})
    assert gone.models == {}
    assert outlasting(gone, served, {"m": {"outstanding": 1}}).models == {"m": SPEC}
    assert outlasting(gone, served, {"m": {"outstanding": 0}}) == gone


class Choosy(Loop):
    """Refuses what is called so."""

    def set_model(self, name: str, signature: Any, slo_ms: float) -> None:
        if slo_ms < 0:
            raise ArgumentError(f"slo_ms {slo_ms}")
        super().set_model(name, signature, slo_ms)

    def add_executor(self, number: int, endpoint: str) -> None:
        if endpoint == "nowhere":
            raise ConfigError("cannot connect to 'nowhere'")
        self.calls.append(("add_executor", number, endpoint))


def test_what_the_loop_refuses_is_left_out_and_the_rest_is_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = Choosy()
    table = RouteTable(loop)
    good = routing({"b": state()}, NOBODY)
    bad = ExecutorKey("c", "life", 0, 1)
    spoilt = msgspec.structs.replace(SPEC, name="n", slo_ms=-1.0)
    wanted = msgspec.structs.replace(
        good,
        models={**good.models, "n": spoilt},
        executors={**good.executors, bad: "nowhere"},
        routes={"m": (*good.routes["m"], Route(bad, 0, 0, 1.0)), "n": good.routes["m"]},
    )
    for _ in range(3):
        table.apply(wanted)
    assert ("set_routes", "m", [(0, 4, 2, 30.0)]) in loop.calls
    assert table.applied == good
    assert len(caplog.records) == 2
    table.apply(good)
    assert table.applied == good
