"""Compiled models through torch's C interface: what is refused, and why."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glet.errors import ArgumentError, DeviceError, ModelError
from glet.native import core

FAR_NS = 60_000_000_000
SYMBOLS = [
    *(f"aoti_torch_dtype_{name}" for name in (
        "float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
        "bool", "uint16", "uint32", "uint64",
    )),
    "aoti_torch_create_tensor_from_blob",
    "aoti_torch_delete_tensor_object",
    "aoti_torch_get_data_ptr",
    "aoti_torch_get_dim",
    "aoti_torch_get_sizes",
    "aoti_torch_get_strides",
    "aoti_torch_get_dtype",
    "aoti_torch_get_device_type",
    "aoti_torch_device_type_cpu",
    "aoti_torch_device_type_cuda",
]  # fmt: skip

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


def build(path: Path, source: str) -> str:
    path.with_suffix(".c").write_text(source)
    command = ["cc", "-shared", "-fPIC", "-o", str(path), str(path.with_suffix(".c"))]
    subprocess.run(command, check=True, capture_output=True)
    return str(path)


def fake_torch(path: Path, major: int, minor: int, symbols: list[str]) -> str:
    version = (major << 56) | (minor << 48)
    functions = "".join(f"int {name}(void) {{ return 0; }}\n" for name in symbols)
    return build(
        path,
        f"unsigned long long aoti_torch_abi_version(void) {{ return {version}ull; }}\n{functions}",
    )


def signature(outputs: list[tuple[str, str, list[int]]] | None = None) -> Any:
    given = outputs or [("y", "float32", [10]), ("s", "float32", [4, 4]), ("same", "float32", [16])]
    x = core.TensorSpec("x", "float32", [16])
    return core.Signature([x], [core.TensorSpec(*each) for each in given])


def plan() -> Any:
    return core.ModelPlan(core.LatencyTable([(1, 10_000)]), core.QueueLimits())


def test_torch_tells_its_version_and_opens_once(libtorch: str) -> None:
    version = core.load_torch(libtorch)
    assert int(version.split(".")[1]) >= 11
    assert core.load_torch(libtorch) == version


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "libtorch_cpu.so"
    with pytest.raises(DeviceError, match=f"cannot open {missing}"):
        core.load_torch(str(missing))


@needs_cc
@pytest.mark.parametrize(("major", "minor"), [(2, 10), (1, 13), (3, 0)])
def test_another_version_is_refused(tmp_path: Path, major: int, minor: int) -> None:
    path = fake_torch(tmp_path / "libtorch_cpu.so", major, minor, SYMBOLS)
    with pytest.raises(DeviceError, match=rf"is torch {major}\.{minor}; wanted 2\.11 or a later"):
        core.load_torch(path)


@needs_cc
@pytest.mark.parametrize("missing", SYMBOLS)
def test_a_missing_symbol_is_named(tmp_path: Path, missing: str) -> None:
    symbols = [name for name in SYMBOLS if name != missing]
    path = fake_torch(tmp_path / "libtorch_cpu.so", 2, 13, symbols)
    with pytest.raises(DeviceError, match=f"has no {missing}"):
        core.load_torch(path)


@needs_cc
def test_one_process_has_one_torch(tmp_path: Path, libtorch: str) -> None:
    core.load_torch(libtorch)
    other = fake_torch(tmp_path / "libtorch_cpu.so", 2, 13, SYMBOLS)
    with pytest.raises(DeviceError, match=f"was loaded from {libtorch}"):
        core.load_torch(other)


@needs_cc
def test_what_is_no_compiled_model_is_refused(tmp_path: Path, libtorch: str) -> None:
    core.load_torch(libtorch)
    with pytest.raises(ModelError, match=r"nowhere\.so cannot be opened"):
        core.AotiModel(str(tmp_path / "nowhere.so"), signature())
    other = build(tmp_path / "other.so", "int answer(void) { return 42; }")
    with pytest.raises(ModelError, match="has no AOTInductorModelContainerCreateWithDevice"):
        core.AotiModel(other, signature())


@needs_cc
def test_a_model_beyond_the_c_interface_is_refused(tmp_path: Path, libtorch: str) -> None:
    core.load_torch(libtorch)
    names = ("CreateWithDevice", "Delete", "Run", "GetNumInputs", "GetNumOutputs")
    functions = "".join(f"int AOTInductorModelContainer{n}(void) {{ return 1; }}\n" for n in names)
    call = "__attribute__((weak)) extern int aoti_torch_proxy_executor_call_function(void);\n"
    use = "int use(void) { return aoti_torch_proxy_executor_call_function(); }\n"
    path = build(tmp_path / "custom.so", call + use + functions)
    with pytest.raises(ModelError, match="beyond torch's C interface"):
        core.AotiModel(path, signature())
    path = build(tmp_path / "broken.so", functions)
    with pytest.raises(ModelError, match="could not be set up for the CPU"):
        core.AotiModel(path, signature())


def test_counts_that_differ_are_told(libtorch: str, compiled_mlp: Any) -> None:
    core.load_torch(libtorch)
    with pytest.raises(ModelError, match="has 1 inputs and 3 outputs; its signature says 1 and 1"):
        core.AotiModel(str(compiled_mlp.library), signature([("y", "float32", [10])]))
    with pytest.raises(ArgumentError, match="runners 0"):
        core.AotiModel(str(compiled_mlp.library), signature(), 0)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([("y", "float32", [9])], r"output 'y' is shape \(1, 10\); expected float32 \(1, 9\)"),
        ([("y", "float32", [10, 1])], r"is shape \(1, 10\); expected float32 \(1, 10, 1\)"),
        ([("y", "float64", [10])], r"is torch's dtype \d+; expected float64 \(1, 10\)"),
    ],
)
def test_outputs_that_differ_fail_the_batch(
    libtorch: str, compiled_mlp: Any, outputs: list[Any], message: str
) -> None:
    core.load_torch(libtorch)
    rest = [("s", "float32", [4, 4]), ("same", "float32", [16])]
    model = core.AotiModel(str(compiled_mlp.library), signature(outputs + rest))
    with core.Engine() as engine:
        engine.add_gpulet(1, "profiled")
        engine.load_aoti(1, 5, model, 1, plan())
        with pytest.raises(ModelError, match=message):
            engine.measure(1, 5, 1, 1)


@needs_cc
def test_a_model_that_fails_says_why(tmp_path: Path, libtorch: str) -> None:
    core.load_torch(libtorch)
    source = """
#include <stddef.h>
int AOTInductorModelContainerCreateWithDevice(void** c) { *c = NULL; return 0; }
int AOTInductorModelContainerDelete(void* c) { return 0; }
int AOTInductorModelContainerGetNumInputs(void* c, size_t* n) { *n = 1; return 0; }
int AOTInductorModelContainerGetNumOutputs(void* c, size_t* n) { *n = 1; return 0; }
int AOTInductorModelContainerRun(void* c) { return 1; }
int AOTInductorGetLastError(const char** text) { *text = "out of luck"; return 0; }
"""
    model = core.AotiModel(
        build(tmp_path / "failing.so", source), signature([("y", "float32", [1])])
    )
    with core.Engine() as engine:
        engine.add_gpulet(1, "profiled")
        engine.load_aoti(1, 5, model, 1, plan())
        x = np.zeros(16, np.float32)
        for _ in range(2):  # the gpulet goes on
            engine.submit([(1, 1, 5, core.now_ns() + FAR_NS, [x])])
            assert engine.wait(FAR_NS)
            (done,) = engine.drain()
            assert done.outcome == "failed"
            assert done.error.endswith("failing.so failed: out of luck")


def test_weights_are_counted(libtorch: str, compiled_mlp: Any) -> None:
    core.load_torch(libtorch)
    model = core.AotiModel(str(compiled_mlp.library), signature())
    assert model.constants_bytes >= 4 * (16 * 32 + 32 * 10)
