"""What a backend knows of its repository, and how that changes while it runs."""

import os
from pathlib import Path

import pytest
from vector_entries import app_toml, model_toml, write_program
from waiting import wait_for

from glet.clock import SystemClock
from glet.serve import model_shelf
from glet.serve.model_shelf import ModelShelf
from glet.serve.poll_loop import PollLoop
from glet.types.device import DeviceInfo
from glet.wire.messages import ModelSource, ModelState
from glet.wire.repository_messages import OfferModel


def write(folder: Path, name: str, slo_ms: float = 50.0, text: str = "x * 2") -> None:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "model.toml").write_text(model_toml(slo_ms))
    (folder / name / "model.py").write_text(f"def infer(x):\n    return {text}\n")


@pytest.fixture
def shelf(tmp_path: Path) -> ModelShelf:
    write(tmp_path, "a")
    return ModelShelf(tmp_path, "", None, lambda: None, lambda text: None)


def offer(name: str, slo_ms: float | None = None, max_batch: int | None = None) -> OfferModel:
    return OfferModel(request=1, name=name, slo_ms=slo_ms, max_batch=max_batch)


def state(shelf: ModelShelf, name: str) -> ModelState:
    return next(model for model in shelf.states() if model.name == name)


def source(shelf: ModelShelf, name: str) -> ModelSource:
    found = shelf.source(name, 100)
    assert found is not None
    return found


def test_a_new_folder_is_found(shelf: ModelShelf, tmp_path: Path) -> None:
    missing = shelf.offer(offer("b"), None)
    assert missing.is_missing
    assert "did you mean" not in missing.error or "'a'" in missing.error
    assert [model.name for model in shelf.states()] == ["a"]
    write(tmp_path, "b")
    assert shelf.offer(offer("b"), None).error == ""
    assert source(shelf, "b").max_batch == 8


@pytest.mark.parametrize(
    ("slo_ms", "max_batch"),
    [
        (0.0, None),
        (-1.0, None),
        (float("nan"), None),
        (float("inf"), None),
        (None, 0),
        (None, 5000),
    ],
)
def test_a_model_with_limits_that_cannot_be_is_refused(
    shelf: ModelShelf, slo_ms: float | None, max_batch: int | None
) -> None:
    before = state(shelf, "a")
    read = shelf.offer(offer("a", slo_ms, max_batch), None)
    assert read.error
    assert len(read.error.splitlines()) == 1
    assert state(shelf, "a") == before


def test_what_is_given_holds_until_it_is_offered_again(shelf: ModelShelf) -> None:
    loaded = source(shelf, "a")
    assert shelf.offer(offer("a", slo_ms=75.0, max_batch=4), loaded) == ("", False, False, False)
    assert (source(shelf, "a").slo_ms, source(shelf, "a").max_batch) == (75.0, 4)
    spec = shelf.spec("a")
    assert spec is not None
    assert spec.slo_ms == 75.0
    shelf.offer(offer("a"), loaded)
    assert source(shelf, "a") == loaded


def test_a_larger_batch_than_was_loaded_is_stale(shelf: ModelShelf) -> None:
    loaded = source(shelf, "a")
    assert shelf.offer(offer("a", max_batch=16), loaded).is_stale
    assert source(shelf, "a") == loaded
    assert shelf.offer(offer("a", max_batch=16), None).error == ""
    assert source(shelf, "a").max_batch == 16


def test_other_files_are_stale_where_they_are_loaded(shelf: ModelShelf, tmp_path: Path) -> None:
    loaded = source(shelf, "a")
    write(tmp_path, "a", text="x * 3000")
    assert shelf.offer(offer("a"), loaded).is_stale
    assert shelf.offer(offer("a"), None).is_another
    assert not shelf.offer(offer("a"), None).is_another


def test_an_entry_that_is_wrong_changes_nothing(shelf: ModelShelf, tmp_path: Path) -> None:
    before = state(shelf, "a")
    os.unlink(tmp_path / "a" / "model.py")
    read = shelf.offer(offer("a"), source(shelf, "a"))
    assert "has none of model.pt2" in read.error
    assert not read.is_missing
    assert state(shelf, "a") == before


def test_withdrawn_until_it_is_offered(shelf: ModelShelf) -> None:
    shelf.withdraw("a", "it broke")
    assert (state(shelf, "a").state, state(shelf, "a").error) == ("unloaded", "it broke")
    shelf.offer(offer("a"), None)
    assert (state(shelf, "a").state, state(shelf, "a").error) == ("known", "")


def test_apps_are_read_again_with_models_that_were_not_known(
    shelf: ModelShelf, tmp_path: Path
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "app.toml").write_text(app_toml("a", 100.0))
    read = shelf.offer(offer("app"), None)
    assert read.error == ""
    (app,) = shelf.apps
    assert (app.name, app.unloaded) == ("app", False)
    shelf.withdraw("app", "")
    assert shelf.apps[0].unloaded
    (tmp_path / "app" / "app.toml").write_text(app_toml("none", 100.0))
    assert "there is no model 'none'" in shelf.offer(offer("app"), None).error
    assert shelf.apps[0].unloaded


def on_gpu(folder: Path, name: str, keys: str) -> ModelShelf:
    (folder / name).mkdir()
    (folder / name / "model.toml").write_text(keys + model_toml(50.0))
    write_program(folder / name)
    gpu = DeviceInfo(name="d", kind="green", type="t", gpu="0")
    return ModelShelf(folder, "", None, lambda: None, lambda text: None, gpu=gpu)


def test_on_a_gpu_what_does_not_ask_for_a_compiler_needs_none(tmp_path: Path) -> None:
    shelf = on_gpu(tmp_path, "g", "")
    found = source(shelf, "g")
    assert (found.runner, found.path, found.library) == ("graph", str(tmp_path / "g"), "")


def test_a_compiler_for_a_gpu_that_ends_without_a_word_leaves_graphs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = on_gpu(tmp_path, "g", "compile = 'aoti'\n")
    monkeypatch.setattr(model_shelf, "python", lambda *words: ["/bin/sh", "-c", "exit 3"])
    poll = PollLoop(SystemClock())
    shelf.want(["g"], poll)
    assert shelf.source("g", 100) is None
    assert state(shelf, "g").state == "compiling"
    found = wait_for(lambda: shelf.source("g", 100), poll.run_once)
    assert found is not None
    assert (found.runner, found.library) == ("graph", "")
    assert found.note == "compiling failed: exit code 3"
    shelf.offer(offer("g", slo_ms=75.0), None)
    assert source(shelf, "g").note == found.note


def test_where_it_has_to_be_compiled_that_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = on_gpu(tmp_path, "g", "compile = 'aoti'\nrunner = 'compiled'\n")
    monkeypatch.setattr(model_shelf, "python", lambda *words: ["/bin/sh", "-c", "exit 3"])
    poll = PollLoop(SystemClock())
    shelf.want(["g"], poll)
    wait_for(lambda: state(shelf, "g").error, poll.run_once)
    assert state(shelf, "g").error == "model 'g': compiling failed: exit code 3"


def test_names_that_come_from_outside_are_not_kept_for_ever(shelf: ModelShelf) -> None:
    with PollLoop(SystemClock()) as poll:
        for number in range(20):
            shelf.want(["a", f"no{number}"], poll)
            shelf.withdraw(f"none{number}", "why")
    assert [model.name for model in shelf.states()] == ["a", "no19"]
    assert state(shelf, "no19").state == "failed"
    shelf.withdraw("a", "why")
    assert state(shelf, "a").state == "unloaded"


def test_a_name_that_no_entry_can_have_is_missing_and_no_more(shelf: ModelShelf) -> None:
    names = ["b\0c", "../a", "x" * 300]
    with PollLoop(SystemClock()) as poll:
        shelf.want(["a", *names], poll)
    assert state(shelf, "a").state != "failed"
    for name in names:
        assert state(shelf, name).state == "failed"
        shelf.withdraw(name, "why")
