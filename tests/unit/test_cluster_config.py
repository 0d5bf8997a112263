"""cluster.toml: defaults, errors with the nearest name, paths, addresses."""

import re
from pathlib import Path

import msgspec
import pytest

from glet.config.cluster import (
    BackendConfig,
    ClusterConfig,
    GpuletConfig,
    ModelShareConfig,
    RayConfig,
    backend_name,
    load_cluster,
)
from glet.config.resource import resource
from glet.config.security import SecurityConfig
from glet.errors import ConfigError
from glet.wire.address import check_bind


def write(folder: Path, text: str) -> Path:
    file = folder / "cluster.toml"
    file.write_text(text)
    return file


def test_the_example_loads() -> None:
    config = load_cluster(resource("clusters", "one-machine.toml"))
    plan = config.static_plan()
    assert plan is not None
    assert [(g.device, g.share_pct, g.dedup) for g in plan.gpulets] == [(0, 50, 0), (0, 50, 1)]
    assert plan.models() == ("lenet", "mnasnet1_0", "resnet18")
    assert backend_name(config.backend[0]) == "cpu"


@pytest.mark.parametrize(
    "kind",
    [
        ClusterConfig,
        BackendConfig,
        GpuletConfig,
        ModelShareConfig,
        RayConfig,
        SecurityConfig,
    ],
    ids=lambda k: k.__name__,
)
def test_the_example_shows_every_key(kind: type[msgspec.Struct]) -> None:
    text = resource("clusters", "one-machine.toml").read_text()
    for key in kind.__struct_fields__:
        assert re.search(rf"\b{key}\b", text), key


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load_cluster(write(tmp_path, 'models = "m"\n[[backend]]\nprofile = "p.csv"\n'))
    assert config.models == str(tmp_path / "m")
    assert config.backend[0].profile == str(tmp_path / "p.csv")
    assert config.plan == ""


def test_the_home_of_nobody_is_a_folder_like_others(tmp_path: Path) -> None:
    config = load_cluster(write(tmp_path, "models = '~nobody-has-this-name/m'"))
    assert config.models == str(tmp_path / "~nobody-has-this-name" / "m")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("isolatoin = 'device'", "isolation"),
        ("[[backend]]\ncontrl = 'x'", "control"),
        ("[[backend]]\n[[backend]]", "same device"),
        ("backend = []", "at least one"),
        ("plan = 'p'\n[[gpulet]]\nshare_pct = 50", "one of them"),
        ("[[gpulet]]\nshare_pct = 60\n[[gpulet]]\nshare_pct = 60", "120 %"),
        ("[[gpulet]]\ndevice = 4\nshare_pct = 60", "device 4"),
        ("[[gpulet]]\nshare_pct = 0", "share_pct"),
        ("partition = 'gpu'", "partition"),
    ],
)
def test_errors_are_one_line_with_the_file(tmp_path: Path, text: str, says: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_cluster(file)
    assert str(caught.value).startswith(str(file))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_effective_configuration_reads_back(tmp_path: Path) -> None:
    config = load_cluster(resource("clusters", "one-machine.toml"))
    file = tmp_path / "cluster.json"
    file.write_bytes(msgspec.json.encode(config))
    assert load_cluster(file) == config
    file.write_bytes(b"{")
    with pytest.raises(ConfigError, match=r"cluster\.json"):
        load_cluster(file)


def test_defaults_need_no_file() -> None:
    assert ClusterConfig().static_plan() is None
    assert backend_name(ClusterConfig().backend[0]) == "device0"


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1:5555", "tcp://localhost:*", "tcp://[::1]:1", "ipc:///tmp/x"]
)
def test_addresses_of_this_machine_are_fine(endpoint: str) -> None:
    check_bind(endpoint, beyond=False)


@pytest.mark.parametrize("endpoint", ["tcp://0.0.0.0:1", "tcp://*:1", "tcp://10.0.0.1:*"])
def test_addresses_beyond_need_insecure(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="--insecure"):
        check_bind(endpoint, beyond=False)
    check_bind(endpoint, beyond=True)


@pytest.mark.parametrize(
    "endpoint", ["", "5555", "http://x:1", "tcp://x", "ipc://", "ipc://" + "p" * 108]
)
def test_other_text_is_no_endpoint(endpoint: str) -> None:
    with pytest.raises(ConfigError):
        check_bind(endpoint, beyond=True)
