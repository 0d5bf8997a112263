"""The models of the benchmarks for servers that are not glet: arrays in, arrays out."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

Rows = np.ndarray  # float32, (batch, 16)


def load(name: str) -> Callable[[Rows], Rows]:
    """`echo` is one product, any other an exported program of the folder PEERS_MODELS."""
    if name == "echo":
        return lambda rows: rows * np.float32(1.0)
    # Imported here: an echo server is measured without torch in its memory.
    import torch

    torch.set_num_threads(1)
    file = Path(os.environ["PEERS_MODELS"]) / name / "model.pt2"
    module = torch.export.load(str(file)).module()

    def infer(rows: Rows) -> Rows:
        with torch.inference_mode():
            return module(torch.from_numpy(np.ascontiguousarray(rows))).numpy()

    for batch in range(1, 9):
        infer(np.zeros((batch, 16), dtype=np.float32))
    return infer


def load_from_environment() -> Callable[[Rows], Rows]:
    """The model that PEERS_MODEL names."""
    return load(os.environ["PEERS_MODEL"])


def batch_from_environment() -> tuple[int, float]:
    """The largest batch, and for how many ms a batch may wait to fill."""
    return int(os.environ["PEERS_MAX_BATCH"]), float(os.environ["PEERS_WAIT_MS"])
