"""Records of control rounds: JSON lines, the first of each run says how it was made."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

import glet
from glet.config.cluster import ClusterConfig, ControlConfig
from glet.config.load import one_line, read_text
from glet.control.round import Round
from glet.errors import ConfigError
from glet.types.plan import Plan


class ProfileUsed(msgspec.Struct, frozen=True, kw_only=True):
    """A profile as it was read: the folder or file, and a hash of what is in it."""

    path: str
    sha256: str


class Header(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="header"):
    """What decides beside observations. `profiles` by device number; `plan` is what served first.

    `control.mode` is the one that was decided, never `auto`.
    """

    glet: str
    control: ControlConfig
    margin_ms: float = 0.0
    profiles: dict[int, ProfileUsed] = {}
    plan: Plan | None = None


Line = Header | Round


class Run(NamedTuple):
    """A controller's life: its header and its rounds, in order."""

    header: Header
    rounds: tuple[Round, ...]


def header_of(cluster: ClusterConfig, control: ControlConfig, plan: Plan | None) -> Header:
    """The first line of a run. Raises ConfigError for a profile that cannot be read."""
    return Header(
        glet=glet.__version__,
        control=control,
        margin_ms=cluster.margin_ms,
        profiles={
            backend.device: profile_used(Path(backend.profile))
            for backend in cluster.backend
            if backend.profile
        },
        plan=plan,
    )


def profile_used(path: Path) -> ProfileUsed:
    """Its content's hash. Raises ConfigError where there is nothing to read."""
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    found = hashlib.sha256()
    try:
        for file in files:
            found.update(f"{file.name}\n".encode())
            found.update(hashlib.sha256(file.read_bytes()).digest())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    return ProfileUsed(path=str(path), sha256=found.hexdigest())


def line_of(line: Line) -> bytes:
    """One line of a record, its end included."""
    return msgspec.json.encode(line) + b"\n"


def read_record(path: Path) -> tuple[Run, ...]:
    """All runs of a record. Raises ConfigError `file:line: what is wrong`.

    A last line that was cut off, as when its writer was killed, is left out.
    """
    lines = read_text(path).split("\n")
    whole = [(number, text) for number, text in enumerate(lines, start=1) if text.strip()]
    found: list[tuple[Header, list[Round]]] = []
    decoder = msgspec.json.Decoder(Line)
    for number, text in whole:
        try:
            line = decoder.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            if number == len(lines):
                break
            said = one_line(str(error))
            raise ConfigError(f"{path}:{number}: is no line of a record: {said}") from error
        if isinstance(line, Header):
            found.append((line, []))
        elif not found:
            raise ConfigError(f"{path}:{number}: a record begins with a line of kind header")
        else:
            found[-1][1].append(line)
    if not found:
        raise ConfigError(f"{path}: is empty; a record begins with a line of kind header")
    return tuple(Run(header, tuple(rounds)) for header, rounds in found)


def rounds_of(runs: Iterable[Run]) -> int:
    """How many rounds there are in all."""
    return sum(len(run.rounds) for run in runs)
