"""Where glet's own files (sample models, clusters, scenarios) lie."""

from pathlib import Path

import glet
from glet.errors import ConfigError


def resource(*parts: str) -> Path:
    """A file or folder under `resource/`: in a wheel inside the package, else in the source tree.

    Raises ConfigError when it is not there.
    """
    package = Path(glet.__file__).parent
    for root in (package / "resource", package.parents[1] / "resource"):
        path = root.joinpath(*parts)
        if path.exists():
            return path
    raise ConfigError(f"{'/'.join(parts)}: no such file under {package}/resource")
