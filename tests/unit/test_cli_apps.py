"""Apps on the command line: glet models and glet-schedule."""

import json
from pathlib import Path

import pytest

from glet.cli import main as commands
from glet.cli.main import main
from glet.errors import ConfigError
from glet.plan import model_list
from glet.profiles.files import DeviceFacts, MeasuredLatency, ProfileData, write_profile
from glet.serve import export_app
from glet.serve.doctor_serving import judge_models, look_at_models

MODEL = """slo_ms = {slo_ms}
max_batch = 8
[[input]]
name = "x"
dtype = "float32"
shape = [2]
[[output]]
name = "y"
dtype = "float32"
shape = [2]
"""
APP = """slo_ms = 60.0
description = "twice"
[[input]]
name = "rows"
dtype = "float32"
shape = [3, 2]
[[stage]]
name = "first"
model = "slow"
each = true
inputs = { x = "rows" }
[[stage]]
name = "second"
model = "quick"
each = true
inputs = { x = "first.y" }
[[output]]
name = "y"
from = "second.y"
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in ("slow", "quick"):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "model.toml").write_text(MODEL.format(slo_ms=100.0))
        (folder / "model.py").write_text("def infer(x): return x\n")
    for name, text in (("both", APP), ("bad", APP.replace("first.y", "fist.y"))):
        (tmp_path / "models" / name).mkdir()
        (tmp_path / "models" / name / "app.toml").write_text(text)
    return tmp_path / "models"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Batches of `slow` take 5 ms and 0.5 ms a request, of `quick` a tenth of that."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    measured = tuple(
        MeasuredLatency(
            model=name,
            share_pct=share,
            batch=batch,
            p50_ms=(10.0 + batch) * factor * 100.0 / share,
            p99_ms=1000.0,
            samples=0,
        )
        for name, factor in (("slow", 0.5), ("quick", 0.05))
        for share in (50, 100)
        for batch in (1, 8)
    )
    facts = DeviceFacts(type="tiny", kind="profiled")
    memory = dict.fromkeys(("slow", "quick"), 0.0)
    write_profile(folder, ProfileData(device=facts, latencies=measured, memory_mb=memory))
    return folder


def test_models_lists_and_checks_apps(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", str(repository)]) == 1
    out = capsys.readouterr().out
    assert "slow x3, quick x3" in out
    assert "rows: float32 [3, 2] -> y: float32 [3, 2]" in out
    assert "bad: stage 'second', input 'x': there is no stage 'fist'; did you mean 'first'?" in out

    assert main(["models", "list", str(repository), "--json"]) == 1
    listed = json.loads(capsys.readouterr().out)
    assert list(listed["models"]) == ["quick", "slow"]
    assert listed["apps"]["both"]["stages"][0] == {"stage": "first", "model": "slow", "requests": 3}
    assert list(listed["broken"]) == ["bad"]

    assert main(["models", "check", str(repository), "both", "quick"]) == 0
    assert capsys.readouterr().out.split() == ["both", "ok", "quick", "ok"]
    assert main(["models", "check", str(repository), "bad", "--json"]) == 1
    assert "'fist'" in json.loads(capsys.readouterr().out)["models"]["bad"]
    assert main(["models", "check", str(repository), "bth"]) == 2
    assert "did you mean 'both'?" in capsys.readouterr().err
    assert main(["models", "compile", str(repository), "both"]) == 2
    assert "is an app, no model" in capsys.readouterr().err


def test_a_sample_app_brings_the_models_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def export_model(sample: str, folder: Path, name: str = "", seed: int = 0) -> Path:
        made.append(sample)
        entry = folder / (name or sample)
        entry.mkdir(parents=True)
        shape, size = ("[1, 28, 28]", 10) if sample == "lenet" else ("[3, 224, 224]", 1000)
        text = MODEL.format(slo_ms=1.0).replace("[2]", shape, 1).replace("[2]", f"[{size}]")
        text = text.replace('"x"', '"image"').replace('"y"', '"scores"')
        (entry / "model.toml").write_text(text)
        (entry / "model.py").write_text("def infer(x): return x\n")
        return entry

    monkeypatch.setattr(export_app, "export_model", export_model)
    said: list[str] = []
    export_model("lenet", tmp_path)
    written = export_app.export_app("game", tmp_path, "game2", said.append)
    assert made == ["lenet", "resnet18"]
    assert [path.name for path in written] == ["resnet18", "game2"]
    assert said == ["exporting resnet18, which game2 needs..."]
    with pytest.raises(ConfigError, match="exists already"):
        export_app.export_app("game", tmp_path, "game2", said.append)
    # A model that is there and does not fit: nothing of the app stays.
    (tmp_path / "lenet" / "model.toml").write_text(MODEL.format(slo_ms=1.0))
    with pytest.raises(ConfigError, match="app 'other': stage 'digit'"):
        export_app.export_app("game", tmp_path, "other", said.append)
    assert not (tmp_path / "other").exists()


def test_an_app_is_planned_as_tasks_of_its_models(
    repository: Path, profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "ModelList.txt"
    device = ["--device", f"{profile}=2"]
    app = ["--app", f"{repository}/both/app.toml=4"]
    assert commands.schedule([*app, *device, "--output", str(output), "--json"]) == 0
    out, err = capsys.readouterr()
    gpulets = json.loads(out)["gpulets"]
    planned = {row["model"]: row for gpulet in gpulets for row in gpulet["models"]}
    assert {name: row["rate_rps"] for name, row in planned.items()} == {"slow": 12, "quick": 12}
    assert planned["slow"]["slo_ms"] + planned["quick"]["slo_ms"] == pytest.approx(60.0)
    assert planned["slow"]["slo_ms"] > planned["quick"]["slo_ms"]
    assert "note: app 'both', 4 rps within 60 ms: first (3 x slow)" in err
    assert set(model_list.read(output).models()) == {"slow", "quick"}


def test_a_tasks_file_may_name_an_app_beside_its_models(
    repository: Path, profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = tmp_path / "tasks.csv"
    tasks.write_text("2\nboth,4,80,\nquick,10,5,\n")
    device = ["--device", f"{profile}=2", "--headroom", "2", "--models", str(repository)]
    assert commands.schedule(["--tasks", str(tasks), *device, "--json"]) == 0
    gpulets = json.loads(capsys.readouterr().out)["gpulets"]
    planned = [row for gpulet in gpulets for row in gpulet["models"]]
    quick = [row for row in planned if row["model"] == "quick"]
    assert sum(row["rate_rps"] for row in quick) == pytest.approx(2 * (3 * 4 + 10))
    assert {row["slo_ms"] for row in quick} == {5.0}


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("game", "give FILE=RPS"),
        ("game=0", "give FILE=RPS"),
        ("game=nan", "give FILE=RPS"),
        ("gmae=5", "did you mean 'game'?"),
        ("{}/bad/app.toml=5", "app 'bad': stage 'second', input 'x': there is no stage 'fist'"),
        ("{}/slow/model.toml=5", "unknown key 'max_batch'"),
        ("traffic=5", "has no model 'detector'"),
    ],
)
def test_an_app_that_is_none_is_one_line(
    repository: Path, profile: Path, capsys: pytest.CaptureFixture[str], app: str, words: str
) -> None:
    arguments = ["--app", app.format(repository), "--device", f"{profile}=1"]
    assert commands.schedule(arguments) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("app", "wanted"),
    [
        ("game=5", {"lenet": 30.0, "resnet18": 5.0}),
        ("traffic=2", {"detector": 2.0, "mobilenet_v2": 8.0, "mnasnet1_0": 8.0}),
    ],
)
def test_a_sample_app_is_planned_by_the_shipped_profile(
    app: str, wanted: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.schedule(["--app", app, "--device", "cpu-2core=2", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    rates = {row["model"]: row["rate_rps"] for g in planned["gpulets"] for row in g["models"]}
    assert rates == wanted
    assert planned["unmet"] == {}


def test_doctor_names_a_broken_app(repository: Path, tmp_path: Path) -> None:
    found = look_at_models(repository, tmp_path / "cache")
    assert found.apps == ("bad", "both")
    assert "app 'bad': stage 'second'" in judge_models(found).says
