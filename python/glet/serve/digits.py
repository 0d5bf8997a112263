"""Handwritten digits from scikit-learn's own copy: 1,797 images, nothing is downloaded.

E. Alpaydin and C. Kaynak, "Optical recognition of handwritten digits", UCI repository, 1998.
"""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from glet.errors import DeviceError

SIDE = 28
HELD_OUT = 360


class Digits(msgspec.Struct, frozen=True, kw_only=True):
    """Images (n, 1, 28, 28) float32 in 0..1 and labels (n,) int64; 360 of them held out."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    held_out_images: NDArray[np.float32]
    held_out_labels: NDArray[np.int64]


def load_digits(seed: int) -> Digits:
    """The digits, shuffled and split by `seed`. Raises DeviceError without scikit-learn."""
    try:
        from sklearn import datasets
    except ImportError as error:
        raise DeviceError(
            "scikit-learn is not installed, its digits train lenet; pip install 'glet[demo]'"
        ) from error
    small, labels = datasets.load_digits(return_X_y=True)
    images = enlarge(small.reshape(-1, 8, 8).astype(np.float32) / 16.0)[:, None]
    order = np.random.default_rng(seed).permutation(len(images))
    held_out, rest = order[:HELD_OUT], order[HELD_OUT:]
    return Digits(
        images=images[rest],
        labels=labels[rest].astype(np.int64),
        held_out_images=images[held_out],
        held_out_labels=labels[held_out].astype(np.int64),
    )


def enlarge(images: NDArray[Any]) -> NDArray[np.float32]:
    """Images (n, h, w) to (n, 28, 28), bilinear, pixel centres aligned."""
    weights = [_interpolation(size) for size in images.shape[1:]]
    larger: NDArray[np.float32] = np.einsum("nhw,yh,xw->nyx", images, *weights).astype(np.float32)
    return larger


def _interpolation(size: int) -> NDArray[np.float64]:
    """The (28, size) matrix that interpolates linearly along one axis."""
    at = np.clip((np.arange(SIDE) + 0.5) * size / SIDE - 0.5, 0, size - 1)
    return np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(size)[None, :]))
