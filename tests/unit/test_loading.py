"""Loads and unloads step by step: what backends are told, who has the plan, when it is done."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from glet.clock import ManualClock
from glet.errors import (
    InvalidInputError,
    ModelFailedError,
    ModelNotFoundError,
    RequestError,
    UnavailableError,
)
from glet.plan.even import without
from glet.serve.even_plan import with_model
from glet.serve.loading import LIMIT_S, Loading, Override
from glet.serve.route_table import routing
from glet.types.app import AppSpec, AppStage, Source, StageInput
from glet.types.device import DeviceInfo
from glet.types.model import ModelSpec, Signature, TensorSpec
from glet.types.plan import Plan
from glet.wire.message import Message
from glet.wire.messages import (
    AppState,
    BackendState,
    ExecutorState,
    GpuletState,
    LoadedModel,
    ModelState,
)
from glet.wire.repository_messages import ModelRead, OfferModel, WithdrawModel

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", dtype="float32", shape=(4,)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=(4,)),),
)
APP = AppSpec(
    name="app",
    signature=SIGNATURE,
    slo_ms=100.0,
    stages=(
        AppStage(
            name="s",
            model="a",
            inputs=(StageInput(name="x", source=Source(tensor="x")),),
            outputs=SIGNATURE.outputs,
        ),
    ),
    outputs=(Source(stage="s", tensor="y"),),
)


class Backend:
    """A link, and the backend behind it: does at once what plans say, and remembers messages."""

    def __init__(self, name: str, models: tuple[str, ...], apps: tuple[AppSpec, ...] = ()) -> None:
        self.name = name
        self.folder = {model: ModelSpec(name=model, signature=SIGNATURE, slo_ms=50.0, max_batch=8)
                       for model in models}  # fmt: skip
        self.known = dict(self.folder)
        self.apps = {app.name: app for app in apps}
        self.withdrawn: dict[str, str] = {}
        self.stale: set[str] = set()
        self.failing: dict[str, str] = {}
        self.hosted: set[str] = set()
        self.told: list[Message] = []
        self.read: dict[int, ModelRead] = {}
        self.life = 1
        self.is_silent = False
        self.state: BackendState | None = None
        self.publish()

    def silent(self) -> bool:
        return self.is_silent

    def tell(self, message: Message) -> None:
        self.told.append(message)

    def work(self) -> None:
        """Handles what it was told, and says how it is."""
        for message in self.told:
            if isinstance(message, OfferModel):
                self._offer(message)
            elif isinstance(message, WithdrawModel):
                self.withdrawn[message.name] = message.reason
                self.read[message.request] = ModelRead(request=message.request, name=message.name)
        self.told.clear()
        self.publish()

    def _offer(self, offered: OfferModel) -> None:
        spec = self.folder.get(offered.name)
        read = ModelRead(request=offered.request, name=offered.name)
        if spec is None and offered.name not in self.apps:
            read = msgspec.structs.replace(read, error="not there", is_missing=True)
        elif offered.name in self.stale & self.hosted:
            read = msgspec.structs.replace(read, is_stale=True)
        else:
            self.withdrawn.pop(offered.name, None)
            if spec is not None:
                slo_ms = offered.slo_ms or spec.slo_ms
                self.known[offered.name] = msgspec.structs.replace(spec, slo_ms=slo_ms)
        self.read[offered.request] = read

    def publish(self) -> None:
        models = tuple(
            LoadedModel(
                name=name,
                model=number,
                batch=1,
                state="failed" if name in self.failing else "ready",
                weight=1.0,
                error=self.failing.get(name, ""),
            )
            for number, name in enumerate(sorted(self.hosted))
        )
        gpulet = GpuletState(
            gpulet=1, executor=0, share_pct=100, given_pct=100.0, state="ready", models=models
        )
        self.state = BackendState(
            seq=1,
            name=self.name,
            incarnation=str(self.life),
            number=0,
            device=DeviceInfo(name=self.name, kind="cpu", type="cpu", cores=(0,)),
            executors=(ExecutorState(executor=0, generation=1, state="ready", endpoint="ipc://x"),),
            gpulets=(gpulet,),
            models=tuple(
                ModelState(
                    name=name,
                    state="unloaded" if name in self.withdrawn else "known",
                    spec=spec,
                    error=self.withdrawn.get(name, ""),
                )
                for name, spec in self.known.items()
            ),
            apps=tuple(
                AppState(name=name, spec=app, unloaded=name in self.withdrawn)
                for name, app in self.apps.items()
            ),
        )


class Rig:
    """A frontend's part: it has the plan, and gives it to the backends after each step."""

    def __init__(self, *backends: Backend, plan: tuple[str, ...] = ()) -> None:
        self.backends = backends
        self.clock = ManualClock()
        self.refusal = ""
        self.plan = Plan()
        self.sent: frozenset[str] = frozenset()
        self.loading = Loading(backends, self, self.clock)
        self.ended: list[RequestError | None] = []
        for model in plan:
            self.plan = with_model(self.plan, self._states(), model)
        self.send()
        self.turn()

    def send(self) -> None:
        self.sent = frozenset(without(self.plan, self.loading.withdrawn()).models())

    def place(self, model: str) -> None:
        self.plan = with_model(without(self.plan, self.loading.withdrawn()), self._states(), model)
        self.send()

    def refused(self, model: str, since_s: float) -> str:
        return self.refusal

    def done(self, error: RequestError | None) -> None:
        self.ended.append(error)

    def load(self, name: str, **changes: Any) -> None:
        self.loading.load(name, Override(**changes), self.done)

    def unload(self, name: str, **how: Any) -> None:
        self.loading.unload(name, self.done, **how)

    def turn(self) -> None:
        """All that is known gets around once."""
        for backend in self.backends:
            backend.hosted = self.sent & backend.known.keys()
            backend.work()
        if self.loading.advance(routing(self._states(), frozenset())):
            self.send()

    def settle(self, until: Callable[[], bool]) -> None:
        for _ in range(20):
            if until():
                return
            self.turn()
        raise AssertionError("it does not come to an end")

    def end(self) -> RequestError | None:
        """How the only load or unload under way ends."""
        self.settle(lambda: bool(self.ended))
        (error,) = self.ended
        self.ended.clear()
        return error

    def _states(self) -> dict[str, BackendState]:
        return {b.name: b.state for b in self.backends if b.state is not None}


def test_a_model_that_is_in_no_plan_is_placed_and_served() -> None:
    rig = Rig(Backend("d", ("a", "b")), plan=("a",))
    rig.load("b")
    assert rig.ended == []
    assert rig.end() is None
    assert rig.plan.models() == ("a", "b")
    rig.load("b")
    assert rig.end() is None


def test_what_is_unloaded_is_in_no_plan_until_it_is_loaded() -> None:
    rig = Rig(Backend("d", ("a", "b")), plan=("a", "b"))
    rig.unload("a")
    assert rig.end() is None
    assert rig.loading.withdrawn() == {"a"}
    assert rig.backends[0].hosted == {"b"}
    rig.unload("a")
    assert rig.end() is None
    rig.load("a")
    assert rig.end() is None
    assert rig.backends[0].hosted == {"a", "b"}
    assert rig.loading.withdrawn() == frozenset()


def test_an_entry_that_changed_is_ended_first() -> None:
    backend = Backend("d", ("a",))
    rig = Rig(backend, plan=("a",))
    backend.stale.add("a")
    rig.load("a", slo_ms=75.0)
    rig.settle(lambda: "a" not in backend.hosted)
    assert rig.end() is None
    assert backend.hosted == {"a"}
    assert backend.known["a"].slo_ms == 75.0


def test_a_model_that_fails_is_taken_back_with_its_reason() -> None:
    backend = Backend("d", ("a", "b"))
    rig = Rig(backend, plan=("a",))
    backend.failing["b"] = "model 'b': broke"
    rig.load("b")
    error = rig.end()
    assert isinstance(error, ModelFailedError)
    assert str(error) == "model 'b': broke"
    assert backend.hosted == {"a"}
    assert backend.withdrawn == {"b": "model 'b': broke"}
    backend.failing.clear()
    rig.load("b")
    assert rig.end() is None


def test_a_model_that_failed_before_is_loaded_anew() -> None:
    backend = Backend("d", ("a",))
    backend.failing["a"] = "model 'a': broke"
    rig = Rig(backend, plan=("a",))
    rig.load("a")
    rig.settle(lambda: not backend.hosted)
    backend.failing.clear()
    assert rig.end() is None


def test_names_that_are_nowhere() -> None:
    rig = Rig(Backend("d", ("a",)), plan=("a",))
    rig.load("c")
    assert isinstance(rig.end(), ModelNotFoundError)
    rig.unload("aa")
    error = rig.end()
    assert isinstance(error, ModelNotFoundError)
    assert str(error) == "no model 'aa'; did you mean 'a'?"


def test_a_plan_that_has_no_place_for_it() -> None:
    rig = Rig(Backend("d", ("a",)))
    rig.refusal = "there is no room for it"
    rig.place = lambda model: None  # type: ignore[method-assign]
    rig.load("a")
    error = rig.end()
    assert isinstance(error, UnavailableError)
    assert str(error) == "model 'a': there is no room for it"


def test_the_same_twice_ends_twice_and_the_opposite_is_refused() -> None:
    rig = Rig(Backend("d", ("a", "b")), plan=("a",))
    rig.load("b")
    rig.load("b")
    rig.unload("b")
    (refusal,) = rig.ended
    assert isinstance(refusal, UnavailableError)
    assert "is being loaded" in str(refusal)
    rig.settle(lambda: len(rig.ended) == 3)
    assert rig.ended[1:] == [None, None]


def test_an_app_comes_with_its_models_and_keeps_them() -> None:
    rig = Rig(Backend("d", ("a", "b"), (APP,)), plan=("a", "b"))
    rig.unload("a")
    error = rig.end()
    assert isinstance(error, InvalidInputError)
    assert "part of app 'app'" in str(error)
    rig.unload("app", dependents=True)
    assert rig.end() is None
    assert rig.loading.withdrawn() == {"app", "a"}
    assert routing(rig._states(), frozenset()).apps == {}
    rig.load("app")
    assert rig.end() is None
    assert rig.backends[0].hosted == {"a", "b"}
    rig.unload("app")
    assert rig.end() is None
    assert rig.backends[0].hosted == {"a", "b"}


def test_an_app_whose_model_fails_is_not_served() -> None:
    backend = Backend("d", ("a",), (APP,))
    rig = Rig(backend)
    backend.failing["a"] = "model 'a': broke"
    rig.load("app")
    assert isinstance(rig.end(), ModelFailedError)
    assert rig.loading.withdrawn() == {"app", "a"}


def test_a_backend_that_starts_again_is_told_again() -> None:
    backend = Backend("d", ("a", "b"))
    rig = Rig(backend, plan=("a", "b"))
    rig.unload("b")
    assert rig.end() is None
    rig.load("a", slo_ms=75.0)
    assert rig.end() is None
    backend.life += 1
    backend.withdrawn, backend.known = {}, dict(backend.folder)
    backend.publish()
    for _ in range(3):
        rig.turn()
        assert rig.loading.withdrawn() == {"b"}
    assert backend.withdrawn == {"b": ""}
    assert backend.known["a"].slo_ms == 75.0
    assert not backend.read


def test_without_backends_nothing_can_be_loaded() -> None:
    backend = Backend("d", ("a",))
    rig = Rig(backend)
    rig.load("a")
    backend.is_silent = True
    assert isinstance(rig.end(), UnavailableError)
    rig.load("a")
    assert isinstance(rig.end(), UnavailableError)


def test_a_backend_that_does_not_answer_is_not_waited_for_without_end() -> None:
    backend = Backend("d", ("a",))
    rig = Rig(backend)
    rig.load("a")
    backend.told.clear()
    rig.turn()
    assert rig.ended == []
    rig.clock.sleep_s(LIMIT_S + 1.0)
    error = rig.end()
    assert isinstance(error, UnavailableError)
    assert "does not serve after" in str(error)


@pytest.mark.parametrize("missing", [True, False])
def test_two_backends_of_which_one_has_it(missing: bool) -> None:
    second = Backend("e", () if missing else ("a",))
    rig = Rig(Backend("d", ("a",)), second)
    rig.load("a")
    assert rig.end() is None
