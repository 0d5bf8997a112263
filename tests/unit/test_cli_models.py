"""`glet models`: one line per fault, exit codes 0, 1 and 2, one JSON object with --json."""

import json
from pathlib import Path

import pytest

from glet.cli.main import main

TOML = """
slo_ms = 5
max_batch = 4
[[input]]
name = "x"
dtype = "float32"
shape = [2]
[[output]]
name = "y"
dtype = "int64"
shape = []
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name, toml in (("good", TOML), ("bad", TOML.replace("slo_ms", "slo_m"))):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "model.toml").write_text(toml)
        (folder / "model.py").write_text("def infer(x): return x\n")
    return tmp_path / "models"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND; see glet --help"),
        (["modles"], "argument COMMAND: invalid choice: 'modles'"),
        (["models"], "the following arguments are required: COMMAND; see glet models --help"),
        (["models", "list"], "the following arguments are required: DIR"),
        (["models", "list", "/no/such"], "/no/such: is not a folder"),
        (["models", "export", "--to", "x"], "give the names of sample models, or --all"),
        (["models", "export", "resnet8", "--to", "x"], "did you mean 'resnet18'?"),
        (["models", "export", "--to", "x", "a=lenett"], "did you mean 'lenet'?"),
        (["models", "list", "x", "--jsn"], "unrecognized arguments: --jsn"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(arguments) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("glet: ")
    assert message in err
    assert err.count("\n") == 1


def test_an_entry_is_not_exported_over(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "export", "good=lenet", "--to", str(repository)]) == 2
    assert "good: exists already; remove it" in capsys.readouterr().err


def test_a_name_that_would_leave_the_repository(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "export", "../a=lenet", "--to", str(tmp_path)]) == 2
    assert "'../a' is no name for a model" in capsys.readouterr().err


def test_list_and_check_name_what_is_broken(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "list", str(repository)]) == 1
    listed = capsys.readouterr().out
    assert "good" in listed
    assert "x: float32 [2]" in listed
    assert "unknown key 'slo_m'; did you mean 'slo_ms'?" in listed

    assert main(["models", "check", str(repository), "good"]) == 0
    assert capsys.readouterr().out.split() == ["good", "ok"]
    assert main(["models", "check", str(repository)]) == 1


def test_json_is_one_object_and_nothing_else(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["models", "list", str(repository), "--json"])
    listed = json.loads(capsys.readouterr().out)
    assert listed["models"]["good"]["slo_ms"] == 5.0
    assert list(listed["broken"]) == ["bad"]

    main(["models", "check", str(repository), "--json"])
    assert json.loads(capsys.readouterr().out)["models"]["good"] is None

    cache = str(tmp_path / "cache")
    assert main(["models", "compile", str(repository), "good", "--cache", cache, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["models"]["good"]["runner"] == "python"
    assert err.startswith("good runs in Python (1 of 1): model.py is not an exported program")


@pytest.mark.parametrize(
    "arguments",
    [
        ["{}", "good", "--json"],
        ["{}", "--json", "good"],
        ["--json", "{}", "good"],
    ],
)
def test_options_may_stand_anywhere(
    repository: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    filled = [argument.format(repository) for argument in arguments]

    assert main(["models", "check", *filled]) == 0
    assert json.loads(capsys.readouterr().out) == {"models": {"good": None}}


@pytest.mark.parametrize(
    "arguments",
    [[], ["models"], *(["models", name] for name in ("list", "check", "export", "compile"))],
)
def test_help_has_an_example(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--help"])

    assert stop.value.code == 0
    assert "example:" in capsys.readouterr().out


def test_an_interrupt_is_exit_code_130(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("glet.cli.models.Repository", interrupt)
    assert main(["models", "list", str(repository)]) == 130
