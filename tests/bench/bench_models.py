"""Writes the models of the benchmarks as repository entries.

echo   16 floats in and out; the compiler must not see that it does nothing, hence the product
image  224x224x3 floats in, 4 out: what a request weighs is its input
mlp    16-1024-(1024 x 11)-16, about 5 ms for a batch of 8 on one core
lenet  the sample model of glet
"""

import argparse
from pathlib import Path

import torch
from torch import nn

from glet.config.model import ModelConfig, to_toml
from glet.serve.export import export_model
from glet.types.model import TensorSpec

SLO_MS = {"echo": 1000.0, "image": 5000.0, "mlp": 50.0}
MAX_BATCH = {"echo": 64, "image": 8, "mlp": 8}


class Echo(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 1.0


class Image(nn.Module):
    """Reads one pixel of each row, so that the model costs nothing beside its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :4, 0, 0] * 1.0


def mlp() -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Linear(16, 1024), nn.ReLU()]
    for _ in range(11):
        layers += [nn.Linear(1024, 1024), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(1024, 16))


MODELS = {
    "echo": (Echo, (16,), (16,)),
    "image": (Image, (224, 224, 3), (4,)),
    "mlp": (mlp, (16,), (16,)),
}


def write(name: str, folder: Path) -> None:
    build, in_shape, out_shape = MODELS[name]
    entry = folder / name
    entry.mkdir(parents=True, exist_ok=True)
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH[name])
    with torch.no_grad():
        program = torch.export.export(
            build().eval(), (torch.randn(2, *in_shape),), dynamic_shapes=({0: batch},)
        )
        torch.export.save(program, str(entry / "model.pt2"))
    config = ModelConfig(
        slo_ms=SLO_MS[name],
        max_batch=MAX_BATCH[name],
        runner="compiled",
        input=(TensorSpec(name="x", dtype="float32", shape=in_shape),),
        output=(TensorSpec(name="y", dtype="float32", shape=out_shape),),
    )
    (entry / "model.toml").write_text(to_toml(config), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    into = parser.parse_args().folder
    for name in MODELS:
        write(name, into)
    if not (into / "lenet").exists():
        export_model("lenet", into)


if __name__ == "__main__":
    main()
