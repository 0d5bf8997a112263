"""A cluster whose daemons hear nearly right messages of each other, behind a valid hello.

A second frontend reaches backend and controller through relays, and so does the executor its
backend: `fuzz_relay.py`. Whoever hears nonsense from there must refuse it, live on, and serve.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np
from fuzz_dice import Dice
from fuzz_mutate import nearly
from fuzz_relay import Relay
from fuzz_site import Site, site
from fuzz_wire import control_message
from two_hosts import free_ports
from two_models import X
from waiting import wait_for

from glet.client import Client
from glet.config.cluster import BackendConfig, ClusterConfig, ControlConfig
from glet.errors import GletError
from glet.types.plan import Plan
from glet.wire.control_messages import NewPlan
from glet.wire.messages import BackendToExecutor, RemoveGpulet, StateSeen, UnloadModel
from glet.wire.repository_messages import ModelRead, OfferModel, WithdrawModel

MESSAGES = 6
LIMIT_S = 20.0
# A model may have tensors of any size, and the machine has to have room for it.
SHAPE = frozenset({"shape"})


class Inside:
    """The site, its second frontend and the relays."""

    def __init__(self, outer: Site) -> None:
        self.outer = outer
        run = outer.folder / "run"
        self._device = next(path.parent for path in run.rglob("x") if path.is_socket())
        relays = outer.folder / "relays"
        relays.mkdir()
        self.backend = Relay(f"ipc://{relays}/backend", f"ipc://{self._device}/control")
        self.controller = Relay(f"ipc://{relays}/controller", f"ipc://{run}/controller/control")
        # Connects again by the same name when it starts again, and finds the relay there.
        (self._device / "x").rename(relays / "x")
        self.executor = Relay(f"ipc://{self._device}/x", f"ipc://{relays}/x")
        self._start_frontend()
        self.executors = 0
        self.renew_executor()
        self.plan = wait_for(lambda: self.backend.last(False).get("backend_state", {}).get("plan"))
        self.settle()
        self.pids = self.daemons()

    def close(self) -> None:
        self._frontend.terminate()
        self._frontend.wait(LIMIT_S * 5)
        self._log.close()
        for relay in (self.backend, self.controller, self.executor):
            relay.close()

    def daemons(self) -> dict[str, int]:
        """Process ids of what nothing that is said may end."""
        assert self._frontend.poll() is None, self.said()
        return {**self.outer.cluster.pids(), "second": self._frontend.pid}

    def said(self) -> str:
        """By the second frontend, the end of it."""
        return (self.outer.folder / "second.log").read_text()[-4000:]

    def controller_pid(self) -> int:
        with self._client(0) as client:
            return int(client.stats()["controller"]["pid"])

    def renew_executor(self) -> None:
        """Ends it; its backend starts another, which is what it was again."""
        pid = wait_for(self._executor_pid)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self._executor_pid() not in (0, pid))

    def renew_controller(self) -> None:
        """Ends it; its frontend starts another, which has heard nothing yet."""
        pid = self.controller_pid()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.controller_pid() not in (0, pid))

    def settle(self) -> None:
        """Says again what is to be served; both frontends serve it."""
        clients = [self._client(0), self._client(1)]
        try:

            def serves() -> bool:
                self.restore()
                return all(_doubles(client, name) for client in clients for name in "ab")

            wait_for(serves)
        finally:
            for client in clients:
                client.close()

    def restore(self) -> None:
        """The plan of the beginning, and models as their entries say."""
        for number, name in enumerate("ab"):
            self.backend.say(True, msgspec.msgpack.encode(OfferModel(request=number, name=name)))
        self.backend.say(True, msgspec.msgpack.encode({"op": "apply_plan", "gpulets": self.plan}))

    def _client(self, number: int) -> Client:
        return Client((self.outer.cluster.endpoint, self._address)[number], timeout_s=LIMIT_S)

    def _executor_pid(self) -> int:
        state = self.backend.last(False).get("backend_state", {})
        return next((e["pid"] for e in state.get("executors", ()) if e["state"] == "ready"), 0)

    def _start_frontend(self) -> None:
        self._address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
        config = ClusterConfig(
            listen=self._address,
            models=str(self.outer.folder / "models"),
            partition="cpu",
            backend=(BackendConfig(name=self._device.name, control=self.backend.endpoint),),
            control=ControlConfig(start=False, address=self.controller.endpoint),
        )
        file = self.outer.folder / "second.json"
        file.write_bytes(msgspec.json.encode(config))
        self._log = (self.outer.folder / "second.log").open("ab")
        self._frontend = subprocess.Popen(
            [sys.executable, "-m", "glet.cli.frontend", str(file), "--log-level", "error"],
            stderr=self._log,
        )


def _doubles(client: Client, name: str) -> bool:
    try:
        return bool(np.array_equal(client.infer(name, X, deadline_ms=20_000.0), X * 2))
    except GletError:
        return False


@contextmanager
def inside() -> Iterator[Inside]:
    """Runs until it is left."""
    with site(grpc=False) as outer:
        made = Inside(outer)
        try:
            yield made
        finally:
            made.close()


def _say(
    relay: Relay,
    to_listener: bool,
    dice: Dice,
    made_up: dict[str, Any],
    channel: str = "",
    leave: frozenset[str] = frozenset(),
) -> None:
    """A few messages: of the kinds that passed and `made_up`, nearly right, or again, or any."""
    for _ in range(dice.number(1, MESSAGES)):
        known = {**made_up, **relay.last(to_listener)}
        known.pop("hello", None)  # who is of another version is not listened to again
        before = relay.before(to_listener)
        if before and dice.once_in(8):
            data = dice.pick(before)
        elif channel and dice.once_in(5):
            data = control_message(dice, channel)[0]
        else:
            data = nearly(dice, known[dice.pick(sorted(known))], leave)
        relay.say(to_listener, data)


def _plain(*messages: Any) -> dict[str, Any]:
    made = [msgspec.msgpack.decode(msgspec.msgpack.encode(message)) for message in messages]
    return {message["op"]: message for message in made}


def to_backend(made: Inside, dice: Dice) -> None:
    """As a frontend."""
    plan = {"op": "apply_plan", "gpulets": made.plan, "keep": ["a"]}
    others = _plain(
        StateSeen(seq=7),
        OfferModel(request=1, name="a", slo_ms=5000.0, max_batch=4),
        WithdrawModel(request=2, name="b", reason="for a while"),
    )
    _say(made.backend, True, dice, {**others, "apply_plan": plan}, "backend")


def to_frontend(made: Inside, dice: Dice) -> None:
    """As a backend."""
    read = _plain(ModelRead(request=1, name="a", error="no"))
    _say(made.backend, False, dice, read, "frontend")


def to_controller(made: Inside, dice: Dice) -> None:
    """As a frontend."""
    _say(made.controller, True, dice, {}, "controller")


def from_controller(made: Inside, dice: Dice) -> None:
    """As the controller, to a frontend."""
    plan = {"op": "new_plan", "round": 3, "plan": {"gpulets": made.plan, "unmet": {"a": 1.5}}}
    kinds = {
        **_plain(NewPlan(round=1, plan=Plan())),
        "set_accept": {"op": "set_accept", "parts": {"a": 0.5, "b": 1.0}},
        "round_done": {"op": "round_done", "round": 3, "record": b'{"number":3,"errors":["x"]}'},
        "new_plan": plan,
    }
    _say(made.controller, False, dice, kinds)


def to_executor(made: Inside, dice: Dice) -> None:
    """As its backend: steps in whatever order."""
    ends = _plain(
        RemoveGpulet(step=5, gpulet=0, drain_ms=10.0),
        UnloadModel(step=6, gpulet=0, model=0, drain_ms=10.0),
    )
    _say(made.executor, False, dice, ends, leave=SHAPE)


def from_executor(made: Inside, dice: Dice) -> None:
    """As the executor, while its backend waits for the end of a step."""
    plan = [{**made.plan[0], "models": made.plan[0]["models"][:1]}]
    made.backend.say(True, msgspec.msgpack.encode({"op": "apply_plan", "gpulets": plan}))
    made.restore()
    steps = [m["step"] for m in made.executor.last(False).values() if "step" in m]
    done = {"op": "step_done", "step": max(steps, default=0) + dice.number(0, 2), "error": "",
            "latency_ms": [[1, 1.0], [8, 2.0]], "memory_mb": 1.0, "runner": "python"}  # fmt: skip
    _say(made.executor, True, dice, {"step_done": done}, "executors")


Talk = Callable[[Inside, Dice], None]
TALKS: dict[str, Talk] = {
    "to_backend": to_backend, "to_frontend": to_frontend, "to_controller": to_controller,
    "from_controller": from_controller, "to_executor": to_executor, "from_executor": from_executor,
}  # fmt: skip


def check(made: Inside, target: str) -> None:
    """Nobody has ended, and once told again what to serve, all serve."""
    controller = made.controller_pid()
    if target == "to_executor":
        _check_executor(made)
    if target in ("to_executor", "from_executor"):
        # What one of them believes of the other is not so.
        made.renew_executor()
    if target in ("to_controller", "from_controller"):
        # It believes what it heard, and plans by it.
        assert controller != 0
        made.renew_controller()
    made.settle()
    assert made.daemons() == made.pids, made.said()


def _check_executor(made: Inside) -> None:
    """It still performs steps: one that it can only refuse, and says so."""
    number = 2**40
    step = {"op": "remove_gpulet", "step": number, "gpulet": 77, "drain_ms": 0.0}
    msgspec.msgpack.decode(msgspec.msgpack.encode(step), type=BackendToExecutor)
    made.executor.say(False, msgspec.msgpack.encode(step))
    wait_for(lambda: made.executor.last(True).get("step_done", {}).get("step") == number)
