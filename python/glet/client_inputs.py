"""What a client is given, as the arrays that a model takes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glet.config.load import nearest
from glet.device_array import export, is_device_array
from glet.errors import InvalidInputError, ModelNotFoundError, UnavailableError, WireError
from glet.native import core

Array = NDArray[Any]
Inputs = Any
"""One array or (nested) list of numbers or strings, or a dict of them by input name."""
Named = tuple[str, Array | core.DeviceArray, str | None]
"""An input: its name, its value, and its wire dtype where the model's is known."""


class Signatures:
    """What models() said of the inputs of each model; asked once per model, again after errors."""

    def __init__(self) -> None:
        self._inputs: dict[str, list[tuple[str, str]]] = {}

    def needed(self, model: str, inputs: Inputs) -> bool:
        """True when `inputs` cannot be sent without knowing the model's own."""
        if model in self._inputs:
            return False
        if not isinstance(inputs, Mapping):
            return True
        # An array of uint16 may be meant as one of bfloat16.
        return not all(
            is_device_array(value)
            or (hasattr(value, "__array__") and getattr(value, "dtype", None) != np.uint16)
            for value in inputs.values()
        )

    def learn(self, models: Mapping[str, Any]) -> None:
        """Takes the body of a models answer."""
        try:
            self._inputs = {
                name: [(str(spec[0]), str(spec[1])) for spec in entry["inputs"]]
                for name, entry in models.items()
            }
        except (KeyError, TypeError, IndexError):
            raise WireError("the answer to models() does not list inputs of every model") from None

    def forget(self, model: str) -> None:
        """What is known of the model may be why it failed."""
        self._inputs.pop(model, None)

    def arrays(self, model: str, inputs: Inputs) -> list[Named]:
        """What submit() takes. Raises InvalidInputError for what cannot become one."""
        specs = self._inputs.get(model, [])
        if isinstance(inputs, Mapping):
            dtypes = dict(specs)
            return [
                (name, as_array(name, value, dtypes.get(name)), dtypes.get(name))
                for name, value in inputs.items()
            ]
        if model not in self._inputs:
            raise ModelNotFoundError(f"no model {model!r}; {nearest(model, self._inputs)}")
        if not specs:
            self.forget(model)
            raise UnavailableError(f"what model {model!r} takes is not known yet: it is not loaded")
        if len(specs) > 1:
            names = ", ".join(name for name, _ in specs)
            raise InvalidInputError(
                f"model {model!r} has {len(specs)} inputs; give a dict with {names}"
            )
        ((name, dtype),) = specs
        return [(name, as_array(name, inputs, dtype), dtype)]


def as_array(name: str, value: Any, dtype: str | None) -> Array | core.DeviceArray:
    """An array stays as it is; lists and numbers take `dtype`, a wire name."""
    if is_device_array(value):
        return export(name, value, dtype)
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
