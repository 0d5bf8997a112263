"""Copies more memory than a GPU's caches hold, by a kernel: a copy engine would be on no SM."""

import torch

FLOATS = 64 * 1024 * 1024


class Probe(torch.nn.Module):
    """Adds one to an array of 256 MiB, into another."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("source", torch.zeros(FLOATS))
        self.register_buffer("target", torch.zeros(FLOATS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.add(self.source, 1.0, out=self.target)
        return x


def load() -> torch.nn.Module:
    return Probe()
