"""Arrays in device memory of this process, named for executors on the same host."""

import ctypes
import math
from typing import Any, NamedTuple

from glet.errors import ArgumentError, DeviceError, InvalidInputError, UnavailableError
from glet.native import core

LEGACY_STREAM = 1
"""CUDA's default stream; what is put there waits for the usual others."""
_CUDA = 2  # of DLPack's device types
_HOST_KINDS = (1, 3)  # memory of the CPU, pinned or not

_DTYPES = {
    ("f", 2): "float16",
    ("f", 4): "float32",
    ("f", 8): "float64",
    ("i", 1): "int8",
    ("i", 2): "int16",
    ("i", 4): "int32",
    ("i", 8): "int64",
    ("u", 1): "uint8",
    ("u", 2): "uint16",
    ("u", 4): "uint32",
    ("u", 8): "uint64",
    ("b", 1): "bool",
    ("bf", 2): "bfloat16",
}
_DLPACK_KINDS = {0: "i", 1: "u", 2: "f", 4: "bf", 6: "b"}


class Placed(NamedTuple):
    """Where an array is. `keep` owns what was read to find out; strides count elements."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: tuple[str, int]
    stream: int | None
    keep: Any


class _DLTensor(ctypes.Structure):
    """DLPack's, of every version so far."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def is_device_array(value: Any) -> bool:
    """Whether it is in memory of a CUDA device, by DLPack or `__cuda_array_interface__`."""
    device = getattr(value, "__dlpack_device__", None)
    if device is not None:
        try:
            kind = int(device()[0])
        except Exception:  # noqa: BLE001 - some have it and no answer
            kind = _HOST_KINDS[0]
        if kind in (*_HOST_KINDS, _CUDA):
            return kind == _CUDA
    return getattr(value, "__cuda_array_interface__", None) is not None


def export(name: str, value: Any, dtype: str | None) -> core.DeviceArray:
    """What ClientLoop.submit() takes in its place; waits for the work that writes it.

    `dtype` is the wire name of the input where it is known: uint16 stands for bfloat16. Raises
    InvalidInputError, one line, for what cannot be named, UnavailableError without a driver.
    """
    placed = _placed(name, value)
    found = _DTYPES.get(placed.dtype)
    if found is None:
        raise InvalidInputError(
            f"input {name!r} is a device array of {''.join(map(str, placed.dtype))}; valid are "
            + ", ".join(sorted(_DTYPES.values()))
        )
    if found == "uint16" and dtype == "bfloat16":
        found = dtype
    if not _is_contiguous(placed):
        raise InvalidInputError(f"input {name!r} is a device array with gaps; make it contiguous")
    size = math.prod(placed.shape) * placed.dtype[1]
    if size == 0:
        raise InvalidInputError(f"input {name!r} is an empty device array; send a host array")
    try:
        frame = core.export_device_memory(placed.address, size, placed.stream)
    except ArgumentError as error:
        raise InvalidInputError(f"input {name!r}: {error}") from None
    except DeviceError as error:
        raise UnavailableError(f"input {name!r} is a device array: {error}") from None
    return core.DeviceArray(found, list(placed.shape), frame)


def _placed(name: str, value: Any) -> Placed:
    try:
        if hasattr(value, "__dlpack__"):
            return _by_dlpack(value)
        return _by_interface(value.__cuda_array_interface__)
    except Exception as error:  # noqa: BLE001 - a library may raise anything for what it keeps
        line = str(error).partition("\n")[0]
        raise InvalidInputError(f"input {name!r} is a device array that says: {line}") from None


def _by_dlpack(value: Any) -> Placed:
    capsule = value.__dlpack__(stream=LEGACY_STREAM)
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    # The capsule stays what it is, so that it frees what it holds itself.
    tensor = _DLTensor.from_address(pointer(capsule, b"dltensor"))
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    strides = tuple(tensor.strides[i] for i in range(tensor.ndim)) if tensor.strides else None
    kind = _DLPACK_KINDS.get(tensor.code, f"code{tensor.code}_")
    size = tensor.bits // 8 if tensor.lanes == 1 else 0
    address = (tensor.data or 0) + tensor.byte_offset
    return Placed(address, shape, strides, (kind, size), LEGACY_STREAM, capsule)


def _by_interface(interface: Any) -> Placed:
    typestr = interface["typestr"]
    size = int(typestr[2:])
    shape = tuple(int(each) for each in interface["shape"])
    strides = interface.get("strides")
    if strides is not None:
        strides = tuple(int(each) // size for each in strides)
    # Without one nothing is known of who writes it: then the whole device is waited for.
    stream = interface.get("stream")
    kind = typestr[1] if typestr[0] != ">" else f">{typestr[1]}"
    return Placed(int(interface["data"][0]), shape, strides, (kind, size), stream, interface)


def _is_contiguous(placed: Placed) -> bool:
    if placed.strides is None:
        return True
    step = 1
    for size, stride in zip(reversed(placed.shape), reversed(placed.strides), strict=True):
        if size != 1 and stride != step:
            return False
        step *= size
    return True
