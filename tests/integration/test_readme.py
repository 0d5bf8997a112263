"""README.md is true: its examples run, and what it names exists."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from glet.cli import main as commands
from glet.clock import SystemClock
from glet.config.cluster import ClusterConfig
from glet.serve.compile_cache import default_cache
from glet.serve.repository import Repository
from glet.serve.up import LocalCluster

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
MOST_LINES = 150
ENTRIES = {
    "glet": commands.main,
    "glet-frontend": commands.frontend,
    "glet-backend": commands.backend,
    "glet-schedule": commands.schedule,
}


def block(language: str) -> str:
    """The README's only block of code in that language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return str(found)


def code() -> list[str]:
    """Inline code, and the lines of shell blocks."""
    inline = re.findall(r"`([^`\n]+)`", README)
    shell = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    return [*inline, *(line for lines in shell for line in lines.splitlines())]


def named_commands() -> list[tuple[str, ...]]:
    """`glet up`, `glet models list`, `glet-frontend`, ... wherever the README names them."""
    found: set[tuple[str, ...]] = set()
    for text in code():
        words = text.replace("\\|", "|").split()
        if words[:2] == ["glet", "models"]:
            found |= {("glet", "models", name) for name in words[2].split("|")}
        elif words[0] == "glet" and len(words) > 1:
            found.add(("glet", words[1]))
        elif words[0] in ENTRIES:
            found.add((words[0],))
    return sorted(found)


def named_paths() -> list[str]:
    """What is in code and looks like a path of the source tree: a folder, or a document."""
    return sorted(
        {text for text in code() if re.fullmatch(r"(?:[a-z]\w*/)+(?:[\w-]+\.\w+)?", text)}
    )


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= MOST_LINES


@pytest.mark.parametrize("command", named_commands(), ids=" ".join)
def test_every_command_has_help_with_an_example(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        ENTRIES[command[0]]([*command[1:], "--help"])
    assert stop.value.code == 0
    assert "example:" in capsys.readouterr().out


@pytest.mark.parametrize("path", named_paths())
def test_every_path_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_something_was_found() -> None:
    some = {("glet", "up"), ("glet", "models", "export"), ("glet", "models", "compile")}
    assert some | {("glet-backend",)} <= set(named_commands())
    assert "python/glet/wire/README.md" in named_paths()


@pytest.mark.parametrize(
    "target", sorted({text.split()[1] for text in code() if text.startswith("make ")})
)
def test_every_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "room", re.findall(r"`(\w+)`", README.split("`csrc/glet/`")[1].split("\n")[0])
)
def test_every_room_of_the_core_exists(room: str) -> None:
    assert (ROOT / "csrc" / "glet" / room).is_dir()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's lenet, also as `digits` with the README's model.toml."""
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    from glet.serve.export import export_model

    kept = default_cache() / "demo-models"
    if not (kept / "lenet").exists():
        export_model("lenet", kept)
    folder = tmp_path_factory.mktemp("readme") / "models"
    shutil.copytree(kept / "lenet", folder / "lenet")
    shutil.copytree(kept / "lenet", folder / "digits")
    (folder / "digits" / "model.toml").write_text(block("toml"))
    return folder


@pytest.mark.slow
def test_the_examples_run(models: Path, glet_environment: dict[str, str]) -> None:
    repository = Repository(models)
    assert repository.check("digits") is None
    example = block("python")
    assert '"tcp://127.0.0.1:5555"' in example
    config = ClusterConfig(listen="tcp://127.0.0.1:*", models=str(models))
    with LocalCluster(config, SystemClock()) as cluster:
        for name in ("lenet", "digits"):
            program = example.replace("tcp://127.0.0.1:5555", cluster.endpoint)
            done = subprocess.run(
                [sys.executable, "-c", program.replace('"lenet"', f'"{name}"')],
                env=glet_environment,
                capture_output=True,
                text=True,
                timeout=60.0,
            )
            assert (done.returncode, done.stdout) == (0, "(10,)\n"), done.stderr
