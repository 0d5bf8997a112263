"""What callers give as inputs, as arrays of the wire's dtypes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from glet.errors import InvalidInputError

Array = NDArray[Any]


def as_array(name: str, value: Any, dtype: str | None) -> Array:
    """An array stays as it is; lists and numbers take `dtype`, a wire name."""
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    try:
        if dtype == "bfloat16":
            return bfloat16_bits(np.asarray(value, dtype=np.float32))
        return np.asarray(value, dtype=object if dtype == "bytes" else dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInputError(f"input {name!r} cannot become a {dtype} array: {error}") from None


def bfloat16_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """bfloat16, rounded to nearest even, as the uint16 arrays in which it travels."""
    bits = values.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    quiet_nan = (bits >> np.uint32(16)) | np.uint32(0x40)
    return np.where(np.isnan(values), quiet_nan, rounded).astype(np.uint16)
