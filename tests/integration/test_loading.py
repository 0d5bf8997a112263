"""Models that come and go while real daemons serve, and requests meanwhile."""

import asyncio
import json
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from vector_entries import app_toml, model_toml
from waiting import wait_for

from glet.client import AsyncClient, Client
from glet.clock import SystemClock
from glet.config.cluster import BackendConfig, ClusterConfig, ControlConfig
from glet.errors import (
    InvalidInputError,
    ModelFailedError,
    ModelNotFoundError,
    RequestError,
    UnavailableError,
)
from glet.profiles.files import DeviceFacts, MeasuredLatency, ProfileData, write_profile
from glet.serve.up import LocalCluster

X = np.arange(4, dtype=np.float32)


def write(
    folder: Path, name: str, factor: int = 2, max_batch: int = 8, slo_ms: float = 4000.0
) -> None:
    """A Python model that multiplies; 0 raises."""
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "model.toml").write_text(model_toml(slo_ms, max_batch))
    body = f"return x * {factor}.0" if factor else "raise ValueError('it broke')"
    (folder / name / "model.py").write_text(f"def infer(x):\n    {body}\n")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    write(folder, "a")
    write(folder, "b")
    return folder


@pytest.fixture
def cluster(models: Path) -> Iterator[LocalCluster]:
    config = ClusterConfig(listen="tcp://127.0.0.1:0", models=str(models))
    with LocalCluster(config, SystemClock()) as started:
        yield started


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster.endpoint, timeout_s=300.0) as made:
        yield made


def factor(client: Client, name: str) -> float:
    """What the model multiplies by."""
    return float(np.asarray(client.infer(name, {"x": X}, deadline_ms=60_000))[1])


def while_loaded(client: Client, name: str, change: Callable[[], None]) -> Counter[str]:
    """How requests for the model ended, sent one after the other until `change` returned."""
    ended: Counter[str] = Counter()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                client.infer(name, {"x": X}, deadline_ms=60_000)
                ended["ok"] += 1
            except RequestError as error:
                ended[error.code] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        wait_for(lambda: ended["ok"] > 3)
        change()
    finally:
        stop.set()
        thread.join()
    return ended


def test_unloaded_loaded_and_found_anew(client: Client, models: Path) -> None:
    ended = while_loaded(client, "a", lambda: client.unload("a"))
    assert set(ended) <= {"ok", "unavailable", "model_not_found"}
    assert client.models()["a"]["state"] == "unloaded"
    with pytest.raises((ModelNotFoundError, UnavailableError)):
        client.infer("a", {"x": X})
    assert factor(client, "b") == 2.0
    client.load("a")
    assert factor(client, "a") == 2.0

    write(models, "c", factor=5)
    ended = while_loaded(client, "b", lambda: client.load("c"))
    assert set(ended) == {"ok"}
    assert factor(client, "c") == 5.0


def test_the_client_for_asyncio_loads_and_unloads(cluster: LocalCluster, client: Client) -> None:
    async def change() -> None:
        async with AsyncClient(cluster.endpoint, timeout_s=300.0) as asking:
            await asking.unload("a")
            assert (await asking.models())["a"]["state"] == "unloaded"
            await asking.load("a", slo_ms=3000.0)
            assert (await asking.models())["a"]["slo_ms"] == 3000.0
            with pytest.raises(ModelNotFoundError):
                await asking.load("nobody")

    asyncio.run(change())
    assert factor(client, "a") == 2.0


def test_an_entry_that_changed_serves_as_it_is_now(client: Client, models: Path) -> None:
    write(models, "a", factor=30)
    client.load("a")
    assert factor(client, "a") == 30.0
    client.load("a", slo_ms=3000.0, max_batch=16)
    entry = client.models()["a"]
    assert (entry["slo_ms"], entry["max_batch"]) == (3000.0, 16)
    assert factor(client, "a") == 30.0
    client.load("a")
    assert client.models()["a"]["slo_ms"] == 4000.0


def test_what_cannot_be_loaded_leaves_the_others_alone(client: Client, models: Path) -> None:
    write(models, "bad", factor=0)
    with pytest.raises(ModelFailedError, match="it broke"):
        client.load("bad")
    entry = client.models()["bad"]
    assert (entry["state"], "it broke" in entry["error"]) == ("unloaded", True)
    (models / "a" / "model.toml").write_text("slo_ms = 'soon'")
    with pytest.raises(InvalidInputError, match=r"model.toml: slo_ms: expected float"):
        client.load("a")
    assert (factor(client, "a"), factor(client, "b")) == (2.0, 2.0)
    with pytest.raises(ModelNotFoundError):
        client.load("nothing")
    write(models, "bad", factor=7)
    client.load("bad")
    assert factor(client, "bad") == 7.0


def test_an_app_and_its_models(client: Client, models: Path) -> None:
    (models / "app").mkdir()
    (models / "app" / "app.toml").write_text(app_toml("b", 4000.0))
    client.load("app")
    assert factor(client, "app") == 2.0
    with pytest.raises(InvalidInputError, match="part of app 'app'"):
        client.unload("b")
    client.unload("app", dependents=True)
    states = {name: model["state"] for name, model in client.models().items()}
    assert states == {"a": "serving", "b": "unloaded", "app": "unloaded"}
    client.load("app")
    assert factor(client, "app") == 2.0


def test_what_is_unloaded_stays_so_through_restarts(cluster: LocalCluster, client: Client) -> None:
    client.unload("a")
    for role in ("device0", "frontend"):
        old = cluster.pids()[role]
        subprocess.run(["kill", "-KILL", str(old)], check=True)
        wait_for(lambda role=role, old=old: cluster.pids().get(role, old) != old, cluster.poll)

        def serves() -> bool:
            try:
                return factor(client, "b") == 2.0
            except (UnavailableError, ModelNotFoundError):
                return False

        wait_for(serves, cluster.poll)
        assert client.models()["a"]["state"] == "unloaded"
    client.load("a")
    assert factor(client, "a") == 2.0


def test_the_commands(
    cluster: LocalCluster, client: Client, glet: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    address = ["--address", cluster.endpoint]
    done = glet("models", "unload", "a", *address, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"unloaded": "a"})
    assert client.models()["a"]["state"] == "unloaded"
    done = glet("models", "load", "a", "--slo-ms", "500", *address)
    assert (done.returncode, done.stdout) == (0, "a serves\n")
    assert client.models()["a"]["slo_ms"] == 500.0
    for arguments, says in (
        (["load", "aa"], "aa"),
        (["load", "a", "--slo-ms", "-1"], "--slo-ms -1"),
        (["load", "a", "--max-batch", "9999"], "max_batch is 9999; valid is 1 to 4096"),
        (["unload", "aa"], "did you mean 'a'?"),
    ):
        done = glet("models", *arguments, *address)
        assert done.returncode == 2
        assert says in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_controller_plans_what_is_loaded(tmp_path: Path, models: Path) -> None:
    latencies = tuple(
        MeasuredLatency(model=name, share_pct=share, batch=batch, p50_ms=1.0, p99_ms=1.0, samples=0)
        for name in ("a", "b")
        for share in (50, 100)
        for batch in (1, 8)
    )
    data = ProfileData(
        device=DeviceFacts(type="tiny", kind="profiled"),
        latencies=latencies,
        memory_mb={"a": 0.0, "b": 0.0},
    )
    write_profile(tmp_path / "profile", data)
    config = ClusterConfig(
        listen="tcp://127.0.0.1:0",
        models=str(models),
        partition="profiled",
        backend=(BackendConfig(profile=str(tmp_path / "profile")),),
        control=ControlConfig(mode="follow"),
    )
    with (
        LocalCluster(config, SystemClock()) as cluster,
        Client(cluster.endpoint, timeout_s=300.0) as client,
    ):
        wait_for(lambda: client.stats()["controller"]["round"] > 2, cluster.poll)
        client.unload("a")
        assert client.models()["a"]["state"] == "unloaded"
        rounds = client.stats()["controller"]["round"]
        wait_for(lambda: client.stats()["controller"]["round"] > rounds + 3, cluster.poll)
        assert client.models()["a"]["state"] == "unloaded"
        client.load("a")
        assert client.infer("a", {"x": X}, deadline_ms=60_000) is not None
