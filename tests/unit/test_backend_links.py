"""Backends that come and go with the file of addresses, and how many of them Ray is asked for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from glet.cli.main import main
from glet.clock import ManualClock
from glet.config.addresses import read_addresses, write_addresses
from glet.config.cluster import BackendConfig, ClusterConfig, RayConfig
from glet.errors import ConfigError
from glet.serve.backend_links import BackendLinks, Change
from glet.serve.ray_backends import capacity, own_cores, slots
from glet.serve.ray_host import Place

ONE, TWO = "tcp://127.0.0.1:5701", "tcp://127.0.0.1:5702"


class Rig:
    """Links of a cluster with a fixed backend `f` and slots `a` and `b`."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        cluster = ClusterConfig(
            addresses=str(file),
            backend=(
                BackendConfig(device=0, name="f", control="tcp://127.0.0.1:5700"),
                BackendConfig(device=1, name="a"),
                BackendConfig(device=2, name="b"),
            ),
        )
        self.links = BackendLinks(self.context, cluster, ManualClock())

    def change(self) -> tuple[list[str], list[str]]:
        """Names of those that came, and of those that went; what went is closed."""
        found: Change = self.links.refresh()
        for link in found.gone:
            link.channel.close()
        return [link.name for link in found.new], [link.name for link in found.gone]

    def close(self) -> None:
        for link in self.links:
            link.channel.close()
        self.context.term()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "backends.toml")
    yield made
    made.close()


def test_backends_are_there_while_the_file_names_them(rig: Rig) -> None:
    assert rig.links.come_and_go
    assert rig.links.devices() == {0, 1, 2}
    assert [link.name for link in rig.links] == ["f"]
    assert rig.change() == ([], [])
    write_addresses(rig.file, {"a": ONE})
    assert rig.change() == (["a"], [])
    assert rig.change() == ([], [])
    write_addresses(rig.file, {"a": TWO, "b": ONE})
    # The same backend at another place is another line.
    assert rig.change() == (["a", "b"], ["a"])
    write_addresses(rig.file, {"b": ONE})
    assert rig.change() == ([], ["a"])
    assert {link.name: link.device for link in rig.links} == {"f": 0, "b": 2}
    rig.file.unlink()
    assert rig.change() == ([], ["b"])
    assert len(rig.links) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[control]\nc = 'tcp://h:1'\n", "no backend is called 'c'; valid are a, b"),
        ("[control]\nf = 'tcp://h:1'\n", "no backend is called 'f'; valid are a, b"),
        ("[controll]\na = 'tcp://h:1'\n", "unknown key 'controll'; did you mean 'control'?"),
        ("[control]\na = 5\n", "expected str, got int"),
        ("[control\n", "backends.toml:1:"),
        ("[control]\nb = 'tcp://127.0.0.1:5702'\na = 'nowhere'\n", "cannot connect to 'nowhere'"),
    ],
)
def test_a_file_that_is_wrong_changes_nothing(
    rig: Rig, text: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_addresses(rig.file, {"a": ONE})
    rig.change()
    rig.file.write_text(text)
    assert rig.change() == ([], [])
    assert [link.name for link in rig.links] == ["f", "a"]
    assert says in caplog.messages[-1]
    assert "\n" not in caplog.messages[-1]


def test_names_are_written_as_they_are_read(tmp_path: Path) -> None:
    file = tmp_path / "backends.toml"
    said = {'a "b"': ONE, "ü": "ipc:///x\\y"}
    write_addresses(file, said)
    assert read_addresses(file, said) == said


def node(alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"memory": 1e9, **resources}}


def test_as_many_as_fit_on_the_nodes_that_live() -> None:
    nodes = [node(CPU=5.0), node(CPU=2.0, GPU=2.0), node(alive=False, CPU=9.0, GPU=9.0), node()]
    assert capacity(nodes, RayConfig()) == 2
    assert capacity(nodes, RayConfig(cpus_per_backend=2)) == 3
    assert capacity(nodes, RayConfig(cpus_per_backend=1, most_backends=4)) == 4


def test_no_core_has_two_backends() -> None:
    place = Place(node="n", address="127.0.0.1", cores=(0, 1, 2, 3, 4), gpus=())
    ray = RayConfig(cpus_per_backend=2)
    first = own_cores(place, (), ray)
    assert first == (0, 1)
    second = own_cores(place, (BackendConfig(cores=(0, 1)),), ray)
    assert second == (2, 3)
    taken = (BackendConfig(cores=(0, 1)), BackendConfig(cores=(2, 3)))
    assert own_cores(place, taken, ray) is None


def test_one_table_stands_for_all_backends_on_ray(tmp_path: Path) -> None:
    cluster = ClusterConfig(
        backend=(BackendConfig(profile="/p"),),
        ray=RayConfig(address="auto", cpus_per_backend=1, most_backends=3),
    )
    made = slots(cluster, tmp_path / "b.toml")
    assert [(b.name, b.device, b.profile) for b in made.backend] == [
        ("ray0", 0, "/p"), ("ray1", 1, "/p"), ("ray2", 2, "/p"),
    ]  # fmt: skip
    assert (made.partition, made.addresses) == ("cpu", str(tmp_path / "b.toml"))
    on_gpus = ClusterConfig(ray=RayConfig(address="auto"))
    assert slots(on_gpus, tmp_path / "b.toml").partition == "green"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"backend": (BackendConfig(cores=(0,)),)}, "one [[backend]] table stands for all"),
        ({"backend": (BackendConfig(), BackendConfig(device=1))}, "one [[backend]] table"),
        ({"plan": "ModelList.txt"}, "no plan and no [[gpulet]]"),
        ({"partition": "cpu"}, "partition cpu on Ray: say how many CPUs"),
        (
            {"partition": "green", "ray": RayConfig(address="auto", cpus_per_backend=1)},
            "partition green on Ray: a backend gets a GPU",
        ),
    ],
)
def test_settings_that_do_not_go_with_ray(settings: dict[str, Any], says: str) -> None:
    cluster = ClusterConfig(**({"ray": RayConfig(address="auto")} | settings))
    with pytest.raises(ConfigError) as caught:
        slots(cluster, Path("b.toml"))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--ray-cpus", "0", "--ray", "h:1"], "--ray-cpus 0; valid is 1 or more"),
        (["--ray-cpus", "2"], "say --ray ADDRESS too"),
        (["--ray", "h:1", "--partition", "cpu"], "partition cpu on Ray: say how many CPUs"),
    ],
)
def test_wrong_options_of_ray(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert says in said
    assert "\n" not in said
