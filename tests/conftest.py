"""What tests of several rooms share: a small compiled model, made once per torch and machine."""

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, settings

# No test is about how long something takes: machines are busy.
settings.register_profile("glet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("glet")

COMPILE_MLP = """
import sys, numpy as np, torch

class Mlp(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    def forward(self, x):
        return self.layers(x), x.sin().reshape(-1, 4, 4).transpose(1, 2), x

package, reference = sys.argv[1:]
torch.manual_seed(0)
model = Mlp().eval()
x = torch.randn(64, 16)
with torch.no_grad():
    batch = {0: torch.export.Dim("b", min=1, max=64)}
    program = torch.export.export(model, (x[:2],), dynamic_shapes=(batch,))
    torch._inductor.aoti_compile_and_package(
        program, package_path=package,
        inductor_configs={"freezing": True, "cpp.dynamic_threads": True})
    y, s, same = model(x)
np.savez(reference, x=x.numpy(), y=y.numpy(), s=s.contiguous().numpy(), same=same.numpy())
"""


class CompiledMlp(NamedTuple):
    """A model with one input x (16) and outputs y (10), s (4, 4) and same (16)."""

    library: Path
    x: npt.NDArray[np.float32]
    outputs: list[npt.NDArray[np.float32]]


def torch_folder() -> Path:
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        pytest.skip("torch is not installed")
    return Path(spec.origin).parent


@pytest.fixture(scope="session")
def libtorch() -> str:
    return str(torch_folder() / "lib" / "libtorch_cpu.so")


@pytest.fixture(scope="session")
def compiled_mlp(pytestconfig: pytest.Config) -> CompiledMlp:
    """Compiled in a process of its own (10 to 40 s), then kept in pytest's cache."""
    version = (torch_folder() / "version.py").read_text()
    cpu = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0]
    key = hashlib.sha256("".join([COMPILE_MLP, version, platform.node(), cpu]).encode())
    folder = pytestconfig.cache.mkdir(f"mlp-{key.hexdigest()[:16]}")
    reference = folder / "reference.npz"
    if not reference.exists():
        command = [sys.executable, "-c", COMPILE_MLP, str(folder / "mlp.pt2"), str(reference)]
        subprocess.run(command, check=True, capture_output=True)
    library = folder / "mlp.so"
    if not library.exists():
        with zipfile.ZipFile(folder / "mlp.pt2") as package:
            name = next(n for n in package.namelist() if n.endswith(".so"))
            library.write_bytes(package.read(name))
    with np.load(reference) as arrays:
        return CompiledMlp(library, arrays["x"], [arrays[n] for n in ("y", "s", "same")])


@pytest.fixture
def fake_mps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that answers like nvidia-cuda-mps-control, first in PATH; its log."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "nvidia-cuda-mps-control"
    source = Path(__file__).with_name("fake_mps_control.py").read_text(encoding="utf-8")
    program.write_text(f"#!{sys.executable} -IS\n{source}", encoding="utf-8")
    program.chmod(0o755)
    log = tmp_path / "mps.log"
    log.touch()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_MPS_LOG", str(log))
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path / "elsewhere"))
    return log


@pytest.fixture(scope="session")
def fake_cuda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a libcuda.so.1 that plays a GPU: for LD_LIBRARY_PATH of another process."""
    folder = tmp_path_factory.mktemp("cuda")
    build_library("fake_cuda*.cpp", folder / "libcuda.so.1")
    return folder


@pytest.fixture(scope="session")
def fake_torch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A torch, and a model that it compiled, on that driver: for FAKE_TORCH of another process."""
    library = tmp_path_factory.mktemp("torch") / "libtorch_cpu.so"
    build_library("fake_torch.cpp", library)
    return library


def build_library(sources: str, library: Path) -> None:
    """Of files in tests/cpp."""
    names = (os.environ.get("CXX", ""), "c++", "g++", "clang++")
    compiler = next((name for name in names if name and shutil.which(name)), None)
    if compiler is None:
        pytest.skip(f"no C++ compiler to build {library.name} with")
    root = Path(__file__).resolve().parents[1]
    files = sorted(str(path) for path in (root / "tests" / "cpp").glob(sources))
    flags = ["-std=c++20", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{root / 'csrc'}"]
    subprocess.run([compiler, *flags, *files, "-o", str(library)], check=True)
