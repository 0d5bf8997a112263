"""The probe of the CUDA driver, each time in a process that finds another libcuda.so.1."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAKE_SOURCES = sorted((ROOT / "tests" / "cpp").glob("fake_cuda*.cpp"))
PROBE = "import json; from glet.native import core; print(json.dumps(core.cuda_probe()))"
NOTHING = {"available": False, "driver": "", "devices": []}


def compiler() -> str:
    for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++"):
        if name and shutil.which(name):
            return name
    pytest.skip("no C++ compiler to build the fake libcuda.so.1 with")


def build(folder: Path, sources: list[Path]) -> Path:
    """A folder with a libcuda.so.1 made of `sources`."""
    library = folder / "libcuda.so.1"
    flags = ["-std=c++20", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{ROOT / 'csrc'}"]
    subprocess.run([compiler(), *flags, *map(str, sources), "-o", str(library)], check=True)
    return folder


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("fake"), FAKE_SOURCES)


def probe(folder: Path, settings: str = "") -> dict[str, Any]:
    env = {**os.environ, "LD_LIBRARY_PATH": str(folder), "FAKE_CUDA": settings}
    run = subprocess.run(
        [sys.executable, "-c", PROBE], env=env, capture_output=True, text=True, check=True
    )
    assert run.stderr == ""
    report: dict[str, Any] = json.loads(run.stdout)
    return report


def test_a_device_and_its_units(fake: Path) -> None:
    assert probe(fake) == {
        "available": True,
        "why": "",
        "driver": "13.0",
        "devices": [
            {
                "name": "Fake GPU 0",
                "sms": 132,
                "memory_mb": 143771,
                "compute_capability": "9.0",
                "units": 15,
                "unit_sms": 8,
                "remainder_sms": 12,
            }
        ],
    }


def test_every_device_is_told_of(fake: Path) -> None:
    report = probe(fake, "devices=3,sms=108,unit=4,align=2,rest=0,capability=80,driver=12080")
    assert report["driver"] == "12.8"
    assert [device["name"] for device in report["devices"]] == [f"Fake GPU {i}" for i in range(3)]
    assert {device["units"] for device in report["devices"]} == {27}
    assert {device["compute_capability"] for device in report["devices"]} == {"8.0"}


def test_a_driver_too_old_for_green_contexts(fake: Path) -> None:
    report = probe(fake, "driver=12020")
    assert not report["available"]
    assert report["why"] == (
        "the driver speaks CUDA 12.2; green contexts need CUDA 12.5: install driver 555 or later"
    )
    assert report["devices"][0]["sms"] == 132
    assert report["devices"][0]["units"] == 0


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ("devices=0", "CUDA_ERROR_NO_DEVICE"),
        ("hide=cuDeviceGet", "has no cuDeviceGet of CUDA 2.0"),
        ("fail=cuInit:1:803", "reload the module"),
        ("fail=cuDeviceGetCount:1:2", "cuDeviceGetCount: CUDA_ERROR_OUT_OF_MEMORY (2)"),
    ],
)
def test_a_driver_that_does_not_start(fake: Path, settings: str, why: str) -> None:
    report = probe(fake, settings)
    assert why in report.pop("why")
    assert report == NOTHING


def test_a_device_that_does_not_split(fake: Path) -> None:
    report = probe(fake, "fail=cuDeviceGetDevResource:1:801")
    assert not report["available"]
    assert report["why"].startswith("device 0: [CudaDriver] cuDeviceGetDevResource: ")
    assert report["devices"][0]["memory_mb"] == 143771


def test_a_library_without_what_is_needed(tmp_path: Path) -> None:
    source = tmp_path / "old.cpp"
    source.write_text("int too_old;\n")
    report = probe(build(tmp_path, [source]))
    assert "libcuda.so.1 has no cuGetProcAddress_v2" in report.pop("why")
    assert report == NOTHING


def test_a_library_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "libcuda.so.1").write_text("no library\n")
    report = probe(tmp_path)
    assert "install the NVIDIA driver" in report.pop("why")
    assert report == NOTHING


def test_this_machine_is_probed_without_an_error() -> None:
    run = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    report = json.loads(run.stdout)
    assert report["available"] or report["why"]
    assert all(device["units"] >= 0 and device["sms"] > 0 for device in report["devices"])


@pytest.mark.gpu
def test_a_real_device_splits_into_units() -> None:
    run = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    report = json.loads(run.stdout)
    if not report["available"]:
        pytest.skip(report["why"])
    for device in report["devices"]:
        total_sms = device["units"] * device["unit_sms"] + device["remainder_sms"]
        assert device["units"] > 0
        assert total_sms == device["sms"]
