"""Which kind of partition a machine gets, and what is said when it cannot be had."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from glet.config.cluster import BackendConfig, ClusterConfig
from glet.config.load import load
from glet.errors import ConfigError
from glet.serve import gpus
from glet.serve.gpus import CudaProbe, Gpu, GpuFacts, device_type, gpu_device, visible_name
from glet.serve.partition_choice import choose_partition, resolve
from glet.types.device import PartitionChoice

H200 = Gpu(
    name="NVIDIA H200",
    sms=132,
    memory_mb=143771,
    compute_capability="9.0",
    units=15,
    unit_sms=8,
    remainder_sms=12,
)
WHOLE = msgspec.structs.replace(H200, units=0, unit_sms=0, remainder_sms=0)
OLD = "the driver speaks CUDA 12.2; green contexts need CUDA 12.5: install driver 555 or later"
NONE = CudaProbe(available=False, why="libcuda.so.1 is not there", driver="", devices=())
NEW_DRIVER = CudaProbe(available=True, why="", driver="13.0", devices=(H200, H200))
OLD_DRIVER = CudaProbe(available=False, why=OLD, driver="12.2", devices=(WHOLE,))
MPS = "/usr/bin/nvidia-cuda-mps-control"
HOSTS = ("green", "mps", "cpu", "profiled")
SAYS_H200 = "NVIDIA H200, 143771 MiB, 132 SMs in 15 units of 8 and 12 left over"


@pytest.mark.parametrize(
    ("facts", "kind", "says"),
    [
        (GpuFacts(probe=NEW_DRIVER, mps_control=MPS), "green", f"partition green: {SAYS_H200}; "),
        (GpuFacts(probe=OLD_DRIVER, mps_control=MPS), "mps", "partition mps: NVIDIA H200, "),
        (
            GpuFacts(probe=OLD_DRIVER),
            "cpu",
            "not the GPU: the driver speaks CUDA 12.2; glet doctor",
        ),
        (
            GpuFacts(probe=NEW_DRIVER, torch_problem="torch 2.13 is a build without CUDA"),
            "cpu",
            "not the GPU: torch 2.13 is a build without CUDA; glet doctor says more",
        ),
        (GpuFacts(probe=NONE, has_node=True), "cpu", "a GPU is here, but cannot be used"),
    ],
)
def test_the_best_there_is(facts: GpuFacts, kind: str, says: str) -> None:
    choice = choose_partition("auto", facts, HOSTS)
    assert choice.kind == kind
    assert says in choice.says
    assert "\n" not in choice.says


def test_a_machine_without_a_gpu_needs_no_words() -> None:
    choice = choose_partition("auto", GpuFacts(probe=NONE), HOSTS)
    assert (choice.kind, choice.says, choice.gpus) == ("cpu", "", 0)


def test_a_core_that_hosts_no_gpu_is_not_given_one() -> None:
    facts = GpuFacts(probe=NEW_DRIVER, mps_control=MPS)
    choice = choose_partition("auto", facts, ("cpu", "profiled"))
    assert choice.kind == "cpu"
    assert "the core of this glet makes no green contexts" in choice.says


@pytest.mark.parametrize(
    ("wanted", "facts", "says"),
    [
        ("green", GpuFacts(probe=NONE), "no NVIDIA GPU here (libcuda.so.1 is not there); valid"),
        ("mps", GpuFacts(probe=NONE, mps_control=MPS), "no NVIDIA GPU here"),
        (
            "green",
            GpuFacts(probe=OLD_DRIVER, mps_control=MPS),
            "the driver speaks CUDA 12.2; valid here are mps, cpu, profiled",
        ),
        ("mps", GpuFacts(probe=NEW_DRIVER), "MPS is not installed"),
    ],
)
def test_what_cannot_be_had_is_refused(wanted: PartitionChoice, facts: GpuFacts, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        choose_partition(wanted, facts, HOSTS)
    assert says in str(refused.value)
    assert str(refused.value).startswith(f"partition {wanted}: ")
    assert "\n" not in str(refused.value)


def test_what_was_asked_for_is_taken() -> None:
    facts = GpuFacts(probe=NEW_DRIVER, mps_control=MPS, torch_problem="no torch")
    for wanted in HOSTS:
        assert choose_partition(wanted, facts, HOSTS).kind == wanted


def test_a_backend_for_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = GpuFacts(probe=NEW_DRIVER, mps_control=MPS)
    monkeypatch.setattr("glet.serve.partition_choice.gpu_facts", lambda: facts)
    monkeypatch.setattr("glet.serve.partition_choice.engine_kinds", lambda: HOSTS)
    cluster, choice = resolve(ClusterConfig())
    assert (cluster.partition, choice.gpus) == ("green", 2)
    assert cluster.backend == (BackendConfig(gpu="0"), BackendConfig(device=1, gpu="1"))
    named = ClusterConfig(backend=(BackendConfig(gpu="GPU-1f"),), partition="mps")
    assert resolve(named)[0] == named
    monkeypatch.setattr("glet.serve.partition_choice.engine_kinds", lambda: ("mps", "cpu"))
    with pytest.raises(ConfigError, match="partition green: the core of this glet makes no green"):
        resolve(msgspec.structs.replace(named, partition="green"))
    own_cores, _ = resolve(ClusterConfig(backend=(BackendConfig(cores=(0,)),)))
    assert own_cores.partition == "cpu"


def test_a_driver_that_hangs_costs_the_gpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "has_driver", lambda: True)
    monkeypatch.setattr(gpus, "PROBE_LIMIT_S", 0.0)
    cluster, choice = resolve(ClusterConfig())
    assert cluster.partition == "cpu"
    assert "it may hang" in choice.says
    with pytest.raises(ConfigError, match="partition green: the CUDA driver did not answer"):
        resolve(ClusterConfig(partition="green"))


@pytest.mark.parametrize(
    ("gpu", "environment", "name"),
    [
        ("1", {}, "1"),
        ("GPU-1f", {"CUDA_VISIBLE_DEVICES": "3"}, "GPU-1f"),
        ("1", {"CUDA_VISIBLE_DEVICES": "3, GPU-2e"}, "GPU-2e"),
    ],
)
def test_a_gpu_is_named_for_a_child(gpu: str, environment: dict[str, str], name: str) -> None:
    assert visible_name(gpu, environment) == name


def test_a_gpu_that_cannot_be_seen() -> None:
    with pytest.raises(ConfigError, match="has 1 GPU; valid are 0 to 0"):
        visible_name("1", {"CUDA_VISIBLE_DEVICES": "0"})


def test_products_are_folder_names() -> None:
    assert device_type("NVIDIA H200") == "h200"
    assert device_type("NVIDIA H100 80GB HBM3") == "h100-80gb-hbm3"
    assert device_type("(?)") == "gpu"


def test_a_gpu_as_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    asked: list[object] = []

    def answer(extra: object) -> CudaProbe:
        asked.append(extra)
        return NEW_DRIVER

    monkeypatch.setattr(gpus, "ask_driver", answer)
    device = gpu_device("green", BackendConfig(device=1))
    assert asked == [{"CUDA_VISIBLE_DEVICES": "1"}]
    assert (device.gpu, device.type, device.says) == ("1", "h200", "NVIDIA H200, 132 SMs")
    assert (device.units, device.unit_sms, device.remainder_sms) == (15, 8, 12)
    assert device.max_gpulets == 14
    monkeypatch.setattr(gpus, "ask_driver", lambda extra: OLD_DRIVER)
    assert gpu_device("mps", BackendConfig(gpu="GPU-1f")).gpu == "GPU-1f"
    with pytest.raises(ConfigError, match="cannot be cut by green contexts: the driver speaks"):
        gpu_device("green", BackendConfig())
    monkeypatch.setattr(gpus, "ask_driver", lambda extra: NONE)
    with pytest.raises(ConfigError, match="backend device0: there is no GPU '7'"):
        gpu_device("green", BackendConfig(gpu="7"))


def test_names_of_gpus_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text('[[backend]]\ngpu = "GPU-5f0c1d2e-aa"\n[[backend]]\ndevice = 1\ngpu = "1"\n')
    assert [backend.gpu for backend in load(file, ClusterConfig).backend] == [
        "GPU-5f0c1d2e-aa",
        "1",
    ]
    file.write_text('[[backend]]\ngpu = "first"\n')
    with pytest.raises(ConfigError, match="gpu"):
        load(file, ClusterConfig)
    file.write_text('partition = "green"\nisolation = "gpulet"\n')
    with pytest.raises(ConfigError, match="one executor per device"):
        load(file, ClusterConfig)


def command(
    fake_cuda: Path, *arguments: str, settings: str = ""
) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "LD_LIBRARY_PATH": str(fake_cuda), "FAKE_CUDA": settings}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )


DEVICES = """
import msgspec
from glet.config.cluster import BackendConfig
from glet.serve.gpus import gpu_device, gpu_facts
print(msgspec.json.encode(gpu_facts().probe).decode())
print(msgspec.json.encode(gpu_device("green", BackendConfig(name="left"))).decode())
"""


def test_the_driver_is_asked(fake_cuda: Path) -> None:
    run = command(fake_cuda, "-c", DEVICES, settings="devices=2")
    assert run.stderr == ""
    facts, device = (msgspec.json.decode(line) for line in run.stdout.splitlines())
    assert [gpu["units"] for gpu in facts["devices"]] == [15, 15]
    assert (device["name"], device["sms"], device["remainder_sms"]) == ("left", 132, 12)


def test_a_driver_that_is_too_old_is_told_of(fake_cuda: Path, tmp_path: Path) -> None:
    arguments = ["-m", "glet.cli.main", "up", "--models", str(tmp_path), "--partition", "green"]
    run = command(fake_cuda, *arguments, settings="driver=12020")
    assert run.returncode == 2
    (line,) = run.stderr.splitlines()
    assert "partition green: the driver speaks CUDA 12.2; valid here are" in line
