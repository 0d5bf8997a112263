"""Models that are loaded and unloaded while glet runs: what has to happen in which order.

    load:   offered ──▶ read by all backends ──▶ placed in the plan ──▶ served
               ▲               │ another entry than executors have, or it failed before
               └── ended ◀─────┘
    unload: withdrawn ──▶ in nobody's plan, hosted by nobody

Backends hold the truth: what is withdrawn there is left out of plans by all frontends, also by
those that start later. A backend that starts again is told by the frontends that go on.
"""

import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

import msgspec

from glet.clock import Clock
from glet.config.load import nearest
from glet.errors import (
    InvalidInputError,
    ModelFailedError,
    ModelNotFoundError,
    RequestError,
    UnavailableError,
)
from glet.serve.route_table import Routing, hosted
from glet.types.app import AppSpec
from glet.wire.message import Message
from glet.wire.messages import BackendState
from glet.wire.repository_messages import ModelRead, OfferModel, WithdrawModel

logger = logging.getLogger(__name__)

# A large network is compiled for minutes before it serves.
LIMIT_S = 900.0
# The same as the longest deadline of a request.
LONGEST_SLO_MS = 86_400_000.0
LARGEST_BATCH = 4096

Numbered = Callable[[int], Message]
Done = Callable[[RequestError | None], None]
"""Called once, when a load or an unload ended: with the error, or None."""


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """What holds in place of an entry's own; None: the entry's."""

    slo_ms: float | None = None
    max_batch: int | None = None


def checked_override(slo_ms: float | None, max_batch: int | None) -> Override:
    """Raises InvalidInputError for values that no model.toml may have."""
    if slo_ms is not None and not (math.isfinite(slo_ms) and 0.0 < slo_ms <= LONGEST_SLO_MS):
        raise InvalidInputError(f"slo_ms is {slo_ms:g}; valid is above 0, up to {LONGEST_SLO_MS:g}")
    if max_batch is not None and not 1 <= max_batch <= LARGEST_BATCH:
        raise InvalidInputError(f"max_batch is {max_batch}; valid is 1 to {LARGEST_BATCH}")
    return Override(slo_ms=slo_ms, max_batch=max_batch)


class Link(Protocol):
    """What is needed of a glet.serve.backend_link.BackendLink."""

    name: str
    state: BackendState | None
    read: dict[int, ModelRead]

    def tell(self, message: Message) -> None: ...
    def silent(self) -> bool: ...


class Places(Protocol):
    """Whoever has the plan."""

    def place(self, model: str) -> None:
        """Sees to it that the plan has it, on devices that have read it. Raises UnavailableError
        when there is no room; a plan that is made elsewhere will have it or not.
        """
        ...

    def refused(self, model: str, since_s: float) -> str:
        """Why a plan that is made elsewhere has not the model it was told of then; '' for none."""
        ...


class _Change:
    """A load or an unload under way. `phase` is what it waits for."""

    def __init__(self, name: str, done: Done, *, loads: bool, now_s: float) -> None:
        self.name = name
        self.loads = loads
        self.override = Override()
        self.done: list[Done] = [done]
        self.since_s = now_s
        self.until_s = now_s + LIMIT_S
        self.phase = ""
        self.requests: dict[str, int] = {}
        self.answers: dict[str, ModelRead] = {}
        # Of an app: models that it needs and that are being loaded.
        self.awaits: set[str] = set()
        self.is_placed = False
        self.failure: RequestError | None = None


class Loading:
    """Loads and unloads under way, and what is withdrawn. Nothing here waits: advance() goes on."""

    def __init__(self, links: Iterable[Link], places: Places, clock: Clock) -> None:
        self._links = links
        self._places = places
        self._clock = clock
        self._changes: dict[str, _Change] = {}
        self._requests = 0
        self._lives: dict[str, str] = {}
        # By backend: what it was told to withdraw, with the reasons; what it still has to confirm.
        self._withdrawn: dict[str, dict[str, str]] = {}
        self._unconfirmed: dict[str, set[int]] = {}
        self._overrides: dict[str, Override] = {}
        self._told: frozenset[str] = frozenset()

    def withdrawn(self) -> frozenset[str]:
        """Models and apps that no plan should have."""
        return frozenset(name for names in self._withdrawn.values() for name in names)

    def load(self, name: str, override: Override, done: Done) -> None:
        """Reads the entry again, and calls `done` when it serves. With the model in another plan
        than before, or an entry that changed, it is unloaded first.
        """
        change = self._begin(name, done, loads=True)
        if change is not None:
            change.override = override
            self._offer(change)

    def unload(self, name: str, done: Done, *, dependents: bool = False) -> None:
        """Calls `done` when nobody hosts it any more; what was in flight is answered before.

        With `dependents` the models of an app go with it, but for those that other apps need.
        """
        specs = self._apps()
        users = sorted(app for app, spec in specs.items() if name in spec.models())
        if users:
            what = f"model {name!r} is part of app {users[0]!r}; unload that first"
            done(InvalidInputError(what))
            return
        if name not in self._known():
            done(ModelNotFoundError(f"no model {name!r}; {nearest(name, self._known())}"))
            return
        change = self._begin(name, done, loads=False)
        if change is None:
            return
        self._withdraw(change, "")
        if dependents and name in specs:
            needed = {m for app, spec in specs.items() if app != name for m in spec.models()}
            change.awaits = {*specs[name].models()} - needed
            for model in sorted(change.awaits):
                part = self._begin(model, lambda e: self._part_ended(change, e), loads=False)
                if part is not None:
                    self._withdraw(part, "")

    def advance(self, routing: Routing) -> bool:
        """Goes on by what backends said last; whether other models are withdrawn than the last time
        it was asked, so that plans have to be sent again.
        """
        for link in self._links:
            self._heed(link)
        for change in list(self._changes.values()):
            self._answered(change)
            self._go_on(change, routing)
        before, self._told = self._told, self.withdrawn()
        return self._told != before

    def _begin(self, name: str, done: Done, *, loads: bool) -> _Change | None:
        """None: it joined one under way, or was refused."""
        under_way = self._changes.get(name)
        if under_way is not None:
            if under_way.loads == loads:
                under_way.done.append(done)
            else:
                what = "loaded" if under_way.loads else "unloaded"
                done(UnavailableError(f"model {name!r} is being {what}; try again after that"))
            return None
        if not self._live():
            done(UnavailableError("no backend can be reached"))
            return None
        change = _Change(name, done, loads=loads, now_s=self._clock.now_s())
        self._changes[name] = change
        return change

    def _offer(self, change: _Change) -> None:
        change.phase = "read"
        self._overrides[change.name] = change.override
        self._ask(change, _offering(change.name, change.override))

    def _withdraw(self, change: _Change, reason: str) -> None:
        change.phase = "ended"
        self._overrides.pop(change.name, None)
        for link in self._live():
            self._withdrawn.setdefault(link.name, {})[change.name] = reason
        self._ask(change, _withdrawing(change.name, reason))

    def _ask(self, change: _Change, message: Numbered) -> None:
        change.requests, change.answers = {}, {}
        for link in self._live():
            change.requests[link.name] = self._tell(link, message)

    def _tell(self, link: Link, message: Numbered) -> int:
        self._requests += 1
        self._unconfirmed.setdefault(link.name, set()).add(self._requests)
        link.tell(message(self._requests))
        return self._requests

    def _heed(self, link: Link) -> None:
        """What this backend holds for withdrawn; one that lost its memory is told again."""
        state = link.state
        if state is None:
            return
        life = self._lives.get(link.name)
        self._lives[link.name] = state.incarnation
        open_requests = self._unconfirmed.setdefault(link.name, set())
        if life is not None and life != state.incarnation:
            self._tell_again(link)
        asked = {change.requests.get(link.name) for change in self._changes.values()}
        for request in open_requests & link.read.keys():
            open_requests.discard(request)
            if request not in asked:
                del link.read[request]
        if not open_requests:
            self._withdrawn[link.name] = _unloaded_with_reasons(state)

    def _tell_again(self, link: Link) -> None:
        """What was asked of its last life is answered by nobody."""
        self._unconfirmed[link.name].clear()
        for change in self._changes.values():
            change.requests.pop(link.name, None)
            change.answers.pop(link.name, None)
        for name, reason in self._withdrawn.get(link.name, {}).items():
            self._tell(link, _withdrawing(name, reason))
        for name, override in self._overrides.items():
            if override != Override():
                self._tell(link, _offering(name, override))

    def _answered(self, change: _Change) -> None:
        for link in self._links:
            request = change.requests.get(link.name)
            if request is None:
                continue
            read = link.read.pop(request, None)
            if read is not None:
                change.answers[link.name] = read
            elif link.silent():
                del change.requests[link.name]

    def _go_on(self, change: _Change, routing: Routing) -> None:
        if self._clock.now_s() > change.until_s:
            self._end(change, UnavailableError(f"model {change.name!r}: {_late(change)}"))
        elif not change.requests:
            self._end(change, UnavailableError("no backend can be reached"))
        elif len(change.answers) < len(change.requests):
            return
        elif change.phase == "read":
            self._read(change)
        elif change.phase == "ended":
            self._ended(change)
        else:
            self._placed(change, routing)

    def _read(self, change: _Change) -> None:
        """All backends have read the entry."""
        reads = list(change.answers.values())
        sound = [read for read in reads if not read.error]
        if not sound:
            missing = all(read.is_missing for read in reads)
            kind = ModelNotFoundError if missing else InvalidInputError
            self._end(change, kind(reads[0].error))
        elif any(read.is_stale for read in sound) or self._failed(change.name):
            self._withdraw(change, "")
        else:
            change.phase = "placed"
            change.since_s = self._clock.now_s()

    def _ended(self, change: _Change) -> None:
        """It is withdrawn, and is waited for until nobody has it."""
        if change.name in hosted(self._states()) or change.awaits & self._changes.keys():
            return
        if change.loads and change.failure is None:
            self._offer(change)
        else:
            self._end(change, change.failure)

    def _placed(self, change: _Change, routing: Routing) -> None:
        """It is sound everywhere; who has the plan is told, then it has to turn up."""
        spec = self._apps().get(change.name)
        if spec is not None:
            self._placed_app(change, spec, routing)
            return
        if not change.is_placed:
            change.is_placed = True
            try:
                self._places.place(change.name)
            except UnavailableError as error:
                self._fail(change, error)
            return
        why = self._failed(change.name)
        refused = self._places.refused(change.name, change.since_s)
        if routing.routes.get(change.name):
            self._end(change, None)
        elif why:
            self._fail(change, ModelFailedError(why))
        elif refused:
            self._fail(change, UnavailableError(f"model {change.name!r}: {refused}"))

    def _placed_app(self, change: _Change, spec: AppSpec, routing: Routing) -> None:
        if not change.is_placed:
            change.is_placed = True
            for model in spec.models():
                if not routing.routes.get(model):
                    change.awaits.add(model)
                    self.load(model, Override(), lambda error: self._part_ended(change, error))
        elif not change.awaits & self._changes.keys():
            if change.failure is not None:
                self._fail(change, change.failure)
            elif change.name in routing.apps:
                self._end(change, None)

    def _part_ended(self, change: _Change, error: RequestError | None) -> None:
        change.failure = change.failure or error

    def _fail(self, change: _Change, error: RequestError) -> None:
        """A model that cannot be served is in no plan, so that the others are as they were."""
        change.failure = error
        self._withdraw(change, str(error))

    def _end(self, change: _Change, error: RequestError | None) -> None:
        del self._changes[change.name]
        what = "load" if change.loads else "unload"
        logger.info("%s of %s ended %s", what, change.name, error or "well")
        for done in change.done:
            done(error)

    def _failed(self, name: str) -> str:
        """Why it is not on a gpulet that should have it, or not sound."""
        states = self._states().values()
        named = [m for state in states for m in state.models if m.name == name]
        errors = [model.error for model in named if model.state == "failed"]
        errors += [
            model.error or gpulet.error
            for state in states
            for gpulet in state.gpulets
            for model in gpulet.models
            if model.name == name and model.state == "failed"
        ]
        return errors[0] if errors else ""

    def _live(self) -> list[Link]:
        return [link for link in self._links if link.state is not None and not link.silent()]

    def _states(self) -> Mapping[str, BackendState]:
        return {link.name: link.state for link in self._live() if link.state is not None}

    def _apps(self) -> dict[str, AppSpec]:
        """Apps that are served."""
        return {
            app.name: app.spec
            for state in self._states().values()
            for app in state.apps
            if app.spec is not None and not app.unloaded
        }

    def _known(self) -> Collection[str]:
        states = self._states().values()
        return {m.name for s in states for m in s.models} | {a.name for s in states for a in s.apps}


def _unloaded_with_reasons(state: BackendState) -> dict[str, str]:
    models = {model.name: model.error for model in state.models if model.state == "unloaded"}
    return models | {app.name: app.error for app in state.apps if app.unloaded}


def _offering(name: str, override: Override) -> Numbered:
    return lambda request: OfferModel(
        request=request, name=name, slo_ms=override.slo_ms, max_batch=override.max_batch
    )


def _withdrawing(name: str, reason: str) -> Numbered:
    return lambda request: WithdrawModel(request=request, name=name, reason=reason)


def _late(change: _Change) -> str:
    what = "does not serve" if change.loads else "is still hosted"
    return f"{what} after {LIMIT_S:.0f} s; it goes on"
