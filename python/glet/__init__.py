"""glet serves many models on few devices, each within its latency objective.

Importing glet does nothing: the client loads on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glet.client import AsyncClient, Client

__version__ = "0.1.0"

__all__ = ["AsyncClient", "Client", "__version__"]


def __getattr__(name: str) -> Any:
    if name in {"AsyncClient", "Client"}:
        return getattr(import_module("glet.client"), name)
    raise AttributeError(f"module 'glet' has no attribute {name!r}")
