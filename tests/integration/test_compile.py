"""Real compiling: once per content, the same numbers as eager torch, failures in one line."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
if shutil.which(os.environ.get("CXX", "g++")) is None:
    pytest.skip("needs a C++ compiler", allow_module_level=True)

from glet.clock import SystemClock  # noqa: E402
from glet.serve.callables import load_callable  # noqa: E402
from glet.serve.compile import compile_entries, find_compiled  # noqa: E402
from glet.serve.compile_cache import Cache  # noqa: E402
from glet.serve.export import export_model  # noqa: E402
from glet.serve.repository import Repository, read_samples  # noqa: E402

pytestmark = pytest.mark.slow
LIMIT_S = 300


def compile_in_process(models: Path, cache: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "glet.serve.compile", "--models", str(models)]
    return subprocess.Popen(
        [*command, "--cache", str(cache)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def last_line(process: "subprocess.Popen[str]") -> dict[str, Any]:
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, err
    line: dict[str, Any] = json.loads(out.splitlines()[-1])
    return line


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Repository, Cache]:
    """lenet, compiled by two processes that start at the same time."""
    models = tmp_path_factory.mktemp("models")
    cache = tmp_path_factory.mktemp("cache")
    export_model("lenet", models)
    processes = [compile_in_process(models, cache) for _ in range(2)]
    lines = [last_line(process) for process in processes]
    assert {line["result"]["runner"] for line in lines} == {"compiled"}
    # The second one waited, and got what the first one made.
    assert len({json.dumps(line["result"]) for line in lines}) == 1
    return Repository(models), Cache(cache, SystemClock())


def test_nothing_but_the_result_is_left(compiled: tuple[Repository, Cache]) -> None:
    repository, cache = compiled
    found = find_compiled(repository.entry("lenet"), cache)

    assert found is not None
    made = Path(found.library).parent
    assert sorted(path.name for path in made.iterdir()) == ["compiled.json", "model.so"]
    assert [path for path in cache.folder.iterdir() if path.is_dir()] == [made]
    assert found.library_bytes == Path(found.library).stat().st_size


def test_the_second_time_it_is_cached(compiled: tuple[Repository, Cache]) -> None:
    repository, cache = compiled
    events: list[str] = []

    compile_entries(
        [repository.entry("lenet")], cache, SystemClock(), lambda step: events.append(step.event)
    )

    assert events == ["cached"]


@pytest.mark.parametrize("batch", [1, 2, 17, 64])
def test_the_library_computes_what_eager_torch_computes(
    compiled: tuple[Repository, Cache], batch: int
) -> None:
    repository, cache = compiled
    entry = repository.entry("lenet")
    found = find_compiled(entry, cache)
    samples = read_samples(entry)
    assert found is not None
    assert samples is not None
    images = samples.inputs["image"][:batch]

    runner = torch._C._aoti.AOTIModelContainerRunnerCpu(found.library, 1)
    (scores,) = runner.run([torch.from_numpy(images)])

    np.testing.assert_allclose(scores.numpy(), load_callable(entry)(images), rtol=1e-5, atol=1e-5)


COUNT_NEW_THREADS = """
import os, sys, torch
torch.set_num_threads(int(sys.argv[2]))
runner = torch._C._aoti.AOTIModelContainerRunnerCpu(sys.argv[1], 1)
before = len(os.listdir("/proc/self/task"))
runner.run([torch.zeros(64, 1, 28, 28)])
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_the_caller_decides_the_number_of_threads(
    compiled: tuple[Repository, Cache], threads: int
) -> None:
    """Compiled for the machine's core count, a library would start threads of its own at 1."""
    repository, cache = compiled
    found = find_compiled(repository.entry("lenet"), cache)
    assert found is not None
    done = subprocess.run(
        [sys.executable, "-c", COUNT_NEW_THREADS, found.library, str(threads)],
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT_S,
    )

    assert int(done.stdout) == threads - 1


def test_a_program_that_does_not_load_falls_back_with_one_line(
    tmp_path: Path, compiled: tuple[Repository, Cache]
) -> None:
    repository, _ = compiled
    shutil.copytree(repository.folder / "lenet", tmp_path / "models" / "lenet")
    sound = repository.entry("lenet").path
    path = tmp_path / "models" / "lenet" / "model.pt2"
    with zipfile.ZipFile(sound) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name).replace(b"torch.ops.aten.conv2d", b"torch.ops.aten.none2d")
            target.writestr(name, content)
    entry = Repository(tmp_path / "models").entry("lenet")

    (result,) = compile_entries(
        [entry], Cache(tmp_path / "cache", SystemClock()), SystemClock(), lambda _: None
    )

    assert result.runner == "python"
    assert result.reason.startswith("compiling failed: ")
    assert "\n" not in result.reason
