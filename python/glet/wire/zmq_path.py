"""Finds the libzmq that pyzmq brought, so that the core's sockets live in the same library."""

import ctypes.util
from pathlib import Path

import zmq

from glet.errors import DeviceError

MAPS = Path("/proc/self/maps")


def libzmq_path() -> str:
    """Path or soname of libzmq, fit for dlopen.

    Raises:
        DeviceError: this process has no libzmq that can be opened by name.
    """
    zmq.zmq_version()  # pyzmq has loaded its library by now
    if MAPS.exists():
        for line in MAPS.read_text().splitlines():
            path = line.split(maxsplit=5)[-1]
            if path.startswith("/") and Path(path).name.startswith("libzmq"):
                return path
    found = ctypes.util.find_library("zmq")
    if found is None:
        raise DeviceError("no libzmq beside pyzmq or on the system; pip install pyzmq brings one")
    return found
