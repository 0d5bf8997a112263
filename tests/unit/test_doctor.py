"""The doctor: what it says of facts that are given, and what becomes of checks that misbehave."""

import json
import signal
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from glet.cli import doctor as command
from glet.cli.main import main
from glet.clock import ManualClock, SystemClock
from glet.errors import DeviceError
from glet.serve import (
    doctor,
    doctor_gpu,
    doctor_machine,
    doctor_mps,
    doctor_process,
    doctor_program,
    doctor_software,
    mps_control,
)
from glet.serve.doctor import CHECKS, examine, is_well, wanted_checks
from glet.serve.doctor_cgroup import cpu_quota, memory_limit
from glet.serve.doctor_finding import Check, Finding, Wish
from glet.serve.doctor_gpu import Nvml, NvmlDevice
from glet.serve.doctor_gpu_torch import AboutTorch, Gemm
from glet.serve.doctor_machine import Cores, Folders, Load, Memory, OpenFiles, Waking
from glet.serve.doctor_mps import Mps, judge_mps
from glet.serve.doctor_numbers import Numbers, judge_numbers, relative_error
from glet.serve.doctor_program import ask_program
from glet.serve.doctor_serving import (
    Models,
    SideBySide,
    Sockets,
    Threads,
    judge_models,
    judge_side_by_side,
    judge_sockets,
    judge_threads,
    look_at_models,
    look_side_by_side,
)
from glet.serve.doctor_software import CacheFolder, Core, CppCompiler, Python, Torch
from glet.serve.gpus import CudaProbe, Gpu

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
ABOUT = AboutTorch(version="2.11.0", cuda="13.0", available=True, devices=1)
GOOD_ERRORS = {"float32": 1e-6, "float16": 5e-4, "bfloat16": 3e-3}
CARD = NvmlDevice(name="NVIDIA H200", compute_mode=0, mig=False, gpm=True)
CLOCK = {"resolution_ns": 1.0, "timer_slack_ns": 50_000}
GPU_MISSING = "libcuda.so.1: cannot open shared object file"
NO_DRIVER = f"[CudaDriver] {GPU_MISSING}; install the NVIDIA driver"


def probe(*devices: Gpu, available: bool = True, why: str = "", driver: str = "13.0") -> CudaProbe:
    return CudaProbe(available=available, why=why, driver=driver, devices=devices)


def gemm(errors: Mapping[str, float | None]) -> Gemm:
    return Gemm(devices=("cuda:0",), m=512, k=1024, n=1024, errors=dict(errors))


def cards(*devices: NvmlDevice) -> Nvml:
    return Nvml(installed=True, driver="580.1", devices=devices)


def replaced(card: NvmlDevice, **changes: Any) -> NvmlDevice:
    return msgspec.structs.replace(card, **changes)


Case = tuple[Callable[[], Finding], str, str]
SOFTWARE: list[Case] = [
    (lambda: doctor_software.judge_core(Core(version="1", core_version="1", problem="")), "ok", ""),
    (lambda: doctor_software.judge_core(Core(version="1", core_version="", problem="")), "ok", ""),
    (
        lambda: doctor_software.judge_core(Core(version="2", core_version="1", problem="")),
        "failed",
        "its core was built for 1",
    ),
    (
        lambda: doctor_software.judge_core(Core(version="2", core_version="", problem="gone")),
        "failed",
        "does not load: gone",
    ),
    (
        lambda: doctor_software.judge_python(Python(version=(3, 11, 7), implementation="CPython")),
        "ok",
        "CPython 3.11.7",
    ),
    (
        lambda: doctor_software.judge_python(Python(version=(3, 9, 2), implementation="CPython")),
        "failed",
        "CPython 3.9.2 is too old",
    ),
    (lambda: doctor_software.judge_torch(Torch(installed=False)), "warning", "only model.py"),
    (
        lambda: doctor_software.judge_torch(Torch(installed=True, problem="found torch 2.4.1")),
        "failed",
        "found torch 2.4.1",
    ),
    (
        lambda: doctor_software.judge_torch(
            Torch(installed=True, version="2.13.0", interface="2.13")
        ),
        "ok",
        "torch 2.13.0",
    ),
    (lambda: doctor_software.judge_compiler(CppCompiler(command="g++")), "warning", "no C++"),
    (
        lambda: doctor_software.judge_compiler(
            CppCompiler(command="g++", path="/g++", problem="omp.h: not found")
        ),
        "warning",
        "/g++ cannot compile for models: omp.h: not found",
    ),
    (
        lambda: doctor_software.judge_compiler(
            CppCompiler(command="g++", path="/g++", version="g++ 12")
        ),
        "ok",
        "g++ 12",
    ),
    (
        lambda: doctor_software.judge_cache(CacheFolder(folder="/c", problem="Read-only")),
        "failed",
        "cannot keep compiled models here: Read-only",
    ),
    (
        lambda: doctor_software.judge_cache(CacheFolder(folder="/c", models=3, free_mb=20)),
        "warning",
        "0.0 GB free: that is little",
    ),
    (
        lambda: doctor_software.judge_cache(CacheFolder(folder="/c", models=3, free_mb=9000)),
        "ok",
        "holds 3 compiled models",
    ),
]
MACHINE: list[Case] = [
    (
        lambda: doctor_machine.judge_cores(Cores(usable=8, physical=8, host=8, quota=None)),
        "ok",
        "8 cores, all of this host",
    ),
    (
        lambda: doctor_machine.judge_cores(Cores(usable=4, physical=2, host=64, quota=4.0)),
        "ok",
        "4 cores of 64 on this host may be used; they are threads of 2 physical cores",
    ),
    (
        lambda: doctor_machine.judge_cores(Cores(usable=8, physical=8, host=8, quota=1.5)),
        "warning",
        "the time of 1.5",
    ),
    (
        lambda: doctor_machine.judge_cores(Cores(usable=1, physical=1, host=1, quota=None)),
        "warning",
        "1 core, all of this host: one gpulet fits",
    ),
    (
        lambda: doctor_machine.judge_memory(
            Memory(total_mb=32000, available_mb=30000, limit_mb=None)
        ),
        "ok",
        "30.0 of 32.0 GB free",
    ),
    (
        lambda: doctor_machine.judge_memory(
            Memory(total_mb=32000, available_mb=500, limit_mb=2000)
        ),
        "warning",
        "only 0.5 of 2.0 GB free; the container's limit, the host has 32.0 GB",
    ),
    (lambda: doctor_machine.judge_load(Load(busy=0.3, host=2)), "ok", "0.30 on 2 cores"),
    (lambda: doctor_machine.judge_load(Load(busy=1.5, host=2)), "warning", "something else"),
    (
        lambda: doctor_machine.judge_clock(Waking(late_median_ms=0.06, late_p99_ms=0.4, **CLOCK)),
        "ok",
        "0.06 ms late (p99 0.40 ms); timer slack 50 us",
    ),
    (
        lambda: doctor_machine.judge_clock(Waking(late_median_ms=0.06, late_p99_ms=9.0, **CLOCK)),
        "warning",
        "p99 9.00 ms",
    ),
    (
        lambda: doctor_machine.judge_clock(
            Waking(resolution_ns=4e6, timer_slack_ns=50_000, late_median_ms=0.1, late_p99_ms=0.2)
        ),
        "warning",
        "the clock only tells 4000 us apart",
    ),
    (lambda: doctor_machine.judge_open_files(OpenFiles(limit=20000, most=20000)), "ok", "20000"),
    (
        lambda: doctor_machine.judge_open_files(OpenFiles(limit=256, most=10000)),
        "warning",
        "only 256 files",
    ),
    (
        lambda: doctor_machine.judge_open_files(OpenFiles(limit=256, most=512)),
        "warning",
        "only 256 files",
    ),
    (
        lambda: doctor_machine.judge_folders(
            Folders(run="/tmp", problem="", run_free_mb=9000, shared_memory_free_mb=64)
        ),
        "ok",
        "sockets can lie in /tmp",
    ),
    (
        lambda: doctor_machine.judge_folders(
            Folders(
                run="/t", problem="run directory /t: no", run_free_mb=9, shared_memory_free_mb=9
            )
        ),
        "failed",
        "run directory /t: no",
    ),
    (
        lambda: doctor_machine.judge_folders(
            Folders(run="/tmp", problem="", run_free_mb=9, shared_memory_free_mb=64)
        ),
        "warning",
        "that is little",
    ),
    (
        lambda: doctor_machine.judge_folders(
            Folders(run="/tmp", problem="", run_free_mb=9000, shared_memory_free_mb=None)
        ),
        "warning",
        "/dev/shm cannot be written to",
    ),
]


def seen_sockets(*, ipc_ms: float = 0.1, has_curve: bool = True) -> Sockets:
    return Sockets(libzmq="l", version="4.3.5", has_curve=has_curve, tcp_ms=0.2, ipc_ms=ipc_ms)


SERVING: list[Case] = [
    (lambda: judge_sockets(seen_sockets(has_curve=False)), "warning", "cannot be encrypted"),
    (
        lambda: judge_sockets(
            Sockets(libzmq="l", version="4.3.5", has_curve=True, tcp_ms=0.2, ipc_ms=0.1)
        ),
        "ok",
        "0.20 ms over loopback, 0.10 ms over ipc",
    ),
    (
        lambda: judge_sockets(
            Sockets(libzmq="l", version="4.3.5", has_curve=True, tcp_ms=0.2, ipc_ms=30.0)
        ),
        "warning",
        "that is slow",
    ),
    (lambda: judge_side_by_side(SideBySide(cores=(3,))), "skipped", "one core"),
    (lambda: judge_side_by_side(SideBySide(cores=(0, 1), ratio=1.03)), "ok", "1.03 times"),
    (lambda: judge_side_by_side(SideBySide(cores=(0, 1), ratio=1.4)), "warning", "1.40 times"),
    (lambda: judge_side_by_side(SideBySide(cores=(0, 1), ratio=2.0)), "failed", "2.00 times"),
    (
        lambda: judge_side_by_side(SideBySide(cores=(0, 1), ratio=2.0, busy=3.0), host_cores=2),
        "warning",
        "beside other load of 3.00",
    ),
    (
        lambda: judge_side_by_side(SideBySide(cores=(0, 1), ratio=1.8, threads_of_one_core=True)),
        "warning",
        "threads of one physical core",
    ),
    (
        lambda: judge_threads(Threads(asked=((0,), (0, 1)), got=((0,), (0, 1)), threads=(1, 2))),
        "ok",
        "gpulets of 1 and 2 cores",
    ),
    (
        lambda: judge_threads(Threads(asked=((0,), (0, 1)), got=((0,), (0, 1)), threads=(1, 1))),
        "failed",
        "a model in a gpulet of 2 cores uses 1 threads",
    ),
    (
        lambda: judge_threads(Threads(asked=((0,),), got=((0, 1),), threads=(1,))),
        "failed",
        "a gpulet of the cores [0] got [0, 1]",
    ),
    (
        lambda: judge_numbers(Numbers(what="a network", error=3e-7, items=9, batches=(1, 8))),
        "ok",
        "in batches of 1 to 8, is off by 3.0e-07",
    ),
    (
        lambda: judge_numbers(Numbers(what="a network", error=0.9, items=9, batches=(8,))),
        "failed",
        "off by 9.0e-01",
    ),
    (
        lambda: judge_numbers(Numbers(what="a network", error=float("nan"), batches=(8,))),
        "failed",
        "off by nan",
    ),
    (
        lambda: judge_numbers(Numbers(what="a network", problem="no C++ compiler")),
        "warning",
        "no C++ compiler",
    ),
    (lambda: judge_models(Models(folder="m", problems={}, runners={})), "warning", "no models"),
    (
        lambda: judge_models(
            Models(folder="m", problems={}, runners={"a": "compiled", "b": "python"})
        ),
        "ok",
        "2 models, all sound: 1 compiled, 1 python",
    ),
    (
        lambda: judge_models(Models(folder="m", problems={}, runners={"a": "refused"})),
        "failed",
        "1 refused",
    ),
    (
        lambda: judge_models(Models(folder="m", problems={"a": "bad", "b": "bad"}, runners={})),
        "failed",
        "model 'a': bad; and 1 more",
    ),
]
GPU: list[Case] = [
    (
        lambda: doctor_gpu.judge_driver(
            probe(available=False, why=NO_DRIVER, driver=""), has_node=False
        ),
        "skipped",
        f"no NVIDIA GPU here ({GPU_MISSING})",
    ),
    (
        lambda: doctor_gpu.judge_driver(
            probe(available=False, why=NO_DRIVER, driver=""), has_node=True
        ),
        "failed",
        "a GPU is here, but cannot be used",
    ),
    (
        lambda: doctor_gpu.judge_driver(
            probe(WHOLE, available=False, why="CUDA 12.2"), has_node=True
        ),
        "warning",
        "it cannot be split into gpulets: CUDA 12.2",
    ),
    (
        lambda: doctor_gpu.judge_driver(probe(H200), has_node=True),
        "ok",
        "NVIDIA H200, 143771 MiB, 132 SMs in 15 units of 8 and 12 left over",
    ),
    (lambda: doctor_gpu.judge_gpu_torch(ABOUT, "13.0"), "ok", "for CUDA 13.0 finds 1 device"),
    (lambda: doctor_gpu.judge_gpu_torch(ABOUT, "12.8"), "failed", "too new for this driver"),
    (
        lambda: doctor_gpu.judge_gpu_torch(
            msgspec.structs.replace(ABOUT, cuda="", available=False), "13.0"
        ),
        "warning",
        "a build without CUDA",
    ),
    (
        lambda: doctor_gpu.judge_gpu_torch(
            msgspec.structs.replace(ABOUT, available=False, why="no device"), "13.0"
        ),
        "failed",
        "finds no device: no device",
    ),
    (lambda: doctor_gpu.judge_gpu_numbers(gemm(GOOD_ERRORS)), "ok", "bfloat16 3.0e-03"),
    (
        lambda: doctor_gpu.judge_gpu_numbers(gemm(GOOD_ERRORS | {"bfloat16": 0.92})),
        "failed",
        "bfloat16 cannot be trusted",
    ),
    (
        lambda: doctor_gpu.judge_gpu_numbers(gemm(GOOD_ERRORS | {"float16": None})),
        "failed",
        "float16 cannot be trusted",
    ),
    (
        lambda: doctor_gpu.judge_gpu_numbers(
            msgspec.structs.replace(gemm(dict.fromkeys(GOOD_ERRORS)), devices=())
        ),
        "skipped",
        "no GPU",
    ),
    (lambda: doctor_gpu.judge_gpu_numbers(gemm({})), "failed", "float32, float16, bfloat16"),
    (lambda: doctor_gpu.judge_gpu_mode(cards(CARD)), "ok", "compute mode Default, no MIG"),
    (
        lambda: doctor_gpu.judge_gpu_mode(cards(CARD, replaced(CARD, compute_mode=3))),
        "warning",
        "device 1 is in compute mode Exclusive_Process",
    ),
    (
        lambda: doctor_gpu.judge_gpu_mode(cards(replaced(CARD, compute_mode=2))),
        "failed",
        "Prohibited",
    ),
    (lambda: doctor_gpu.judge_gpu_mode(cards(replaced(CARD, mig=True))), "warning", "cut by MIG"),
    (lambda: doctor_gpu.judge_gpu_mode(Nvml(installed=False)), "skipped", "not installed"),
    (lambda: doctor_gpu.judge_counters(cards(CARD)), "ok", "GPM"),
    (lambda: doctor_gpu.judge_counters(cards(replaced(CARD, gpm=False))), "warning", "device 0"),
    (
        lambda: doctor_gpu.judge_counters(Nvml(installed=True, problem="Not Found")),
        "warning",
        "NVML does not answer: Not Found",
    ),
    (lambda: judge_mps(Mps(path="", pipes="/p")), "skipped", "not installed"),
    (lambda: judge_mps(Mps(path="/m", pipes="/p", hangs=True)), "failed", "does not answer"),
    (lambda: judge_mps(Mps(path="/m", pipes="/p")), "ok", "answered and was stopped"),
    (lambda: judge_mps(Mps(path="/m", pipes="/p", problem="no")), "warning", "cannot be used: no"),
    (
        lambda: judge_mps(Mps(path="/m", pipes="/p", running=True, servers=2)),
        "ok",
        "with 2 servers",
    ),
]


@pytest.mark.parametrize(("judge", "state", "says"), SOFTWARE + MACHINE + SERVING + GPU)
def test_facts_are_judged(judge: Callable[[], Finding], state: str, says: str) -> None:
    finding = judge()
    assert finding.state == state
    assert says in finding.says
    assert "\n" not in finding.says + finding.do
    assert finding.do or state in ("ok", "skipped")
    # Not-a-number has no place in JSON, and is told in words.
    assert json.loads(msgspec.json.encode(finding))["state"] == state


# ---- the machine, as far as it can be made up


def test_cpu_quota_of_version_2_is_the_tightest_above(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/kube/pod\n")
    root = tmp_path / "root"
    (root / "kube" / "pod").mkdir(parents=True)
    assert cpu_quota(root, own) is None
    (root / "kube" / "cpu.max").write_text("150000 100000\n")
    (root / "kube" / "pod" / "cpu.max").write_text("max 100000\n")
    assert cpu_quota(root, own) == 1.5


def test_cpu_quota_of_version_1(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("4:cpu,cpuacct:/docker/abc\n2:memory:/docker/abc\n0::/\n")
    cpu = tmp_path / "cpu,cpuacct"
    cpu.mkdir()
    (cpu / "cpu.cfs_quota_us").write_text("-1\n")
    (cpu / "cpu.cfs_period_us").write_text("100000\n")
    assert cpu_quota(tmp_path, own) is None
    (cpu / "cpu.cfs_quota_us").write_text("300000\n")
    assert cpu_quota(tmp_path, own) == 3.0


@pytest.mark.parametrize("version", [1, 2])
def test_memory_limit_counts_file_cache_as_free(tmp_path: Path, version: int) -> None:
    own = tmp_path / "own"
    own.write_text("3:memory:/a\n" if version == 1 else "0::/a\n")
    folder = (tmp_path / "memory" if version == 1 else tmp_path) / "a"
    folder.mkdir(parents=True)
    names = ("limit_in_bytes", "usage_in_bytes") if version == 1 else ("max", "current")
    limit, used = (folder / f"memory.{name}" for name in names)
    stat = "total_inactive_file 400\n" if version == 1 else "inactive_file 400\n"
    (folder / "memory.stat").write_text(f"cache 900\n{stat}")
    used.write_text("700\n")
    limit.write_text("9223372036854771712\n" if version == 1 else "max\n")
    assert memory_limit(tmp_path, own) is None
    limit.write_text("1000\n")
    found = memory_limit(tmp_path, own)
    assert found is not None
    assert (found.limit_bytes, found.free_bytes) == (1000, 700)


def test_no_cgroups_no_limits(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path, tmp_path / "none") is None
    assert memory_limit(tmp_path, tmp_path / "none") is None


def test_lateness_is_what_a_sleep_was_too_long() -> None:
    class Oversleeper(ManualClock):
        def sleep_s(self, seconds: float) -> None:
            super().sleep_s(seconds + 0.003)

    assert doctor_machine.lateness_ms(Oversleeper(), 5) == pytest.approx([3.0] * 5)


def test_hardware_threads_of_one_core_are_siblings(tmp_path: Path) -> None:
    for number in (0, 4):
        (tmp_path / f"cpu{number}" / "topology").mkdir(parents=True)
        path = tmp_path / f"cpu{number}" / "topology" / "thread_siblings_list"
        path.write_text("0,4\n")
    assert doctor_machine.siblings(0, tmp_path) == doctor_machine.siblings(4, tmp_path)
    assert doctor_machine.siblings(1, tmp_path) != doctor_machine.siblings(2, tmp_path)


def test_one_core_is_not_measured() -> None:
    assert look_side_by_side([7]) == SideBySide(cores=(7,))


def test_a_run_folder_that_cannot_be_written_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_machine.tempfile, "tempdir", str(tmp_path / "none"))
    (tmp_path / "none").mkdir()
    assert doctor_machine.folders(Wish()).state != "failed"
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(doctor_machine.tempfile, "tempdir", str(long))
    finding = doctor_machine.folders(Wish())
    assert finding.state == "failed"
    assert "too long for sockets" in finding.says
    assert list(long.iterdir()) == []


# ---- software that is missing, old or broken


def test_torch_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_software, "find_spec", lambda name: None)
    assert doctor_software.torch(Wish()).state == "warning"


def test_torch_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    def old() -> Any:
        raise DeviceError("found torch 2.4.1, wanted >= 2.11; pip install 'glet[torch]'")

    monkeypatch.setattr(doctor_software, "find_spec", lambda name: object())
    monkeypatch.setattr(doctor_software, "find_torch", old)
    finding = doctor_software.torch(Wish())
    assert (finding.state, finding.says) == ("failed", "found torch 2.4.1, wanted >= 2.11")
    assert finding.do.startswith("pip install 'glet[torch]'")


def script(path: Path, *lines: str) -> str:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return str(path)


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-g++"))
    assert doctor_software.compiler(Wish()).state == "warning"


def test_a_compiler_that_does_not_compile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = script(tmp_path / "c++", "echo 'c++ 1.0'", "echo 'x.cpp:1: fatal error: omp.h' >&2")
    (tmp_path / "c++").write_text(Path(broken).read_text() + "exit 1\n")
    monkeypatch.setenv("CXX", broken)
    finding = doctor_software.compiler(Wish())
    assert finding.state == "warning"
    assert "fatal error: omp.h" in finding.says
    assert finding.facts["version"] == "c++ 1.0"


def test_a_compiler_that_hangs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor_software, "PROGRAM_LIMIT_S", 0.2)
    monkeypatch.setenv("CXX", script(tmp_path / "c++", "exec sleep 600"))
    finding = doctor_software.compiler(Wish())
    assert finding.state == "warning"
    assert "not done" in finding.says


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert doctor_software.cache(Wish()).state == "failed"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    finding = doctor_software.cache(Wish())
    assert (finding.facts["problem"], finding.facts["models"]) == ("", 0)


def test_models_of_a_repository(tmp_path: Path) -> None:
    toml = (
        "slo_ms = 5\nmax_batch = 4\n"
        '[[input]]\nname = "x"\ndtype = "float32"\nshape = [2]\n'
        '[[output]]\nname = "y"\ndtype = "float32"\nshape = [2]\n'
    )
    for name, text in (("good", toml), ("bad", toml.replace("slo_ms", "slo"))):
        (tmp_path / "m" / name).mkdir(parents=True)
        (tmp_path / "m" / name / "model.toml").write_text(text)
        (tmp_path / "m" / name / "model.py").write_text("def infer(x): return x\n")
    facts = look_at_models(tmp_path / "m", tmp_path / "cache")
    assert facts.runners == {"good": "python"}
    assert list(facts.problems) == ["bad"]
    assert judge_models(facts).state == "failed"


def test_relative_error_counts_from_the_largest_value() -> None:
    import numpy as np

    right = np.array([[1.0, -4.0]])
    assert relative_error(np.array([[1.0, -3.0]], np.float32), right) == 0.25
    assert not relative_error(np.array([[np.nan, -3.0]], np.float32), right) <= 1.0


# ---- GPUs that are made up


def test_gpus_that_are_hidden_are_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = {"available": False, "why": "no device", "driver": "", "devices": []}
    monkeypatch.setattr(doctor_gpu.core, "cuda_probe", lambda: nothing, raising=False)
    monkeypatch.setattr(doctor_gpu, "NODE", Path("/"))
    assert doctor_gpu.driver(Wish()).state == "failed"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert doctor_gpu.driver(Wish()).state == "skipped"


class NVMLError(Exception):
    pass


def fake_nvml(**changes: Any) -> types.ModuleType:
    def refuse(*_: object) -> Any:
        raise NVMLError("Not Supported")

    module = types.ModuleType("pynvml")
    calls: dict[str, Any] = {
        "NVMLError": NVMLError,
        "NVML_DEVICE_MIG_ENABLE": 1,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlSystemGetDriverVersion": lambda: "580.95",
        "nvmlDeviceGetName": lambda handle: "NVIDIA H200",
        "nvmlDeviceGetComputeMode": lambda handle: 0,
        "nvmlDeviceGetMigMode": lambda handle: [0, 0],
        "nvmlGpmQueryDeviceSupport": lambda handle: types.SimpleNamespace(isSupportedDevice=1),
    }
    changes = {name: refuse if value is None else value for name, value in changes.items()}
    module.__dict__.update(calls | changes)
    return module


@pytest.mark.parametrize(
    ("changes", "mode", "counters"),
    [
        ({}, "ok", "ok"),
        ({"nvmlDeviceGetMigMode": lambda handle: [1, 1]}, "warning", "ok"),
        ({"nvmlDeviceGetComputeMode": lambda handle: 3}, "warning", "ok"),
        ({"nvmlDeviceGetMigMode": None, "nvmlGpmQueryDeviceSupport": None}, "ok", "warning"),
        ({"nvmlInit": None}, "warning", "warning"),
        ({"nvmlDeviceGetName": None}, "warning", "warning"),
    ],
)
def test_nvml(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], mode: str, counters: str
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(**changes))
    assert doctor_gpu.gpu_mode(Wish()).state == mode
    assert doctor_gpu.counters(Wish()).state == counters


def test_nvml_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    finding = doctor_gpu.counters(Wish())
    assert (finding.state, finding.do) == ("skipped", "pip install 'glet[gpu]'")


@pytest.mark.parametrize(
    ("lines", "state", "says"),
    [
        (["read question", '[ "$question" = get_server_list ] && echo 4711'], "ok", "1 server"),
        (["exit 1"], "warning", "ended at once"),
        # A child that keeps the output open must not hold the doctor either.
        (["sleep 600 &", "sleep 600"], "failed", "does not answer"),
    ],
)
def test_mps_control(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: list[str], state: str, says: str
) -> None:
    script(tmp_path / "nvidia-cuda-mps-control", *lines)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(doctor_mps, "START_LIMIT_S", 60.0)
    monkeypatch.setattr(mps_control, "LIMIT_S", 0.5 if state == "failed" else 30.0)
    finding = doctor_mps.mps(Wish())
    assert finding.state == state
    assert says in finding.says


def test_mps_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor_mps.mps(Wish()).state == "skipped"


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ('warning\n{"version": "2.11", "cuda": "", "available": false, "devices": 0}', ""),
        ("nonsense", "torch gave no answer: nonsense"),
    ],
)
def test_torch_is_asked_in_a_process(
    monkeypatch: pytest.MonkeyPatch, reply: str, message: str
) -> None:
    answer = doctor_program.Reply(code=0, text=reply)
    monkeypatch.setattr(doctor_gpu, "ask_program", lambda *_: answer)
    if not message:
        assert doctor_gpu.ask_torch(AboutTorch, "about").version == "2.11"
        return
    with pytest.raises(DeviceError, match=message):
        doctor_gpu.ask_torch(AboutTorch, "about")


@pytest.mark.parametrize(
    ("code", "message"), [(None, "the driver may hang"), (-11, "failed on the GPU: Segm")]
)
def test_torch_that_hangs_or_crashes(
    monkeypatch: pytest.MonkeyPatch, code: int | None, message: str
) -> None:
    answer = doctor_program.Reply(code=code, text="Segmentation fault\n")
    monkeypatch.setattr(doctor_gpu, "ask_program", lambda *_: answer)
    with pytest.raises(DeviceError, match=message):
        doctor_gpu.ask_torch(Gemm, "gemm")


@pytest.mark.slow
def test_torch_tells_what_it_was_built_for() -> None:
    torch = pytest.importorskip("torch")
    about = doctor_gpu.ask_torch(AboutTorch, "about")
    assert (about.version, about.cuda) == (torch.__version__, torch.version.cuda or "")
    assert about.devices == torch.cuda.device_count()


@pytest.mark.slow
def test_the_matrix_product_is_right_on_a_cpu() -> None:
    pytest.importorskip("torch")
    found = doctor_gpu.ask_torch(Gemm, "gemm", "cpu")
    assert doctor_gpu.judge_gpu_numbers(found).state == "ok"
    errors = list(found.errors.values())
    assert errors == sorted(errors, key=lambda error: error or 0.0)
    assert found.devices == ("cpu:0",)


# ---- programs


def test_a_program_answers() -> None:
    reply = ask_program(["sh", "-c", "read x; echo got $x; echo bad >&2; exit 3"], 10.0, says="a\n")
    assert (reply.code, reply.text, reply.last_line) == (3, "got a\nbad\n", "bad")


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        ask_program(["/no/such/program"], 1.0)


# ---- checks that misbehave

MADE_UP = """
import os, signal, subprocess, sys, threading
from glet.errors import DeviceError
from glet.serve.doctor_finding import Finding

def fine(wish):
    print("noise on standard output")
    return Finding(state="ok", says=f"fine {wish.models} {wish.quick}", facts={"n": 1})

def throws(wish):
    raise ValueError("surprise")

def refuses(wish):
    raise DeviceError("the device said no")

def crashes(wish):
    os.kill(os.getpid(), signal.SIGSEGV)

def leaves(wish):
    os._exit(0)

def hangs(wish):
    child = subprocess.Popen(["sleep", "600"])
    open(wish.models, "w").write(f"{os.getpid()} {child.pid}")
    threading.Event().wait()

def hangs_hard(wish):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hangs(wish)
"""


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Check]:
    """Makes checks out of MADE_UP, which the doctor's process can import."""
    (tmp_path / "made_up.py").write_text(MADE_UP)
    paths = [str(Path(doctor.__file__).parents[2]), str(tmp_path)]
    monkeypatch.setenv("PYTHONPATH", ":".join(paths))
    monkeypatch.setattr(doctor_process, "PATIENCE_S", 0.5)

    def make(function: str, **options: Any) -> Check:
        named = {"name": function, "group": "machine", "where": f"made_up:{function}"}
        return Check(**(named | options))

    return make


def test_a_check_that_breaks_costs_only_its_own_finding(made_up: Callable[..., Check]) -> None:
    checks = [made_up(name) for name in ("throws", "refuses", "crashes", "leaves", "fine")]
    seen: list[str] = []
    findings = examine(
        checks,
        Wish(models="m", quick=True),
        SystemClock(),
        before=lambda check: seen.append(check.name),
        after=lambda check, finding: seen.append(finding.state),
    )
    assert [finding.check for finding in findings] == [check.name for check in checks]
    assert [finding.says for finding in findings] == [
        "the check threw ValueError: surprise",
        "the device said no",
        "the check took its process down: ended by SIGSEGV",
        "the check took its process down: exit code 0",
        "fine m True",
    ]
    states = ["failed"] * 4 + ["ok"]
    assert [finding.state for finding in findings] == states
    assert seen == [word for pair in zip(map(str, seen[::2]), states, strict=True) for word in pair]
    assert findings[-1].facts == {"n": 1}
    assert not is_well(findings)


@pytest.mark.parametrize("function", ["hangs", "hangs_hard"])
def test_a_check_that_hangs_is_ended_with_its_children(
    made_up: Callable[..., Check], tmp_path: Path, function: str
) -> None:
    pids = tmp_path / "pids"
    checks = [made_up("fine"), made_up(function, limit_s=1.0), made_up("fine", name="after")]
    findings = examine(checks, Wish(models=str(pids)), SystemClock())
    assert [finding.state for finding in findings] == ["ok", "failed", "ok"]
    assert findings[1].says == "the check did not end within 1 s"
    for pid in map(int, pids.read_text().split()):
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie"


def test_checks_are_spared_what_they_need(made_up: Callable[..., Check]) -> None:
    checks = [
        made_up("refuses"),
        made_up("fine", name="second", needs=("refuses",)),
        made_up("fine", name="third", needs=("second",)),
        made_up("fine", name="fourth", slow=True),
        made_up("fine", name="fifth", needs=("not among them",)),
        made_up("fine", name="sixth", part_of="second"),
        made_up("fine", name="seventh", part_of="refuses"),
    ]
    findings = examine(checks, Wish(quick=True), SystemClock())
    assert [finding.state for finding in findings] == [
        "failed", "skipped", "skipped", "skipped", "ok", "skipped", "ok",
    ]  # fmt: skip
    assert [finding.says for finding in findings[1:4]] == [
        "not looked at, because refuses failed",
        "not looked at, because second was skipped",
        "takes seconds; left out by --quick",
    ]


def test_the_process_ends_when_its_parent_does_not_let_it(made_up: Callable[..., Check]) -> None:
    with doctor_process.CheckProcess(SystemClock()) as process:
        assert process.run(made_up("fine"), Wish()).state == "ok"
        (worker,) = (
            child
            for child in psutil.Process().children()
            if "glet.serve.doctor_worker" in child.cmdline()
        )
        worker.send_signal(signal.SIGSTOP)
    assert not worker.is_running()


# ---- the list and the command


def test_every_check_is_there_and_needs_earlier_ones() -> None:
    from importlib import import_module

    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    for index, check in enumerate(CHECKS):
        module, _, function = check.where.partition(":")
        assert callable(getattr(import_module(module), function))
        assert {*check.needs, check.part_of} <= {"", *names[:index]}
    groups = [check.group for check in CHECKS]
    assert sorted(groups, key=groups.index) == groups


def test_models_are_looked_at_when_there_is_a_folder() -> None:
    assert "models" not in {check.name for check in wanted_checks(Wish())}
    assert wanted_checks(Wish(models="m")) == CHECKS


FINDINGS = {
    "core": Finding(state="ok", says="it loads", facts={"version": "0.1.0"}),
    "python": Finding(state="warning", says="a word " * 30, do="take it easy"),
}


@pytest.fixture
def canned(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has the command find what is given, check -> finding; all else is skipped."""

    def can(findings: Mapping[str, Finding]) -> None:
        def run(self: Any, check: Check, wish: Wish) -> Finding:
            return findings.get(check.name, Finding(state="skipped", says="not here"))

        monkeypatch.setattr(doctor_process.CheckProcess, "run", run)

    return can


def test_the_report_is_one_object(
    canned: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    canned(FINDINGS)
    assert main(["doctor", "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert err == ""
    assert set(report) == {"ok", "glet", "checks"}
    assert report["ok"] is True
    assert [check["name"] for check in report["checks"]] == [
        check.name for check in CHECKS if check.name != "models"
    ]
    assert all(set(check) == {"name", "state", "says", "do", "facts"} for check in report["checks"])
    assert report["checks"][0] == {
        "name": "core",
        "state": "ok",
        "says": "it loads",
        "do": "",
        "facts": {"version": "0.1.0"},
    }


def test_the_exit_code_is_1_when_a_check_failed(
    canned: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    canned(FINDINGS | {"cache": Finding(state="failed", says="full", do="make room")})
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "  failed   cache        full\n" in out
    assert "-> make room\n" in out
    assert "1 failed" in out.splitlines()[-1]


def test_bad_input_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--models", "/no/such"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == ("glet: /no/such: is not a folder; a model repository is a folder of models\n")


def test_lines_are_as_wide_as_the_terminal(
    canned: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    canned(FINDINGS)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "software"
    assert lines[1] == "  ok       core         it loads"
    column = lines[1].index("it loads")
    (advice,) = (line for line in lines if "-> " in line)
    assert advice == " " * column + "-> take it easy"
    assert "GPU" in lines


def test_a_summary_says_what_it_means() -> None:
    ok, failed = Finding(state="ok", says=""), Finding(state="failed", says="")
    assert command.summary([ok, ok]) == "2 ok: glet can serve here"
    assert command.summary([ok, failed]) == "1 ok, 1 failed: look at what failed first"
