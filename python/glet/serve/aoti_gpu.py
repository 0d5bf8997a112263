"""A network compiled for a GPU: exported anew there, so that how it computes is in the code.

That is its precision, its order in memory and the conversions to what clients see
(glet.serve.network). The batch stays dynamic: one library serves every size.
"""

from pathlib import Path
from typing import Any

from glet.errors import ModelError
from glet.serve.capture_torch import TorchGpu
from glet.serve.network import Network, load_network, torch_dtype
from glet.serve.program import read_program
from glet.serve.repository import Entry, Repository

# A batch of 1 would be taken for the only one there is.
EXAMPLE_BATCH = 2


def compile_network(folder: Path, package: Path) -> None:
    """The package of AOTInductor for an entry of a repository, for the first GPU, at `package`.

    Raises DeviceError without a GPU, ModelError for what is no network; what torch cannot export
    or compile it says by exceptions of its own.
    """
    gpu = TorchGpu()
    compile_for(Repository(folder.parent).entry(folder.name), gpu.device, package)


def compile_for(entry: Entry, device: str, package: Path) -> None:
    """The same for any device of torch."""
    import torch

    network = load_network(entry)
    if network is None:
        raise ModelError(f"model {entry.name!r}: {entry.form.value} gives no network of torch")
    network.move(device)
    with torch.no_grad():
        exported = exported_network(entry, network, device)
        torch._inductor.aoti_compile_and_package(
            exported,
            package_path=str(package),
            # Folds constants, a convolution with the normalisation behind it, say.
            inductor_configs={"freezing": True},
        )


def exported_network(entry: Entry, network: Network, device: str) -> Any:
    """The whole call of a network on its device as a program, of a dynamic batch."""
    import torch

    inputs = tuple(
        torch.zeros((EXAMPLE_BATCH, *spec.shape), dtype=torch_dtype(spec.dtype), device=device)
        for spec in network.signature.inputs
    )
    batch = torch.export.Dim("batch", min=1, max=read_program(entry.path).max_batch)
    return torch.export.export(
        network.as_module(),
        inputs,
        dynamic_shapes={"tensors": tuple({0: batch} for _ in inputs)},
        strict=False,
    )
