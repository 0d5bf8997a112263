"""Rules for what is in docker/: Dockerfiles, the compose files, the scripts of the demo."""

import ast
import ipaddress
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from glet.cli.main import Parser
from glet.cli.up import add_parser
from glet.config.cluster import ClusterConfig, load_cluster
from glet.serve.repository import Repository

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
OVERLAY = DOCKER / "overlay"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
SCRIPTS = sorted([*OVERLAY.glob("*.sh"), DOCKER / "debian-base.sh"])
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*")
Instruction = tuple[str, str]


def name(path: Path) -> str:
    return path.name


def instructions(path: Path) -> list[Instruction]:
    """Keyword and rest of every instruction, with its lines joined."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    words = (line.split(None, 1) for line in joined.splitlines() if line.strip())
    return [(keyword.upper(), rest.strip()) for keyword, rest in words]


def stages(path: Path) -> list[list[Instruction]]:
    """From every FROM to the next; what is before the first is in no stage."""
    found: list[list[Instruction]] = []
    for instruction in instructions(path):
        if instruction[0] == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def arguments(path: Path) -> dict[str, str]:
    """Of a build: names and defaults, "" without one."""
    given = [rest.partition("=") for keyword, rest in instructions(path) if keyword == "ARG"]
    return {argument: default for argument, _, default in given}


def last(stage: list[Instruction], keyword: str) -> str:
    return [rest for found, rest in stage if found == keyword][-1]


def context_keeps(source: str) -> bool:
    """Whether .dockerignore, which leaves out all that it does not name, lets a file through."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    return f"!{source}" in lines


def test_there_is_something_to_check() -> None:
    assert [path.name for path in DOCKERFILES] == ["cpu.Dockerfile", "cuda.Dockerfile"]
    assert len(SCRIPTS) >= 8


@pytest.mark.parametrize("path", DOCKERFILES, ids=name)
def test_images_are_built_in_one_stage_and_run_in_another_from_pinned_bases(path: Path) -> None:
    found = stages(path)
    assert [stage[0][1] for stage in found] == [
        "${PYTHON_IMAGE} AS compiler",
        "compiler AS build",
        "compiler",
    ]
    assert PINNED.fullmatch(arguments(path)["PYTHON_IMAGE"])
    assert "wheel" in str(found[1])
    assert [rest for keyword, rest in found[2] if keyword == "COPY"] == [
        "--from=build /opt/glet /opt/glet"
    ]


@pytest.mark.parametrize("path", DOCKERFILES, ids=name)
def test_mirrors_are_named_by_arguments_that_the_readme_has(path: Path) -> None:
    table = (DOCKER / "README.md").read_text()
    found = arguments(path)
    assert {"PYTHON_IMAGE", "DEBIAN_MIRROR", "PIP_INDEX_URL", "PIP_FIND_LINKS"} < set(found)
    for argument in found:
        assert f"`{argument}`" in table, argument


@pytest.mark.parametrize("path", DOCKERFILES, ids=name)
def test_what_is_copied_exists_and_is_in_the_context(path: Path) -> None:
    copied = [rest for keyword, rest in stages(path)[1] if keyword == "COPY"]
    assert copied
    for source in (word for rest in copied for word in rest.split()[:-1]):
        assert (ROOT / source).exists(), source
        assert context_keeps(source), source


@pytest.mark.parametrize("path", DOCKERFILES, ids=name)
def test_what_the_wheel_is_made_of_is_copied(path: Path) -> None:
    copied = " ".join(rest for keyword, rest in stages(path)[1] if keyword == "COPY").split()
    needed = {"pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE"}
    assert needed | {"csrc", "python", "resource", "profiles"} <= set(copied)


@pytest.mark.parametrize("path", DOCKERFILES, ids=name)
def test_images_run_as_a_user_without_rights_and_say_how_they_are(path: Path) -> None:
    stage = stages(path)[-1]
    user, _, group = last(stage, "USER").partition(":")
    assert int(user) >= 10000
    assert int(group) >= 10000
    check = json.loads(last(stage, "HEALTHCHECK").partition("CMD")[2])
    assert check[:2] == ["python", "-c"]
    ast.parse(check[2])
    assert "/v2/health/ready" in check[2]
    assert "org.opencontainers.image.licenses" in last(stage, "LABEL")


@pytest.mark.parametrize("path", DOCKERFILES, ids=name)
def test_the_ports_of_an_image_are_those_it_listens_at(path: Path) -> None:
    stage = stages(path)[-1]
    command = json.loads(last(stage, "CMD"))
    assert json.loads(last(stage, "ENTRYPOINT")) == ["glet"]
    listens = [word.rpartition(":")[2] for word in command if ":" in word]
    assert last(stage, "EXPOSE").split() == listens
    glet = Parser()
    add_parser(glet.add_subparsers())
    assert glet.parse_args(command).http.endswith(":8000")


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_scripts_are_sound(path: Path) -> None:
    done = subprocess.run(["sh", "-n", path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    if path.name != "env.sh":
        assert path.stat().st_mode & 0o111
        assert "set -eu" in path.read_text()


@pytest.fixture(scope="module")
def cluster() -> ClusterConfig:
    return load_cluster(OVERLAY / "cluster.toml")


def test_the_demo_has_the_published_addresses_in_one_network(cluster: ClusterConfig) -> None:
    controls = [urlsplit(backend.control) for backend in cluster.backend]
    assert [control.hostname for control in controls] == ["10.10.0.3", "10.10.0.4"]
    assert urlsplit(cluster.listen).hostname == "10.10.0.20"
    scripts = "".join(path.read_text() for path in SCRIPTS)
    subnet = ipaddress.ip_network("10.10.0.0/24")
    assert str(subnet) in scripts
    for address in ("10.10.0.3", "10.10.0.4", "10.10.0.20", "10.10.0.21"):
        assert ipaddress.ip_address(address) in subnet
        assert re.search(rf"\b{re.escape(address)}\b", scripts)


def test_the_demo_has_every_file_that_it_names(cluster: ClusterConfig) -> None:
    models = Repository(Path(cluster.models))
    assert models.names() == ["resnet50", "vgg16"]
    assert [models.entry(each).config.slo_ms for each in models.names()] == [108.0, 142.0]
    assert all(Path(backend.profile).is_dir() for backend in cluster.backend)


def test_compose_files_are_accepted_with_all_that_they_mount() -> None:
    yaml = pytest.importorskip("yaml")
    config: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    services = config["services"]
    assert sorted(services) == ["glet", "grafana", "prometheus"]
    for service in services.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert not source.startswith("./") or (DOCKER / source).exists(), source
        if "build" not in service:
            assert PINNED.fullmatch(service["image"])
        # A shared namespace is gone for the others when its owner restarts.
        assert "network_mode" not in service
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_compose_differs_from_a_machine_without_containers_by_its_host_names() -> None:
    yaml = pytest.importorskip("yaml")

    def read(name: str) -> str:
        return json.dumps(yaml.safe_load((DOCKER / name).read_text()))

    scraped = read("prometheus/prometheus.yml").replace("127.0.0.1:8000", "glet:8000")
    assert read("prometheus/compose.yml") == scraped
    source = read("grafana/provisioning/datasources/prometheus.yml")
    assert read("grafana/compose.yml") == source.replace("127.0.0.1:9090", "prometheus:9090")


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="needs docker-compose")
@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.cuda.yaml"]])
def test_compose_itself_accepts_them(files: list[str]) -> None:
    words = [word for file in files for word in ("--file", str(DOCKER / file))]
    done = subprocess.run(
        ["docker-compose", *words, "config", "--quiet"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
