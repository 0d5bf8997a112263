"""The controller beside real daemons: it observes, plans, may die, and `glet top` shows it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq
from vector_entries import write_doubles
from waiting import WAIT_S, wait_for

from glet.client import Client
from glet.clock import ManualClock, SystemClock
from glet.config.cluster import BackendConfig, ClusterConfig, ControlConfig
from glet.control.round import Round
from glet.errors import ConfigError, OverloadedError, UnavailableError
from glet.policy.policy import Target
from glet.serve.controller import Controller
from glet.serve.controller_child import ControllerOptions, controller_endpoint
from glet.serve.record_file import RecordFile
from glet.serve.up import LocalCluster
from glet.types.observation import Observation
from glet.types.plan import GpuletPlan, ModelShare, Plan
from glet.wire.channel import DealerChannel, RouterChannel
from glet.wire.control_messages import NewPlan, Observed, RoundDone, SetAccept
from glet.wire.counters import FrontendCounters
from glet.wire.messages import (
    VERSION,
    ControllerToFrontend,
    FrontendReport,
    FrontendToController,
    Hello,
)

X = np.arange(4, dtype=np.float32)
PLAN = Plan(gpulets=(GpuletPlan(device=0, share_pct=50, models=(ModelShare(model="a", batch=2),)),))


def config(tmp_path: Path, **control: Any) -> ClusterConfig:
    """Two emulated devices, models `a` and `b`."""
    write_doubles(tmp_path / "models", "a", "b")
    profile = tmp_path / "latency.csv"
    rows = [(m, s, b) for m in ("a", "b") for s in (50, 100) for b in (1, 8)]
    profile.write_text("".join(f"{m},{s},{b},{5 + 0.1 * b}\n" for m, s, b in rows))
    return ClusterConfig(
        listen=f"ipc://{tmp_path}/f",
        models=str(tmp_path / "models"),
        partition="profiled",
        backend=tuple(BackendConfig(device=d, profile=str(profile)) for d in (0, 1)),
        control=ControlConfig(**control),
    )


class Scripted:
    """A loop whose every round changes the plan."""

    def __init__(self) -> None:
        self.seen: list[Observation] = []

    def on_observation(self, observation: Observation) -> Round | None:
        self.seen.append(observation)
        return Round(
            number=len(self.seen),
            now_s=observation.now_s,
            trigger="test",
            observation=observation,
            plan=PLAN,
            targets=(Target(model="a", rate_rps=1.0, slo_ms=10.0, accept=0.75),),
        )


def test_rounds_go_to_all_frontends_and_plans_to_the_leader(tmp_path: Path) -> None:
    clock, loop = ManualClock(), Scripted()
    options = ControllerOptions(
        leader="f", run_dir=f"{tmp_path}/c", cluster=config(tmp_path), parent_pid=0
    )
    record = tmp_path / "record.jsonl"
    controller = Controller(options, "follow", loop, RecordFile(str(record)), clock)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    heard: dict[str, list[Any]] = {"f": [], "g": []}
    channels = {
        name: DealerChannel[Any](
            context,
            controller_endpoint(f"{tmp_path}/c"),
            ControllerToFrontend,
            Hello(version=VERSION, role="frontend", name=name),
        )
        for name in heard
    }

    def turn(pause_s: float) -> None:
        SystemClock().sleep_s(pause_s)
        clock.sleep_s(0.25)
        for name, channel in channels.items():
            heard[name] += channel.receive()
            counters = FrontendCounters(model="a", slo_ms=10.0, received=int(100 * clock.now_s()))
            channel.send(
                FrontendReport(name=name, incarnation="1", sent_s=clock.now_s(), models=(counters,))
            )
        controller.receive()
        controller.tell()

    def has(name: str, kind: type) -> bool:
        return any(isinstance(message, kind) for message in heard[name])

    try:
        wait_for(lambda: has("f", NewPlan) and has("g", RoundDone) and has("g", Observed), turn)
        assert not has("g", NewPlan)
        plan = next(message for message in heard["f"] if isinstance(message, NewPlan))
        assert plan.plan == PLAN
        rounds = [m for m in heard["g"] if isinstance(m, RoundDone)]
        said = msgspec.json.decode(rounds[0].record, type=Round)
        assert said.observation.span_s > 0.0
        for name in heard:
            assert [m.parts for m in heard[name] if isinstance(m, SetAccept)][-1] == {"a": 0.75}
    finally:
        controller.close()
        for channel in channels.values():
            channel.close()
        context.term()
    lines = record.read_bytes().splitlines()
    assert len(lines) == len(loop.seen)
    assert msgspec.json.decode(lines[0], type=Round).number == 1
    assert not (tmp_path / "c").exists()


def ask(client: Client, times: int = 1) -> None:
    for _ in range(times):
        client.infer("a", {"x": X})


@pytest.mark.slow
def test_a_dead_controller_costs_no_request_and_is_back(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    cluster = config(tmp_path, mode="static", record=str(record))
    with LocalCluster(cluster, SystemClock()) as started, Client(started.endpoint) as client:

        def running() -> bool:
            ask(client)
            seen = client.observation()["observation"]
            rates = {m["model"]: m["offered_rps"] for m in (seen or {"models": ()})["models"]}
            return rates.get("a", 0.0) > 0.0 and client.stats()["controller"]["round"] > 0

        wait_for(running, started.poll)
        old = client.stats()["controller"]
        assert old["mode"] == "static"
        os.kill(old["pid"], signal.SIGKILL)

        def is_back() -> bool:
            ask(client)
            new = client.stats()["controller"]
            return bool(new["state"] == "running" and new["pid"] not in (0, old["pid"]))

        wait_for(is_back, started.poll)
        assert client.stats()["controller"]["restarts"] == 1
        wait_for(running, started.poll)
        body = client.observation()
        assert [device["alive"] for device in body["observation"]["devices"]] == [True, True]
        counted = client.stats()["models"]["a"]
        assert counted["received"] == counted["ok"] == counted["good"]
        pid = client.stats()["controller"]["pid"]
    assert not Path(f"/proc/{pid}").exists()
    kinds = [json.loads(line)["line"] for line in record.read_text().splitlines()]
    assert kinds.count("header") == 2
    assert "round" in kinds


@pytest.mark.slow
def test_devices_that_are_not_needed_are_given_up(tmp_path: Path) -> None:
    cluster = config(tmp_path, shrink_after_s=0.5)
    lines: list[str] = []
    with (
        LocalCluster(cluster, SystemClock(), report=lines.append) as started,
        Client(started.endpoint) as client,
    ):

        def follows() -> bool:
            ask(client)
            seen = client.observation()["observation"]
            return seen is not None and sum(bool(d["gpulets"]) for d in seen["devices"]) == 1

        wait_for(follows, started.poll)
        changes = client.observation()["changes"]
        assert any(change["changed"] for change in changes)
        wait_for(lambda: any(line.startswith("plan ") for line in lines), started.poll)
        counted = client.stats()["models"]["a"]
        assert counted["received"] == counted["ok"]


def test_a_frontend_lets_in_what_its_controller_says_while_there_is_one(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/c"
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    controller: RouterChannel[Any] = RouterChannel(
        context, address, FrontendToController, Hello(version=VERSION, role="controller")
    )
    with LocalCluster(config(tmp_path, start=False, address=address), SystemClock()) as started:

        def say(_: float) -> None:
            controller.receive()
            for peer in controller.peers:
                controller.send(peer, SetAccept(parts={"a": 0.5}))
            started.poll()

        with Client(started.endpoint) as client:

            def accept() -> Any:
                return client.stats()["controller"]["accept"]

            def outcomes_of(model: str, count: int) -> list[str]:
                found = []
                for _ in range(count):
                    try:
                        client.infer(model, {"x": X})
                        found.append("ok")
                    except OverloadedError:
                        found.append("full")
                return found

            def half(_: Any = None) -> bool:
                say(0.0)
                return sorted(outcomes_of("a", 4)) == ["full", "full", "ok", "ok"]

            wait_for(lambda: accept() == {"a": 0.5}, say)
            wait_for(half, say)
            say(0.0)
            assert outcomes_of("b", 4) == ["ok"] * 4
            # A controller that is silent can say no more when it is enough.
            wait_for(lambda: accept() == {}, lambda _: started.poll())
            wait_for(lambda: outcomes_of("a", 4) == ["ok"] * 4, lambda _: started.poll())
    controller.close()
    context.term()


def test_following_needs_profiles(tmp_path: Path) -> None:
    bare = msgspec.structs.replace(
        config(tmp_path, mode="follow"), partition="cpu", backend=(BackendConfig(),)
    )
    with pytest.raises(ConfigError, match="--control static"):
        LocalCluster(bare, SystemClock()).start()


def test_an_open_address_needs_insecure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--insecure"):
        LocalCluster(config(tmp_path, address="tcp://0.0.0.0:5600"), SystemClock()).start()


@pytest.mark.slow
def test_two_frontends_serve_and_one_goes_on_alone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    cluster = msgspec.structs.replace(config(tmp_path, mode="static"), run_dir=str(run))
    file = tmp_path / "cluster.json"
    file.write_bytes(msgspec.json.encode(cluster))
    second = f"ipc://{tmp_path}/second"
    command = [sys.executable, "-m", "glet.cli.frontend", str(file), "--listen", second]
    with LocalCluster(cluster, SystemClock()) as started:
        beside = subprocess.Popen([*command, "--no-controller"], stderr=subprocess.DEVNULL)
        try:
            with Client(started.endpoint) as one, Client(second) as other:

                def serves(client: Client) -> bool:
                    try:
                        return bool(np.array_equal(client.infer("a", {"x": X}), X))
                    except UnavailableError:
                        return False

                wait_for(lambda: serves(one) and serves(other), started.poll)
                executors = [row["pid"] for row in other.stats()["executors"]]
                os.kill(started.pids()["frontend"], signal.SIGKILL)
                # Nobody polls: the first one is not started again meanwhile.
                for _ in range(20):
                    assert serves(other)
                wait_for(lambda: serves(one), started.poll)
                assert [row["pid"] for row in one.stats()["executors"]] == executors
        finally:
            beside.terminate()
            assert beside.wait(WAIT_S) == 0
