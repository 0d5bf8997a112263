"""Made-up inputs for models of which no samples are known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glet.errors import ConfigError

FLOATS = ("float32", "float64", "float16")
INTEGERS = ("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64")
LARGEST_INTEGER = 9
"""Small, so that a made-up index is likely to be one that the model has."""


def random_inputs(
    specs: Sequence[tuple[str, str, Sequence[int]]], rng: np.random.Generator
) -> list[tuple[str, NDArray[Any]]]:
    """One request's inputs: floats in [0, 1), integers in 0..9; bfloat16 as uint16 bits.

    Strings are one digit each.

    `specs` lists (name, dtype, shape). Raises ConfigError for a dtype that does not exist.
    """
    return [(name, random_tensor(dtype, shape, rng)) for name, dtype, shape in specs]


def random_tensor(dtype: str, shape: Sequence[int], rng: np.random.Generator) -> NDArray[Any]:
    """One tensor of a wire dtype."""
    size = tuple(shape)
    if dtype in FLOATS:
        return rng.random(size).astype(dtype)
    if dtype == "bfloat16":
        bits = rng.random(size, dtype=np.float32).view(np.uint32)
        return np.asarray(bits >> 16).astype(np.uint16)
    if dtype in INTEGERS:
        return rng.integers(0, LARGEST_INTEGER, size, endpoint=True).astype(dtype)
    if dtype == "bool":
        return np.asarray(rng.integers(0, 2, size)).astype(np.bool_)
    if dtype == "bytes":
        return rng.integers(0, LARGEST_INTEGER, size, endpoint=True).astype("S1").astype(object)
    raise ConfigError(f"inputs of dtype {dtype!r} cannot be made up")
