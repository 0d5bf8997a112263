"""`compile = "aoti"` under `glet up --partition green`: compiled, or captured with the reason.

Real daemons on a libcuda.so.1 that plays a GPU; torch and its compiler are tests/fake_gpu.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_gpu_up import environment
from green_cluster import glet_up, write_cluster
from vector_entries import model_toml, write_program
from waiting import WAIT_S, wait_for

from glet.client import Client

X = np.arange(4, dtype=np.float32)
PLAN = """0,20,0,fast,1,10
0,20,1,fast,1,10
0,20,2,odd,1,10
0,20,3,broken,1,10
0,20,4,a,1,10
"""


@pytest.fixture
def cluster(tmp_path: Path, fake_torch: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Models `fast`, `odd` and `broken` want to be compiled, `a` does not."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_TORCH", str(fake_torch))
    monkeypatch.setenv("COMPILE_LOG", str(tmp_path / "compiled.log"))
    cluster = write_cluster(tmp_path)
    for name in ("fast", "odd", "broken"):
        folder = tmp_path / "models" / name
        folder.mkdir()
        (folder / "model.toml").write_text("compile = 'aoti'\n" + model_toml(5000.0))
        (folder / "model.py").write_text("def infer(x):\n    return x * 2\n")
        write_program(folder)
    (tmp_path / "ModelList.txt").write_text(PLAN)
    return cluster


def serving(client: Client) -> dict[str, list[tuple[str, str]]]:
    """Runner and note of every gpulet that is ready, by model."""
    return {
        name: [(g["runner"], g["note"]) for g in model["gpulets"] if g["state"] == "ready"]
        for name, model in client.models().items()
    }


def compiled(tmp_path: Path) -> list[str]:
    return (tmp_path / "compiled.log").read_text().splitlines()


def test_what_is_compiled_serves_and_what_is_not_says_why(
    tmp_path: Path, fake_cuda: Path, cluster: Path
) -> None:
    with glet_up(cluster, fake_cuda) as (address, said), Client(address) as client:
        wait_for(lambda: sum(len(places) for places in serving(client).values()) == 5)
        for name in ("fast", "odd", "broken", "a"):
            for _ in range(4):
                np.testing.assert_array_equal(client.infer(name, X, deadline_ms=30_000), X * 2)
        found = serving(client)
    assert found["fast"] == [("compiled", "")] * 2
    assert found["a"] == [("graph", "")]
    assert found["odd"] == [("graph", "compiling failed: RuntimeError: aten::odd has no kernel")]
    ((runner, note),) = found["broken"]
    assert runner == "graph"
    assert note.startswith("compiled, but does not run: ")
    assert "cannot be opened" in note
    assert "compiling fast for Fake GPU 0 (9.0) (1 of 3)..." in said
    # On the GPU of the backend, whatever else there is.
    assert sorted(line.split()[0] for line in compiled(tmp_path)) == ["broken", "fast", "odd"]
    assert all(line.endswith("CUDA_VISIBLE_DEVICES=0") for line in compiled(tmp_path))
    libraries = list((tmp_path / "cache" / "glet").glob("*/model.so"))
    assert len(libraries) == 2
    for library in libraries:
        assert library.with_name("triton_0.cubin").read_bytes() == b"kernel"


def test_what_was_compiled_is_not_compiled_again(
    tmp_path: Path, fake_cuda: Path, cluster: Path
) -> None:
    (tmp_path / "ModelList.txt").write_text("0,100,0,fast,1,10\n")
    for _ in range(2):
        with glet_up(cluster, fake_cuda) as (address, _), Client(address) as client:
            wait_for(lambda: serving(client)["fast"] == [("compiled", "")])
            np.testing.assert_array_equal(client.infer("fast", X, deadline_ms=30_000), X * 2)
    assert len(compiled(tmp_path)) == 1


@pytest.mark.parametrize(
    ("name", "why"), [("odd", "aten::odd has no kernel"), ("broken", "cannot be opened")]
)
def test_where_it_has_to_be_compiled_there_is_no_way_around(
    tmp_path: Path, fake_cuda: Path, cluster: Path, name: str, why: str
) -> None:
    toml = tmp_path / "models" / name / "model.toml"
    toml.write_text("runner = 'compiled'\n" + toml.read_text())
    (tmp_path / "ModelList.txt").write_text(f"0,50,0,{name},1,10\n")
    done = subprocess.run(
        [sys.executable, "-m", "glet.cli.main", "up", str(cluster)],
        env=environment(fake_cuda),
        capture_output=True,
        text=True,
        timeout=4 * WAIT_S,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert f"model {name!r}: " in done.stderr.splitlines()[-1]
    assert why in done.stderr.splitlines()[-1]
