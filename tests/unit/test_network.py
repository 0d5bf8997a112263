"""Networks of torch by precision and order of dimensions, on the CPU; devices on torch's `meta`."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from glet.config.load import decode  # noqa: E402
from glet.config.model import ModelConfig, Precision, to_toml  # noqa: E402
from glet.errors import ConfigError, ModelError  # noqa: E402
from glet.serve.aoti_gpu import exported_network  # noqa: E402
from glet.serve.callables import load_callable  # noqa: E402
from glet.serve.capture_torch import ALIGNMENT_BYTES, zeros  # noqa: E402
from glet.serve.network import Network, load_network  # noqa: E402
from glet.serve.repository import Entry, Repository  # noqa: E402
from glet.types.model import Signature, TensorSpec  # noqa: E402

TOML = """
slo_ms = 10.0
max_batch = 8
[[input]]
name = "image"
dtype = "float32"
shape = [3, 8, 8]
[[output]]
name = "scores"
dtype = "float32"
shape = [4]
"""
SOURCE = """
import torch

def load():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 4))
"""


class Made(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Makes a tensor and converts one, so that the program has a device and dtypes inside."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.scale = torch.tensor([1.0, 2.0, 3.0, 4.0])

    def forward(self, image: Any) -> Any:
        steps = torch.arange(4, dtype=torch.float32)
        seen = self.conv(image).mean(dim=(2, 3)).to(torch.float32)
        return seen * self.scale + steps


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in ("program", "module"):
        (folder / name).mkdir()
        (folder / name / "model.toml").write_text(TOML)
    (folder / "module" / "model.py").write_text(SOURCE)
    torch.manual_seed(0)
    batch = torch.export.Dim("batch", min=1, max=8)
    program = torch.export.export(
        Made().eval(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=({0: batch},)
    )
    torch.export.save(program, str(folder / "program" / "model.pt2"))
    return folder


def entry(models: Path, name: str, precision: Precision = "fp32", image: bool = False) -> Entry:
    found = Repository(models).entry(name)
    config = msgspec.structs.replace(found.config, precision=precision, channels_last=image)
    return msgspec.structs.replace(found, config=config)


def network(at: Entry) -> Network:
    found = load_network(at)
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["program", "module"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("image", [False, True])
def test_computes_the_same_within_its_precision(
    models: Path, name: str, precision: Precision, image: bool
) -> None:
    x = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        right = network(entry(models, name))([x])[0].double()
        (got,) = network(entry(models, name, precision, image))([x])
    assert got.dtype == torch.float32, "the signature's"
    assert got.is_contiguous()
    error = float((got.double() - right).norm() / right.norm())
    assert error < {"fp32": 1e-6, "fp16": 2e-3, "bf16": 2e-2}[precision]
    if precision != "fp32":
        assert error > 1e-7, "nothing was rounded"


@pytest.mark.parametrize(("precision", "image"), [("fp32", False), ("fp16", True), ("bf16", False)])
def test_exported_anew_it_computes_the_same_at_every_batch(
    models: Path, precision: Precision, image: bool
) -> None:
    """What a GPU's compiler is given: precision, order and conversions are in the program."""
    at = entry(models, "program", precision, image)
    made = network(at)
    made.move("cpu")
    with torch.no_grad():
        program = exported_network(at, made, "cpu").module()
        for count in (1, 2, 3, 8):
            x = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(count))
            (got,), (right,) = program(x), made([x])
            assert got.dtype == torch.float32
            assert got.is_contiguous()
            torch.testing.assert_close(got, right, rtol=1e-5, atol=1e-5)


COMPILE = """
import sys, msgspec, numpy as np, torch
from pathlib import Path
from glet.serve.aoti_gpu import compile_for
from glet.serve.repository import Repository

models, package, inputs, outputs = map(Path, sys.argv[1:])
entry = Repository(models).entry("program")
config = msgspec.structs.replace(entry.config, precision="bf16", channels_last=True)
compile_for(msgspec.structs.replace(entry, config=config), "cpu", package)
compiled = torch._inductor.aoti_load_package(str(package))
with torch.no_grad(), np.load(inputs) as x:
    found = {count: compiled(torch.from_numpy(x[count]))[0].numpy() for count in x.files}
np.savez(outputs, **found)
"""


@pytest.mark.slow
def test_compiled_it_computes_the_same_at_every_batch(models: Path, tmp_path: Path) -> None:
    made = network(entry(models, "program", "bf16", True))
    rng = np.random.default_rng(0)
    inputs = {
        str(count): rng.standard_normal((count, 3, 8, 8)).astype(np.float32) for count in (1, 2, 8)
    }
    np.savez(tmp_path / "in.npz", **inputs)  # type: ignore[arg-type]
    files = [models, tmp_path / "package.pt2", tmp_path / "in.npz", tmp_path / "out.npz"]
    subprocess.run([sys.executable, "-c", COMPILE, *map(str, files)], check=True)
    with np.load(tmp_path / "out.npz") as outputs:
        for count, x in inputs.items():
            assert outputs[count].dtype == np.float32
            right = made([torch.from_numpy(x)])[0].numpy()
            np.testing.assert_allclose(outputs[count], right, rtol=3e-2, atol=3e-2)


def test_half_precision_needs_half_the_memory(models: Path) -> None:
    whole = network(entry(models, "module")).weights_bytes
    assert network(entry(models, "module", "bf16")).weights_bytes * 2 == whole


@pytest.mark.parametrize("name", ["program", "module"])
def test_everything_moves_to_the_device(models: Path, name: str) -> None:
    there = network(entry(models, name, "fp16", True))
    there.move("meta")
    (out,) = there([torch.zeros(3, 3, 8, 8, device="meta")])
    assert out.device.type == "meta"
    assert tuple(out.shape) == (3, 4)


def test_a_module_in_model_py_serves_arrays_on_a_cpu(models: Path) -> None:
    out = load_callable(entry(models, "module"))(np.zeros((2, 3, 8, 8), np.float32))
    assert isinstance(out, np.ndarray)
    assert out.shape == (2, 4)


def test_a_plain_callable_is_no_network(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "model.toml").write_text(TOML)
    (tmp_path / "plain" / "model.py").write_text("def infer(x):\n    return x\n")
    assert load_network(Repository(tmp_path).entry("plain")) is None


def test_an_output_of_another_shape_is_refused(models: Path) -> None:
    at = entry(models, "module")
    wrong = (TensorSpec(name="scores", dtype="float32", shape=(5,)),)
    at = msgspec.structs.replace(at, config=msgspec.structs.replace(at.config, output=wrong))
    with pytest.raises(ModelError, match=r"has shape \[2, 4\]; model.toml says \[2, 5\]"):
        network(at)([torch.zeros(2, 3, 8, 8)])


def test_an_output_never_shares_memory_with_an_input(tmp_path: Path) -> None:
    (tmp_path / "same").mkdir()
    (tmp_path / "same" / "model.toml").write_text(TOML.replace("[4]", "[3, 8, 8]"))
    (tmp_path / "same" / "model.py").write_text(
        "import torch\ndef load():\n    return torch.nn.Identity()\n"
    )
    x = torch.ones(2, 3, 8, 8)
    (out,) = network(Repository(tmp_path).entry("same"))([x])
    assert out.data_ptr() != x.data_ptr()
    assert torch.equal(out, x)


def test_inputs_lie_in_one_block() -> None:
    spec = TensorSpec(name="x", dtype="int64", shape=(3,))
    other = TensorSpec(name="y", dtype="float16", shape=(2, 2))
    made = zeros(Signature(inputs=(spec, other), outputs=(spec,)), 5, "cpu")
    assert [tuple(tensor.shape) for tensor in made.tensors] == [(5, 3), (5, 2, 2)]
    assert [tensor.dtype for tensor in made.tensors] == [torch.int64, torch.float16]
    assert made.pointers[1] - made.pointers[0] == ALIGNMENT_BYTES
    made.tensors[0].fill_(1)
    assert not made.tensors[1].any()


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ('precision = "fp8"', "fp8"),
        ("channels_last = true", "channels_last is for images"),
        ('compile = "aoti"', r"compile = 'aoti' needs model\.pt2"),
    ],
)
def test_what_a_model_toml_cannot_ask_for(tmp_path: Path, keys: str, why: str) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "model.toml").write_text(keys + TOML.replace("[3, 8, 8]", "[192]"))
    (tmp_path / "net" / "model.py").write_text("def infer(x):\n    return x\n")
    with pytest.raises(ConfigError, match=why):
        Repository(tmp_path).entry("net")


def test_the_keys_are_written_and_read_back(models: Path) -> None:
    config = msgspec.structs.replace(entry(models, "program", "bf16", True).config, runner="python")
    assert decode(to_toml(config), ModelConfig, "model.toml") == config
