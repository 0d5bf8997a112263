"""The cache of compiled models, and what the compiler step decides without compiling."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
from vector_entries import program

from glet.clock import Clock, ManualClock, SystemClock
from glet.errors import DeviceError
from glet.serve.aoti import unpack
from glet.serve.compile import Progress, compile_entries, find_compiled, main
from glet.serve.compile_cache import LOCK_LIMIT_S, Cache, Compiled, cache_key, this_machine
from glet.serve.repository import Entry, Repository

TOML = """
slo_ms = 5
max_batch = 4
[[input]]
name = "x"
dtype = "float32"
shape = [3]
[[output]]
name = "x"
dtype = "float32"
shape = [3]
"""


def write_program(root: Path, name: str, toml: str = TOML) -> Entry:
    """An entry whose program has a sound signature, and nothing that torch could load."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text(toml)
    with zipfile.ZipFile(folder / "model.pt2", "w") as archive:
        archive.writestr("m/models/model.json", program(3))
    return Repository(root).entry(name)


def make(cache: Cache, key: str, **fields: Any) -> Compiled:
    with cache.work_folder() as work:
        out = work / "out"
        out.mkdir()
        (out / "model.so").write_bytes(b"library")
        return cache.publish(key, out, Compiled(model="a", runner="compiled", **fields))


def test_what_is_published_is_found_under_any_name(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", SystemClock())
    assert cache.find("k", "a") is None

    made = make(cache, "k", compile_s=2.0)
    found = cache.find("k", "b")

    assert Path(made.library).read_bytes() == b"library"
    assert found is not None
    assert (found.model, found.library, found.compile_s) == ("b", made.library, 2.0)
    assert not list(cache.folder.glob(".work-*"))


def test_half_an_entry_is_none(tmp_path: Path) -> None:
    cache = Cache(tmp_path, SystemClock())
    (made := Path(make(cache, "k").library)).unlink()
    assert cache.find("k", "a") is None

    make(cache, "k")
    made.with_name("compiled.json").write_text("{")
    assert cache.find("k", "a") is None


def test_the_key_tells_content_torch_and_machine_apart(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_bytes(b"one")
    two.write_bytes(b"two")

    keys = {
        cache_key(path, torch, machine)
        for path in (one, two)
        for torch in ("2.13.0", "2.14.0")
        for machine in ("avx2", "avx512")
    }

    assert len(keys) == 8
    assert cache_key(one, "2.13.0", "avx2") in keys
    assert this_machine() == this_machine()


def test_leftovers_of_a_crash_go_and_work_in_progress_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path, SystemClock())
    (tmp_path / ".work-crashed").mkdir()

    with cache.work_folder() as first, cache.work_folder() as second:
        assert first.is_dir()
        assert second.is_dir()
        assert not (tmp_path / ".work-crashed").exists()


def test_a_lock_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    clock: Clock = ManualClock()
    cache = Cache(tmp_path, clock)
    with (
        cache.lock("k"),
        pytest.raises(DeviceError, match="held by another process for an hour"),
        cache.lock("k"),
    ):
        pass

    assert clock.now_s() >= LOCK_LIMIT_S
    with cache.lock("k"):
        assert (tmp_path / ".k.lock").exists()


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file", SystemClock())

    with pytest.raises(DeviceError, match="choose another folder with --cache"), cache.lock("k"):
        pass


def compile_one(entry: Entry, cache: Cache) -> tuple[Compiled, list[str]]:
    lines: list[str] = []

    def report(progress: Progress) -> None:
        lines.append(progress.line())

    (result,) = compile_entries([entry], cache, SystemClock(), report)
    return result, lines


def test_python_and_torchscript_need_no_compiler(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", SystemClock())
    told = write_program(tmp_path, "told", "runner = 'python'\n" + TOML)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "model.toml").write_text(TOML)
    (tmp_path / "source" / "model.py").write_text("def infer(x): return x\n")
    source = Repository(tmp_path).entry("source")

    assert compile_one(told, cache)[1] == [
        "told runs in Python (1 of 1): model.toml says runner = 'python'"
    ]
    assert find_compiled(source, cache) == Compiled(
        model="source", runner="python", reason="model.py is not an exported program (model.pt2)"
    )
    assert not cache.folder.exists()


@pytest.mark.parametrize(("runner", "expected"), [("auto", "python"), ("compiled", "refused")])
def test_without_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: str, expected: str
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("CXX", "no-such-compiler")
    entry = write_program(tmp_path / "models", "a", f"runner = '{runner}'\n" + TOML)
    cache = Cache(tmp_path / "cache", SystemClock())

    result, lines = compile_one(entry, cache)

    assert result.runner == expected
    assert result.reason == "no C++ compiler: no-such-compiler is not installed; apt install g++"
    assert lines[0] == "compiling a for cpu (1 of 1)..."
    assert find_compiled(entry, cache) is None


def test_the_process_says_what_is_wrong_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--models", str(tmp_path), "missing"]) == 2
    assert capsys.readouterr().err == (f"model 'missing': not in {tmp_path}; there are none\n")


@pytest.mark.parametrize(
    ("extra", "needs"),
    [
        ({"m.wrapper_metadata.json": '{"AOTI_DEVICE_KEY": "cpu"}'}, ""),
        ({"m.wrapper.cpp": "int main() {}"}, ""),
        (
            {"m.wrapper.json": '{"nodes": [{"node": {"target": "aten::_linalg_eigh"}}]}'},
            "aten::_linalg_eigh can only be called through torch",
        ),
        ({"m.wrapper.json": '{"nodes": []}'}, ""),
        ({"triton_1.cubin": "kernel", "kernel_information.json": "[]"}, ""),
        ({"weights.blob": "x"}, "the library needs weights.blob beside it"),
    ],
)
def test_what_a_library_needs_beyond_itself(
    tmp_path: Path, extra: dict[str, str], needs: str
) -> None:
    package = tmp_path / "p.pt2"
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("p/data/aotinductor/model/m.wrapper.so", "library")
        for name, content in extra.items():
            archive.writestr(f"p/data/aotinductor/model/{name}", content)

    assert unpack(package, tmp_path) == needs
    assert (tmp_path / "model.so").read_bytes() == b"library"
    # Kernels for a GPU lie beside it.
    assert {path.name for path in tmp_path.glob("*.cubin")} == {n for n in extra if "cubin" in n}
