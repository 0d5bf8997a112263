"""A frontend learns of backends while it serves, and does without those that go."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from two_models import X, make_two_models, serves
from waiting import WAIT_S, wait_for

from glet.client import Client
from glet.config.addresses import write_addresses
from glet.config.cluster import BackendConfig, ClusterConfig, ControlConfig, GpuletConfig
from glet.config.cluster import ModelShareConfig as Share
from glet.errors import RequestError, UnavailableError

Daemon = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """Starts `python -m glet.cli.NAME ...`; ends what is left."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", f"glet.cli.{name}", *arguments, "--log-level", "warning"]
        started.append(subprocess.Popen(command))
        return started[-1]

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(WAIT_S)


def cluster(tmp_path: Path, **changes: object) -> ClusterConfig:
    """Two slots for backends, of which the file of addresses tells."""
    profile = str(tmp_path / "latency.csv")
    made = ClusterConfig(
        listen=f"ipc://{tmp_path}/f",
        addresses=str(tmp_path / "backends.toml"),
        backend=tuple(BackendConfig(device=n, name=f"d{n}", profile=profile) for n in (0, 1)),
        control=ControlConfig(mode="static", start=False),
        **make_two_models(tmp_path),
    )
    return msgspec.structs.replace(made, **changes)


def body(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the frontend says; nothing while it is not there, or too busy for its heartbeats."""
    try:
        return ask()
    except UnavailableError:
        return {}


def alive(client: Client) -> set[str]:
    return {row["name"] for row in body(client.stats).get("backends", ()) if row["alive"]}


def are_ready(client: Client) -> bool:
    """Whether both models are on two gpulets that serve them."""
    found = [row["gpulets"] for row in body(client.models).values()]
    return [len(gpulets) for gpulets in found] == [2, 2] and all(
        gpulet["state"] == "ready" for gpulets in found for gpulet in gpulets
    )


def start(config: ClusterConfig, tmp_path: Path, daemon: Daemon) -> dict[str, str]:
    """A frontend and both backends; where each backend is. The frontend is told of none."""
    file = tmp_path / "cluster.json"
    file.write_bytes(msgspec.json.encode(config))
    daemon("frontend", str(file))
    at = {f"d{n}": f"ipc://{tmp_path}/d{n}.control" for n in (0, 1)}
    for name, control in at.items():
        (tmp_path / name).mkdir(mode=0o700)
        daemon(
            "backend", str(file), "--name", name, "--control", control,
            "--run-dir", str(tmp_path / name),
        )  # fmt: skip
    return at


@pytest.mark.slow
def test_models_are_spread_over_whoever_is_there(tmp_path: Path, daemon: Daemon) -> None:
    config = cluster(tmp_path)
    at = start(config, tmp_path, daemon)
    file = Path(config.addresses)
    with Client(config.listen) as client:
        wait_for(lambda: body(client.stats))
        assert client.stats()["backends"] == []
        write_addresses(file, {"d0": at["d0"]})
        wait_for(lambda: serves(client))
        assert alive(client) == {"d0"}
        write_addresses(file, at)

        def devices() -> set[int]:
            return {g["device"] for m in body(client.models).values() for g in m["gpulets"]}

        wait_for(lambda: alive(client) == {"d0", "d1"} and len(devices()) == 2)
        wait_for(lambda: serves(client))
        write_addresses(file, {"d1": at["d1"]})
        wait_for(lambda: alive(client) == {"d1"} and serves(client))


@pytest.mark.slow
def test_requests_of_a_backend_that_goes_are_served_by_the_other(
    tmp_path: Path, daemon: Daemon
) -> None:
    both = tuple(
        GpuletConfig(device=n, share_pct=50, models=(Share(model=m, batch=4, time_share=1.0),))
        for n in (0, 1)
        for m in ("a", "b")
    )
    config = cluster(tmp_path, gpulet=both)
    at = start(config, tmp_path, daemon)
    file = Path(config.addresses)
    outcomes: list[str] = []
    with Client(config.listen) as client:
        wait_for(lambda: body(client.stats))
        write_addresses(file, at)
        wait_for(lambda: are_ready(client))

        def ask(_: float = 0.0) -> None:
            for model in ("a", "b"):
                try:
                    client.infer(model, {"x": X}, deadline_ms=20000.0)
                    outcomes.append("ok")
                except RequestError as error:
                    outcomes.append(error.code)

        for there in ({"d1": at["d1"]}, at, {"d0": at["d0"]}, at):
            write_addresses(file, there)
            wait_for(lambda names=set(there): alive(client) == names, ask)
            ask()
    assert outcomes
    assert set(outcomes) == {"ok"}


@pytest.mark.slow
def test_ray_that_cannot_be_had_is_said_in_one_line(
    glet: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    make_two_models(tmp_path)
    done = glet(
        "up", "--models", "models", "--partition", "profiled", "--profile", "latency.csv",
        "--listen", f"ipc://{tmp_path}/f", "--ray", "127.0.0.1:1", "--ray-cpus", "1",
        limit_s=WAIT_S,
    )  # fmt: skip
    assert done.returncode == 2
    has_ray = importlib.util.find_spec("ray") is not None
    why = " 127.0.0.1:1: no cluster answers there: " if has_ray else " needs Ray; install it with: "
    assert done.stderr.startswith(f"glet: --ray{why}")
    assert done.stderr.strip().count("\n") == 0
