"""Finds the nghttp2 that the core's gRPC door speaks HTTP/2 with; the core links nothing."""

import ctypes
from importlib.util import find_spec
from pathlib import Path

from glet.errors import ConfigError

SONAME = "libnghttp2.so.14"


def nghttp2_path() -> str:
    """Path or soname of libnghttp2, fit for dlopen: the system's, else the one that pycurl brought.

    Raises:
        ConfigError: neither is there; the line says what to install.
    """
    if opens(SONAME):
        return SONAME
    for path in brought_by_pycurl():
        if opens(str(path)):
            return str(path)
    raise ConfigError(
        f"gRPC needs nghttp2 and there is no {SONAME}; "
        "pip install 'glet[grpc]', or apt install libnghttp2-14"
    )


def opens(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def brought_by_pycurl(name: str = "libnghttp2") -> list[Path]:
    """Copies of a library in the folder beside pycurl's own; its wheel has one."""
    found = find_spec("pycurl")
    if found is None or found.origin is None:
        return []
    beside = Path(found.origin).parents[1 if found.submodule_search_locations else 0]
    return sorted((beside / "pycurl.libs").glob(f"{name}-*.so*"))
