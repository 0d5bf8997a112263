"""The images, built and used: compose.yaml as it is, on a stand-in for Python's image.

The base is Debian's Python, Prometheus is Debian's, and Grafana is left out.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from container_engine import Engine
from image_builds import DOCKER, build_all, data_folder, why_not
from results_log import check_results
from served_models import write
from waiting import WAIT_S, wait_for

WHY_NOT = why_not()
pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
]
OVERLAY = DOCKER / "overlay"
FOUR = {"x": ("float32", "[4]")}, {"y": ("float32", "[4]")}
X = [0.0, 1.0, 2.0, 3.0]
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": X}]})
HTTP = "http://127.0.0.1:8000"
PROMETHEUS = "http://127.0.0.1:9090"
# Compiling, on a busy machine.
START_LIMIT_S = 900.0
GATED = """import os
import time


def infer(x):
    while os.path.exists("/models/slow/gate"):
        time.sleep(0.01)
    return x * 2
"""
EXPORT = """
import json, sys, torch
torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)).eval()
batch = {0: torch.export.Dim("batch", min=1, max=64)}
with torch.no_grad():
    program = torch.export.export(model, (torch.zeros(2, 4),), dynamic_shapes=(batch,))
    torch.export.save(program, sys.argv[1])
    print(json.dumps(model(torch.tensor([json.loads(sys.argv[2])]))[0].tolist()))
"""
ASK_ZMQ = """
import glet, numpy as np
with glet.Client("tcp://127.0.0.1:5555") as client:
    print(client.infer("slow", np.arange(4, dtype=np.float32), deadline_ms=240e3).tolist())
"""
ASK_GRPC = """
import tritonclient.grpc as grpc
print(grpc.InferenceServerClient("127.0.0.1:8001").is_model_ready("compiled"))
"""
# docker's init is process 1, and ends with its child.
KILL = """
import os, signal, pathlib
os.kill(int(pathlib.Path("/proc/1/task/1/children").read_text()), signal.SIGKILL)
"""
CONNECT = "import socket; socket.create_connection(('127.0.0.1', 8000), 5)"


class Site:
    """compose.yaml's services glet and prometheus, as project `site`."""

    def __init__(self, engine: Engine, models: Path, expected: list[float]) -> None:
        self.engine = engine
        self.models = models
        self.expected = expected
        engine.environment["GLET_MODELS"] = str(models)

    def compose(self, *words: str) -> "subprocess.CompletedProcess[str]":
        file = ("--file", DOCKER / "compose.yaml")
        done = self.engine.run("docker-compose", "--project-name", "site", *file, *words)
        assert done.returncode == 0, done.stderr
        return done

    def up(self) -> None:
        """Starts what does not run, and waits until glet is healthy."""
        self.compose("up", "--detach", "--no-build", "glet", "prometheus")
        wait_for(self._is_healthy, limit_s=START_LIMIT_S)

    def _is_healthy(self) -> bool:
        state = self.state()
        assert state["Running"], self.engine.run("docker", "logs", self.container()).stdout
        return bool(state["Health"]["Status"] == "healthy")

    def container(self) -> str:
        return self.compose("ps", "--quiet", "glet").stdout.strip()

    def state(self) -> dict[str, Any]:
        found = self.engine.run("docker", "inspect", self.container(), check=True).stdout
        state: dict[str, Any] = json.loads(found)[0]["State"]
        return state

    def inside(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A command in the container of glet, as its user."""
        return self.engine.run("docker", "exec", self.container(), *words)

    def get(self, url: str) -> Any:
        """What is published there, as JSON; None where nothing answers."""
        done = self.engine.run(*self.engine.inside("curl", "-sSfg", url))
        return json.loads(done.stdout) if done.returncode == 0 else None

    def ask(self, program: str) -> str:
        done = self.engine.run(*self.engine.inside(sys.executable, "-c", program))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start_asking(self, model: str) -> "subprocess.Popen[str]":
        words = ["curl", "-sSg", "--data", BODY, f"{HTTP}/v2/models/{model}/infer"]
        return subprocess.Popen(
            self.engine.inside(*words),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def measured(self, query: str) -> list[float]:
        """What Prometheus answers now."""
        found = self.get(f"{PROMETHEUS}/api/v1/query?query={query}")
        return [float(each["value"][1]) for each in found["data"]["result"]] if found else []


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """Images are built in the machine's network, and run in one that leads nowhere."""
    with data_folder() as data:
        builder = Engine(data, sealed=False)
        builder.environment["DOCKER_BUILDKIT"] = "0"
        try:
            build_all(builder)
        finally:
            builder.close()
        runs = Engine(data)
        yield runs
        runs.close()


@pytest.fixture(scope="module")
def site(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    models = tmp_path_factory.mktemp("images") / "models"
    write(models, "slow", *FOUR, GATED, max_batch=1)
    write(models, "compiled", *FOUR, "")
    (models / "compiled" / "model.py").unlink()
    # One that the image cannot compile is not served at all.
    toml = models / "compiled" / "model.toml"
    toml.write_text(f'runner = "compiled"\n{toml.read_text()}')
    command = [sys.executable, "-c", EXPORT, models / "compiled" / "model.pt2", json.dumps(X)]
    exported = subprocess.run(command, capture_output=True, text=True)
    if exported.returncode:
        pytest.skip(f"no model can be exported here: {exported.stderr[-500:]}")
    made = Site(engine, models, json.loads(exported.stdout.splitlines()[-1]))
    yield made
    made.compose("down", "--volumes")


def test_a_compiled_model_is_served_at_all_published_ports(site: Site) -> None:
    site.up()
    answer, errors = site.start_asking("compiled").communicate(timeout=START_LIMIT_S)
    assert json.loads(answer)["outputs"][0]["data"] == pytest.approx(site.expected, abs=1e-4)
    assert errors == ""
    assert site.ask(ASK_ZMQ) == "[0.0, 2.0, 4.0, 6.0]"


def test_grpc_is_published_too(site: Site) -> None:
    pytest.importorskip("tritonclient.grpc")
    site.up()
    assert site.ask(ASK_GRPC) == "True"


def test_glet_has_no_rights_and_writes_where_it_may(site: Site) -> None:
    site.up()
    assert site.inside("id", "--user").stdout == "10001\n"
    for folder in ("/", "/opt/glet", "/home/glet", "/models"):
        assert "Read-only file system" in site.inside("touch", f"{folder}/made").stderr
    for folder in ("/tmp", "/var/cache/glet"):
        assert site.inside("touch", f"{folder}/made").returncode == 0
    status = dict(
        line.split(":", 1) for line in site.inside("cat", "/proc/1/status").stdout.splitlines()
    )
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"


def test_prometheus_scrapes_glet_and_has_its_rules(site: Site) -> None:
    site.up()
    site.start_asking("compiled").communicate(timeout=START_LIMIT_S)
    wait_for(lambda: site.measured('up{job="glet"}') == [1.0])
    wait_for(lambda: sum(site.measured('glet_requests_total{model="compiled",outcome="ok"}')) >= 1)
    rules = site.get(f"{PROMETHEUS}/api/v1/rules")["data"]["groups"]
    assert [group["name"] for group in rules] == ["glet", "glet-alerts"]


def test_all_goes_on_after_a_crash_of_glet(site: Site) -> None:
    site.up()
    began = site.state()["StartedAt"]
    assert site.inside("python", "-c", KILL).returncode == 0
    wait_for(lambda: site.state()["StartedAt"] != began)
    site.up()
    restarted = site.state()["StartedAt"]

    def is_scraped() -> bool:
        found = site.get(f"{PROMETHEUS}/api/v1/targets")
        targets = found["data"]["activeTargets"] if found else []
        return any(each["health"] == "up" and each["lastScrape"] > restarted for each in targets)

    wait_for(is_scraped)
    answer, _ = site.start_asking("compiled").communicate(timeout=START_LIMIT_S)
    assert json.loads(answer)["outputs"][0]["data"] == pytest.approx(site.expected, abs=1e-4)


def test_what_is_under_way_is_answered_when_the_service_is_stopped(site: Site) -> None:
    site.up()
    gate = site.models / "slow" / "gate"
    gate.touch()
    asked = [site.start_asking("slow") for _ in range(4)]
    outstanding = 'glet_requests_outstanding{model="slow"}'
    wait_for(lambda: site.measured(outstanding) == [4.0])
    container = site.container()
    stop = subprocess.Popen(
        ["docker-compose", "--project-name", "site", "-f", DOCKER / "compose.yaml", "stop", "glet"],
        env=site.engine.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(
        lambda: site.engine.run("docker", "exec", container, "python", "-c", CONNECT).returncode
    )
    gate.unlink()
    for request in asked:
        answer, errors = request.communicate(timeout=WAIT_S)
        # On a machine that is too slow for the drain, the answer is a reason.
        told = json.loads(answer)
        assert "error" in told or told["outputs"][0]["data"] == [0.0, 2.0, 4.0, 6.0], errors
    assert stop.wait(timeout=WAIT_S) == 0
    state = json.loads(site.engine.run("docker", "inspect", container).stdout)[0]["State"]
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)


def test_compiled_models_outlive_the_container(site: Site) -> None:
    listing = ("find", "/var/cache/glet", "-name", "compiled.json", "-printf", "%p %i %T@\n")
    site.up()
    before, first = site.inside(*listing).stdout, site.container()
    assert len(before.splitlines()) == 1
    site.compose("down")
    site.up()
    assert site.container() != first
    assert site.inside(*listing).stdout == before
    answer, _ = site.start_asking("compiled").communicate(timeout=START_LIMIT_S)
    assert json.loads(answer)["outputs"][0]["data"] == pytest.approx(site.expected, abs=1e-4)


def test_the_image_for_gpus_starts_and_says_that_there_is_none(engine: Engine) -> None:
    base = ("docker", "run", "--rm", "--no-healthcheck")
    doctor = engine.run(*base, "glet:cuda", "doctor")
    assert "GPU" in doctor.stdout
    nvml = engine.run(*base, "--entrypoint", "python", "glet:cuda", "-c", "import pynvml")
    assert (nvml.returncode, nvml.stderr) == (0, "")


def test_the_demo_of_four_hosts_runs_on_the_image(engine: Engine, tmp_path: Path) -> None:
    options = ("--rps", "3", "--seconds", "4")
    done = engine.run(OVERLAY / "run.sh", tmp_path / "results", *options)
    logs = engine.run("docker", "logs", "glet-demo-frontend")
    assert done.returncode == 0, f"{done.stderr}\n{logs.stderr[-2000:]}"
    check_results(tmp_path / "results")
    engine.run(OVERLAY / "down.sh", check=True)
