"""What a backend knows of its repository while that changes."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from vector_entries import app_toml, model_toml

from glet.clock import SystemClock
from glet.serve.model_shelf import ModelShelf
from glet.serve.poll_loop import PollLoop


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    models = tmp_path / "models"
    (models / "a").mkdir(parents=True)
    (models / "a" / "model.toml").write_text(model_toml(100.0, 4))
    (models / "a" / "model.py").write_text("def infer(x):\n    return x\n")
    return models


def write_app(folder: Path, name: str, slo_ms: float = 500.0, model: str = "a") -> None:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "app.toml").write_text(app_toml(model, slo_ms))


def test_apps_are_read_again_with_the_repository(folder: Path) -> None:
    changes: list[None] = []
    shelf = ModelShelf(folder, "", None, lambda: changes.append(None), lambda line: None)
    poll = PollLoop(SystemClock())

    def apps() -> dict[str, float | str]:
        shelf.want(["a"], poll)
        shelf.look_after_plan()
        return {app.name: app.spec.slo_ms if app.spec else app.error for app in shelf.apps}

    assert apps() == {}
    write_app(folder, "one")
    write_app(folder, "two", slo_ms=70.0)
    assert apps() == {"one": 500.0, "two": 70.0}
    told = len(changes)
    assert apps() == {"one": 500.0, "two": 70.0}
    assert len(changes) == told
    write_app(folder, "one", slo_ms=1234.5)
    shutil.rmtree(folder / "two")
    assert apps() == {"one": 1234.5}
    write_app(folder, "one", model="b")
    assert "there is no model 'b'" in str(apps()["one"])
    shutil.copytree(folder / "a", folder / "b")
    assert apps() == {"one": 500.0}


def test_apps_stay_while_the_repository_is_gone(folder: Path) -> None:
    write_app(folder, "one")
    shelf = ModelShelf(folder, "", None, lambda: None, lambda line: None)
    before = shelf.apps
    assert [app.name for app in before] == ["one"]
    folder.rename(folder.parent / "away")
    shelf.want([], PollLoop(SystemClock()))
    shelf.look_after_plan()
    assert shelf.apps == before
    (folder.parent / "away").rename(folder)
    write_app(folder, "one", slo_ms=9.0)
    shelf.look_after_plan()
    assert shelf.apps == before  # nobody planned anything since
    shelf.want([], PollLoop(SystemClock()))
    shelf.look_after_plan()
    assert [app.spec.slo_ms for app in shelf.apps if app.spec] == [9.0]
