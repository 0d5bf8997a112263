"""Makes repository entries of the sample models: build, initialise or train, export, write.

Torch is imported by the functions, not by the module.
"""

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glet.config.model import to_toml
from glet.config.resource import resource
from glet.config.zoo import ZooModel, zoo_model
from glet.errors import ConfigError, DeviceError
from glet.serve.digits import load_digits
from glet.serve.repository import is_model_name
from glet.serve.torch_path import find_torch

if TYPE_CHECKING:
    import torch

MAX_EXPORTED_BATCH = 64
EXAMPLE_BATCH = 2
SAMPLES = 4
SAMPLES_FILE = "samples.npz"
SEED = 0
# A ReLU of z + b, z standard normal, followed by normalisation multiplies a small error by
# sqrt(P(z > -b) / Var(relu(z + b))): 1.21 a layer at b = 0, where rounding grows 176-fold over the
# 27 layers of MobileNetV1, and 1.06 at b = 1. Trained networks do not amplify like that.
NORM_BIAS = 1.0

Arrays = dict[str, NDArray[Any]]


def export_model(sample: str, folder: Path, name: str = "", seed: int = SEED) -> Path:
    """Writes the entry `name` (default: the sample's) of a sample model under `folder`.

    The entry appears at once or not at all. Raises ConfigError when there is no such sample, the
    name is none for a model or the entry exists, DeviceError when torch or (for a sample that is
    trained) scikit-learn is missing.
    """
    model = zoo_model(sample)
    if name and not is_model_name(name):
        raise ConfigError(f"{name!r} is no name for a model; use letters, digits, '_', '-', '.'")
    entry = folder / (name or sample)
    if entry.exists():
        raise ConfigError(f"{entry}: exists already; remove it to export {sample} again")
    find_torch()
    network, samples = _prepare(model, seed)
    folder.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".export-", dir=folder))
    try:
        _save_program(network, model, work / "model.pt2")
        np.savez_compressed(work / SAMPLES_FILE, allow_pickle=False, **samples)
        (work / "model.toml").write_text(to_toml(model.config(SAMPLES_FILE)), encoding="utf-8")
        work.chmod(0o755)
        os.replace(work, entry)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return entry


def definition(model: ZooModel) -> ModuleType:
    """The module that defines a sample's network (imports torch)."""
    path = resource("models", model.file)
    found = importlib.util.spec_from_file_location(f"glet_zoo_{path.stem}", path)
    if found is None or found.loader is None:
        raise DeviceError(f"{path}: cannot be imported")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def build(model: ZooModel) -> "torch.nn.Module":
    """The untouched network of a sample, in inference mode, on torch's default device."""
    network: torch.nn.Module = getattr(definition(model), model.builder)()
    return network.eval()


def random_inputs(model: ZooModel, n: int, seed: int) -> Arrays:
    """`n` random inputs by name; floats carry 11 bits, so that they also fit float16."""
    rng = np.random.default_rng(seed)
    inputs: Arrays = {}
    for spec in model.input:
        if spec.dtype.startswith("int"):
            inputs[spec.name] = rng.integers(
                model.integers_below, size=(n, *spec.shape), dtype=spec.dtype
            )
        else:
            floats = rng.standard_normal((n, *spec.shape)).astype(np.float16)
            inputs[spec.name] = floats.astype(spec.dtype)
    return inputs


def _prepare(model: ZooModel, seed: int) -> tuple["torch.nn.Module", Arrays]:
    """The network with its final weights, and the samples to store with it."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(model)
        if model.dataset:
            digits = load_digits(seed)
            definition(model).train(
                network, torch.from_numpy(digits.images), torch.from_numpy(digits.labels)
            )
            held_out = {model.input[0].name: digits.held_out_images.astype(np.float16)}
            return network, {**held_out, "labels": digits.held_out_labels}
        _initialise(network)
        _settle(network, random_inputs(model, 8, seed))
    return network, {
        name: array.astype(np.float16) if array.dtype.kind == "f" else array
        for name, array in random_inputs(model, SAMPLES, seed + 1).items()
    }


def _initialise(network: "torch.nn.Module") -> None:
    """Weights that neither fade nor explode with depth, nor make rounding do so.

    Convolutions as in He et al. (2015), linear layers as in LeCun et al. (1998): with the gain for
    ReLU, attention would be near one-hot and amplify. Embeddings have BERT's 0.02.
    """
    from torch import nn

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            gain = 2.0 if isinstance(layer, nn.Conv2d) else 1.0
            nn.init.normal_(layer.weight, std=(gain / layer.weight[0].numel()) ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Embedding):
            nn.init.normal_(layer.weight, std=0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.constant_(layer.bias, NORM_BIAS)


def _settle(network: "torch.nn.Module", inputs: Arrays) -> None:
    """Sets the running statistics of batch normalisation as training would have, in one pass."""
    import torch
    from torch import nn

    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = None  # None: the plain average over the passes, here the one below
        norm.train()
    with torch.no_grad():
        network(*(torch.from_numpy(array) for array in inputs.values()))
    network.eval()


def _save_program(network: "torch.nn.Module", model: ZooModel, path: Path) -> None:
    import torch

    example = random_inputs(model, EXAMPLE_BATCH, SEED)
    batch = torch.export.Dim("batch", min=1, max=MAX_EXPORTED_BATCH)
    with torch.no_grad():
        program = torch.export.export(
            network,
            tuple(torch.from_numpy(array) for array in example.values()),
            dynamic_shapes=tuple({0: batch} for _ in example),
        )
        torch.export.save(program, str(path))
