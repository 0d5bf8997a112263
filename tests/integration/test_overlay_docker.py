"""The demo of docker/overlay with a real container engine, on a real overlay network."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from container_engine import Engine, EngineOfPrograms, needs_engine
from results_log import check_results
from waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
OVERLAY = ROOT / "docker" / "overlay"
ADDRESSES = {
    "glet-demo-backend-0": "10.10.0.3",
    "glet-demo-backend-1": "10.10.0.4",
    "glet-demo-frontend": "10.10.0.20",
}

pytestmark = [pytest.mark.docker, pytest.mark.slow, needs_engine]


@pytest.fixture
def engine() -> Iterator[Engine]:
    started = EngineOfPrograms(ROOT)
    try:
        yield started
    finally:
        started.close()


def addresses(engine: Engine) -> dict[str, str]:
    """Of the running containers on the network of the demo."""
    names = engine.run("docker", "ps", "--format", "{{.Names}}", check=True).stdout.split()
    found = json.loads(engine.run("docker", "inspect", *names, check=True).stdout)
    return {
        each["Name"].lstrip("/"): each["NetworkSettings"]["Networks"]["glet-demo"]["IPAddress"]
        for each in found
    }


def networks(engine: Engine) -> list[str]:
    return engine.run("docker", "network", "ls", "--format", "{{.Name}}", check=True).stdout.split()


def test_the_demo_runs_in_containers_and_is_removed(engine: Engine, tmp_path: Path) -> None:
    done = engine.run(OVERLAY / "run.sh", tmp_path / "results", "--rps", "3", "--seconds", "4")
    logs = [engine.run("docker", "logs", name) for name in ADDRESSES]
    assert done.returncode == 0, "\n".join([done.stderr, *(log.stderr[-2000:] for log in logs)])
    check_results(tmp_path / "results")
    assert addresses(engine) == ADDRESSES
    network = engine.run("docker", "network", "inspect", "glet-demo", check=True).stdout
    assert json.loads(network)[0]["Driver"] == "overlay"

    engine.run(OVERLAY / "down.sh", check=True)
    assert engine.run("docker", "ps", "--all", "--quiet", check=True).stdout == ""
    # A swarm takes its time.
    wait_for(lambda: "glet-demo" not in networks(engine))


def test_a_backend_that_there_is_not_is_refused_in_one_line(engine: Engine) -> None:
    done = engine.run(OVERLAY / "backend.sh", "2")
    assert (done.returncode, done.stderr) == (2, "usage: backend.sh 0|1\n")
