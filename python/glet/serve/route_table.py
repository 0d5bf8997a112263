"""What the frontend's loop should know, out of what backends report, and how it gets there."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import msgspec

from glet.errors import GletError
from glet.serve.app_routing import RoutedApp, app_routing, set_app
from glet.serve.model_loader import native_signature
from glet.types.model import ModelSpec
from glet.wire.messages import BackendState

logger = logging.getLogger(__name__)

MOST_TEXT = 400
MOST_REFUSED = 100


class ExecutorKey(NamedTuple):
    """One life of one executor."""

    backend: str
    incarnation: str
    executor: int
    generation: int


class Route(NamedTuple):
    """Where requests of a model may go. `weight` is in requests/s."""

    executor: ExecutorKey
    gpulet: int
    model: int
    weight: float


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """All of it: absolute, compared with what was applied before."""

    models: dict[str, ModelSpec] = {}
    executors: dict[ExecutorKey, str] = {}
    routes: dict[str, tuple[Route, ...]] = {}
    apps: dict[str, RoutedApp] = {}


def routing(states: Mapping[str, BackendState], silent: frozenset[str]) -> Routing:
    """Pure: the routing that these states of backends (by name) ask for.

    A silent backend gets no requests; its executors stay known, they may still be answering. Of
    two backends with different ideas of a model, the first by name is right, and the other gets
    no requests for it. A model that is unloaded goes when nobody hosts it any more.
    """
    gone = unloaded(states)
    if gone:
        gone -= hosted(states)
    models: dict[str, ModelSpec] = {}
    executors: dict[ExecutorKey, str] = {}
    routes: dict[str, list[Route]] = {}
    for name, state in sorted(states.items()):
        mine = {m.name: m.spec for m in state.models if m.spec is not None and m.name not in gone}
        models = {**mine, **models}
        ready = {
            e.executor: ExecutorKey(name, state.incarnation, e.executor, e.generation)
            for e in state.executors
            if e.state == "ready"
        }
        for executor in state.executors:
            if executor.state in ("ready", "stopping") and executor.endpoint:
                key = ExecutorKey(name, state.incarnation, executor.executor, executor.generation)
                executors[key] = executor.endpoint
        if name in silent:
            continue
        for gpulet in state.gpulets:
            if gpulet.state != "ready" or gpulet.executor not in ready:
                continue
            for model in gpulet.models:
                fits = mine.get(model.name) == models.get(model.name)
                if model.state == "ready" and model.weight > 0 and fits:
                    routes.setdefault(model.name, []).append(
                        Route(ready[gpulet.executor], gpulet.gpulet, model.model, model.weight)
                    )
    return Routing(
        models=models,
        executors=executors,
        routes={name: tuple(found) for name, found in routes.items()},
        apps=app_routing(states, models),
    )


def unloaded(states: Mapping[str, BackendState]) -> set[str]:
    """Models and apps that a backend was told not to serve."""
    return {
        model.name for s in states.values() for model in s.models if model.state == "unloaded"
    } | {app.name for s in states.values() for app in s.apps if app.unloaded}


def hosted(states: Mapping[str, BackendState]) -> set[str]:
    """Models that are, or should be, on a gpulet somewhere."""
    return {model.name for s in states.values() for gpulet in s.gpulets for model in gpulet.models}


def outlasting(wanted: Routing, before: Routing, stats: Mapping[str, Mapping[str, Any]]) -> Routing:
    """With models that went, as long as requests of them are not answered: `stats` of the loop."""
    stay = {
        name: spec
        for name, spec in before.models.items()
        if name not in wanted.models and stats.get(name, {}).get("outstanding", 0)
    }
    return msgspec.structs.replace(wanted, models={**wanted.models, **stay}) if stay else wanted


class RouteTable:
    """Brings a FrontendLoop from the routing it has to the one it should have."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._numbers: dict[ExecutorKey, int] = {}
        self._next_number = 0
        self._admitted: dict[str, float] = {}
        self._refused: set[str] = set()
        self.applied = Routing()

    def apply(self, wanted: Routing) -> bool:
        """Make before break; applying the same twice does nothing. Whether anything changed.

        What a backend reports and the loop refuses is left out, and logged; the rest is served.
        """
        before = self.applied
        if wanted == before:
            return False
        wanted = self._sound(wanted)
        for name in wanted.models:
            routes = wanted.routes.get(name, ())
            is_new = before.models.get(name) != wanted.models[name]
            if is_new or before.routes.get(name, ()) != routes:
                self._loop.set_routes(
                    name, [(self._numbers[r.executor], r.gpulet, r.model, r.weight) for r in routes]
                )
        wanted = self._set_apps(wanted)
        for key in before.executors.keys() - wanted.executors.keys():
            if key in self._numbers:
                self._loop.remove_executor(self._numbers.pop(key))
        gone = (before.models.keys() | before.apps.keys()) - wanted.models.keys()
        for name in gone - wanted.apps.keys():
            self._loop.remove_model(name)
        self.applied = wanted
        return True

    def admit(self, parts: Mapping[str, float]) -> None:
        """Of each model the part of its requests that is let in, of others all.

        An app is let in or refused as a whole: by the least part of its stages' models.
        """
        apps = self.applied.apps
        wanted = {name: parts.get(name, 1.0) for name in self.applied.models}
        for name, app in apps.items():
            wanted[name] = min(parts.get(model, 1.0) for model in app.spec.models())
        for name, part in wanted.items():
            if part != self._admitted.get(name, 1.0):
                self._loop.set_accept(name, part)
                self._admitted[name] = part

    def _sound(self, wanted: Routing) -> Routing:
        """Tells models and executors that are new; the same without those that are refused."""
        models, executors = dict(wanted.models), dict(wanted.executors)
        for name, spec in wanted.models.items():
            if self.applied.models.get(name) != spec and not self._tell(
                f"model {name!r}", partial(self._set_model, name, spec)
            ):
                del models[name]
        for key, endpoint in wanted.executors.items():
            if key not in self._numbers and not self._tell(
                f"executor {key.executor} of {key.backend} at {endpoint!r}",
                partial(self._add_executor, key, endpoint),
            ):
                del executors[key]
        routes = {
            name: tuple(route for route in found if route.executor in executors)
            for name, found in wanted.routes.items()
            if name in models or name not in wanted.models
        }
        return msgspec.structs.replace(wanted, models=models, executors=executors, routes=routes)

    def _tell(self, what: str, call: Callable[[], None]) -> bool:
        """Whether the loop took it; why not is logged once."""
        try:
            call()
        except (GletError, LookupError, TypeError, ValueError) as error:
            text = f"{what} is left out: {str(error).splitlines()[0]}"[:MOST_TEXT]
            if text not in self._refused:
                if len(self._refused) >= MOST_REFUSED:
                    self._refused.clear()
                self._refused.add(text)
                logger.error("%s", text)
            return False
        return True

    def _set_model(self, name: str, spec: ModelSpec) -> None:
        self._loop.set_model(name, native_signature(spec.signature), spec.slo_ms)

    def _set_apps(self, wanted: Routing) -> Routing:
        """The same without those that are refused."""
        apps = dict(wanted.apps)
        for name, app in wanted.apps.items():
            is_new = self.applied.apps.get(name) != app
            if is_new and not self._tell(f"app {name!r}", partial(set_app, self._loop, app)):
                del apps[name]
        return msgspec.structs.replace(wanted, apps=apps)

    def _add_executor(self, key: ExecutorKey, endpoint: str) -> None:
        self._loop.add_executor(self._next_number, endpoint)
        self._numbers[key] = self._next_number
        self._next_number += 1

    def lost(self, number: int) -> ExecutorKey | None:
        """The loop gave up an executor: it counts as new if a backend still calls it ready."""
        key = next((key for key, known in self._numbers.items() if known == number), None)
        if key is None:
            return None
        self._loop.remove_executor(self._numbers.pop(key))
        self.applied = msgspec.structs.replace(
            self.applied,
            executors={k: e for k, e in self.applied.executors.items() if k != key},
            routes={
                name: tuple(route for route in routes if route.executor != key)
                for name, routes in self.applied.routes.items()
            },
        )
        return key
