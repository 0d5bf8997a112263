"""Rules of the house that no linter knows. The floors of the Python side are import-linter's."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "csrc" / "glet"
SOURCES = sorted(
    path
    for pattern in ("python/glet/**/*.py", "python/glet/**/*.pyi", "csrc/glet/**/*.*")
    for path in ROOT.glob(pattern)
    if path.suffix in {".py", ".pyi", ".h", ".cpp", ".cu"}
)
CORE_SOURCES = [path for path in SOURCES if CORE in path.parents]
NAMELESS = {"util", "utils", "helper", "helpers", "common", "misc", "base", "manager"}
FLOORS = {
    "": 0,
    "profile": 1,
    "batch": 2,
    "route": 3,
    "exec": 4,
    "sim": 4,
    "net": 5,
    "web": 6,
    "bind": 7,
}
PURE = {"profile", "batch", "route", "sim"}
IMPURE = re.compile(r"<(?:thread|mutex|shared_mutex|atomic|condition_variable)>|::now\(\)|cuda")


def room(path: Path) -> str:
    return path.relative_to(CORE).parts[0] if path.parent != CORE else ""


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_something_to_check() -> None:
    assert len(CORE_SOURCES) > 10
    assert len(SOURCES) > len(CORE_SOURCES)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_file_is_short_and_named_for_what_it_holds(path: Path) -> None:
    is_listing = path.suffix == ".pyi"  # signatures, looked up and not read through
    assert is_listing or len(path.read_text().splitlines()) <= 400
    assert path.stem not in NAMELESS


@pytest.mark.parametrize("path", CORE_SOURCES, ids=name)
def test_core_includes_point_down(path: Path) -> None:
    here = room(path)
    for area in re.findall(r'#include "(?:glet/)?(?:(\w+)/)?', path.read_text()):
        assert area == here or FLOORS[area] < FLOORS[here], f"{here} must not include {area}"


@pytest.mark.parametrize("path", CORE_SOURCES, ids=name)
def test_core_includes_are_full_paths(path: Path) -> None:
    for included in re.findall(r'#include "([^"]+)"', path.read_text()):
        assert included.startswith("glet/")
        assert (ROOT / "csrc" / included).is_file()


@pytest.mark.parametrize("path", [path for path in CORE_SOURCES if room(path) in PURE], ids=name)
def test_decisions_of_the_core_are_pure(path: Path) -> None:
    assert IMPURE.search(path.read_text()) is None
