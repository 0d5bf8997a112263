"""Where glet's own files (sample models, clusters, scenarios, profiles) lie."""

from pathlib import Path

import glet
from glet.config.load import nearest
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


def profile_folder(name: str) -> Path:
    """A folder under `profiles/`: in a wheel `resource/profiles/` of the package.

    Raises ConfigError that gives the nearest name when there is none.
    """
    package = Path(glet.__file__).parent
    roots = (package.parents[1] / "profiles", package / "resource" / "profiles")
    entries = [entry for root in roots if root.is_dir() for entry in root.iterdir()]
    folders = {entry.name: entry for entry in entries if entry.is_dir()}
    if name not in folders:
        raise ConfigError(f"no profile is called {name!r}; {nearest(name, folders)}")
    return folders[name]
