"""Makes the doctor's small network: `python -m glet.serve.doctor_network FOLDER`, imports torch.

Leaves FOLDER/gate/ with model.toml, model.pt2 and reference.npz: inputs `x` and what eager torch
makes of them in double precision, `y`. It appears at once or not at all.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from glet.config.model import ModelConfig, to_toml
from glet.types.model import TensorSpec

if TYPE_CHECKING:
    import torch

ENTRY = "gate"
REFERENCE = "reference.npz"
IMAGE = (3, 16, 16)
CLASSES = 10
ITEMS = 19
MAX_BATCH = 32


def main(folder: Path) -> None:
    """Builds, exports and computes the reference, all from one seed."""
    import torch

    torch.manual_seed(0)
    network = build().eval()
    x = torch.randn(ITEMS, *IMAGE)
    folder.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".gate-", dir=folder))
    try:
        with torch.no_grad():
            batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
            program = torch.export.export(network, (x[:2],), dynamic_shapes=({0: batch},))
            torch.export.save(program, str(work / "model.pt2"))
            y = network.double()(x.double())
        np.savez(work / REFERENCE, x=x.numpy(), y=y.numpy())
        (work / "model.toml").write_text(to_toml(config()), encoding="utf-8")
        shutil.rmtree(folder / ENTRY, ignore_errors=True)
        os.replace(work, folder / ENTRY)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def build() -> "torch.nn.Module":
    """One of each of what networks are made of: convolution, normalisation, matrix, softmax."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(IMAGE[0], 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, stride=2),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(16 * 3 * 3, 64),
        nn.LayerNorm(64),
        nn.Tanh(),
        nn.Linear(64, CLASSES),
        nn.Softmax(dim=1),
    )


def config() -> ModelConfig:
    """Its `model.toml`."""
    return ModelConfig(
        slo_ms=100.0,
        max_batch=MAX_BATCH,
        input=(TensorSpec(name="x", dtype="float32", shape=IMAGE),),
        output=(TensorSpec(name="y", dtype="float32", shape=(CLASSES,)),),
        description="the network that glet doctor computes",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
