"""The file that says where backends are reached, for those that come and go while glet serves."""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from glet.config.load import decode, nearest, read_text
from glet.errors import ConfigError


class Addresses(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TOML: a table `[control]`, of each backend that is there its name and control address."""

    control: dict[str, str] = {}


def read_addresses(path: Path, names: Collection[str]) -> dict[str, str]:
    """By name of a backend. A file that is not there yet names none.

    Raises ConfigError with the nearest of `names` for a backend that the cluster does not have.
    """
    if not path.exists():
        return {}
    found = decode(read_text(path), Addresses, str(path)).control
    for name in found:
        if name not in names:
            raise ConfigError(f"{path}: no backend is called {name!r}; {nearest(name, names)}")
    return found


def write_addresses(path: Path, control: Mapping[str, str]) -> None:
    """Whole or not at all: who reads meanwhile finds the old one."""
    lines = (f"{json.dumps(name)} = {json.dumps(at)}\n" for name, at in sorted(control.items()))
    new = path.with_name(f"{path.name}.new")
    new.write_text("[control]\n" + "".join(lines), encoding="utf-8")
    os.replace(new, path)
