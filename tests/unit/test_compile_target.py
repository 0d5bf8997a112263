"""What models are compiled for, and what tells code for it apart."""

from pathlib import Path
from typing import Any

import pytest
from vector_entries import model_toml, write_program

from glet.config.load import decode
from glet.config.model import ModelConfig, to_toml
from glet.errors import ConfigError, DeviceError
from glet.serve import compile_target
from glet.serve.compile_target import CompileTarget, cpu_target, gpu_target
from glet.serve.gpus import CudaProbe, Gpu
from glet.serve.repository import Entry, Repository
from glet.serve.torch_path import TorchInstall, cuda_of
from glet.types.device import DeviceInfo


def entry(folder: Path, extra: str = "compile = 'aoti'\n") -> Entry:
    (folder / "m").mkdir(exist_ok=True)
    (folder / "m" / "model.toml").write_text(extra + model_toml(50.0))
    write_program(folder / "m")
    return Repository(folder).entry("m")


def target(
    monkeypatch: pytest.MonkeyPatch, capability: str = "9.0", cuda: str = "13.0"
) -> CompileTarget:
    gpu = Gpu(
        name="NVIDIA H200", sms=132, memory_mb=143771, compute_capability=capability, units=15,
        unit_sms=8, remainder_sms=12,
    )  # fmt: skip
    asked: list[Any] = []

    def ask(environment: Any) -> CudaProbe:
        asked.append(dict(environment))
        return CudaProbe(available=True, why="", driver="13.0", devices=(gpu,))

    monkeypatch.setattr(compile_target, "ask_driver", ask)
    torch = TorchInstall("2.13.0", Path("libtorch_cpu.so"), cuda)
    monkeypatch.setattr(compile_target, "find_torch", lambda: torch)
    made = gpu_target(DeviceInfo(name="d", kind="green", type="h200", gpu="GPU-5f"))
    assert asked == [dict(made.environment)]
    return made


def test_the_key_has_all_that_code_for_a_gpu_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = [
        cpu_target(),
        target(monkeypatch),
        target(monkeypatch, capability="10.0"),
        target(monkeypatch, cuda="12.8"),
    ]
    plain, half = entry(tmp_path), "precision = 'fp16'\ncompile = 'aoti'\n"
    keys = [each.key_of(plain) for each in targets]
    assert len(set(keys)) == 4
    assert "compute capability 9.0" in keys[1]
    assert "CUDA 13.0" in keys[1]
    of_half = entry(tmp_path, half)
    assert targets[1].key_of(of_half) != keys[1]
    # A CPU computes as the model was saved.
    assert targets[0].key_of(of_half) == keys[0]


def test_a_process_that_compiles_sees_the_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made = target(monkeypatch)
    assert made.environment["CUDA_VISIBLE_DEVICES"] == "GPU-5f"
    assert (made.says, made.uncompiled) == ("NVIDIA H200 (9.0)", "graph")


def test_without_a_gpu_there_is_nothing_to_compile_for(monkeypatch: pytest.MonkeyPatch) -> None:
    none = CudaProbe(available=False, why="[CudaDriver] no device; look", driver="", devices=())
    monkeypatch.setattr(compile_target, "ask_driver", lambda environment: none)
    with pytest.raises(DeviceError, match=r"^there is no GPU to compile for: no device$"):
        gpu_target()


def test_on_a_gpu_only_what_asks_for_it_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = target(monkeypatch)
    assert made.why_not(entry(tmp_path)) == ""
    assert made.why_not(entry(tmp_path, "")) == "model.toml does not say compile = 'aoti'"
    assert cpu_target().why_not(entry(tmp_path, "")) == ""


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="compile = 'aoti' and runner = 'python' exclude"):
        entry(tmp_path, "compile = 'aoti'\nrunner = 'python'\n")
    with pytest.raises(ConfigError, match="compile"):
        entry(tmp_path, "compile = 'tensorrt'\n")
    found = entry(tmp_path)
    text = to_toml(found.config)
    assert 'compile = "aoti"' in text
    assert decode(text, ModelConfig, "model.toml") == found.config
    (tmp_path / "m" / "model.pt2").unlink()
    (tmp_path / "m" / "model.py").write_text("def infer(x):\n    return x\n")
    with pytest.raises(ConfigError, match=r"compile = 'aoti' needs model.pt2, this is model.py"):
        Repository(tmp_path).entry("m")


@pytest.mark.parametrize(
    ("line", "cuda"),
    [
        ("cuda: Optional[str] = '13.0'", "13.0"),
        ('cuda = "12.8"', "12.8"),
        ("cuda: Optional[str] = None", ""),
        ("", ""),
    ],
)
def test_the_cuda_that_torch_was_built_for(tmp_path: Path, line: str, cuda: str) -> None:
    file = tmp_path / "version.py"
    file.write_text(f"__version__ = '2.13.0'\ndebug = False\n{line}\nhip: Optional[str] = '6'\n")
    assert cuda_of(file) == cuda
    assert cuda_of(tmp_path / "none.py") == ""
