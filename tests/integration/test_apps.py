"""Apps through real daemons: on emulated devices, with Python models, and compiled."""

import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waiting import wait_for

from glet.client import Client
from glet.clock import SystemClock
from glet.config.cluster import BackendConfig, ClusterConfig
from glet.errors import ConfigError, LateError, RequestError
from glet.serve.compile_cache import default_cache
from glet.serve.repository import Repository, read_samples
from glet.serve.up import LocalCluster

MODEL = """slo_ms = 2000.0
max_batch = 8
[[input]]
name = "x"
dtype = "float32"
shape = {shape}
[[output]]
name = "y"
dtype = "float32"
shape = {made}
"""
APP = """slo_ms = {slo_ms}
[[input]]
name = "image"
dtype = "float32"
shape = [4]
[[stage]]
name = "find"
model = "rows"
inputs = {{ x = "image" }}
[[stage]]
name = "double"
model = "double"
each = true
inputs = {{ x = "find.y" }}
[[stage]]
name = "half"
model = "half"
each = true
inputs = {{ x = "find.y" }}
[[stage]]
name = "last"
model = "total"
inputs = {{ x = "double.y" }}
[[output]]
name = "halves"
from = "half.y"
[[output]]
name = "total"
from = "last.y"
"""
# Name -> input and output shape, and what it computes.
MODELS = {
    "rows": ([4], [3, 4], "np.stack([x, x + 10, x + 20], axis=1)"),
    "double": ([4], [4], "x * 2"),
    "half": ([4], [4], "x / 2"),
    "total": ([3, 4], [1], "x.sum(axis=(1, 2))[:, None]"),
}
# With `glacial` in place of `total`, which takes far longer than a test waits for anything.
GLACIAL_MS = 6000
IMAGE = np.arange(4, dtype=np.float32)


def repository(folder: Path, slo_ms: float = 4000.0) -> Path:
    for name, (shape, made, code) in MODELS.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "model.toml").write_text(MODEL.format(shape=shape, made=made))
        text = f"import numpy as np\n\n\ndef infer(x):\n    return {code}\n"
        (folder / name / "model.py").write_text(text)
    (folder / "app").mkdir()
    (folder / "app" / "app.toml").write_text(APP.format(slo_ms=slo_ms))
    return folder


def config(models: Path, **changes: Any) -> ClusterConfig:
    return ClusterConfig(listen="tcp://127.0.0.1:0", models=str(models), **changes)


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """`total` takes 100 ms, `glacial` 6 s, everything else 5 ms."""
    folder = tmp_path_factory.mktemp("apps")
    models = repository(folder / "models")
    shutil.copytree(models / "total", models / "glacial")
    (models / "slow").mkdir()
    text = APP.format(slo_ms=20_000.0).replace('model = "total"', 'model = "glacial"')
    (models / "slow" / "app.toml").write_text(text)
    takes_ms = {"total": 100, "glacial": GLACIAL_MS}
    lines = [
        f"{name},{share},{batch},{takes_ms.get(name, 5)}\n"
        for name in (*MODELS, "glacial")
        for share in (50, 100)
        for batch in (1, 8)
    ]
    (folder / "latency.csv").write_text("".join(lines))
    backend = BackendConfig(profile=str(folder / "latency.csv"))
    with LocalCluster(
        config(models, partition="profiled", backend=(backend,)), SystemClock()
    ) as started:
        yield started


def test_python_models_compute_what_the_graph_says(tmp_path: Path) -> None:
    with (
        LocalCluster(config(repository(tmp_path / "m")), SystemClock()) as cluster,
        Client(cluster.endpoint) as client,
    ):
        outputs = client.infer("app", IMAGE, deadline_ms=20_000)
        stats = client.stats()["models"]
        listed = client.models()["app"]
    assert isinstance(outputs, dict)
    rows = np.stack([IMAGE, IMAGE + 10, IMAGE + 20])
    assert np.array_equal(outputs["halves"], rows / 2)
    assert outputs["total"].tolist() == [rows.sum() * 2]
    assert all(counted["good"] == counted["ok"] for counted in stats.values())
    assert [stats[name]["ok"] for name in ("app", "rows", "double", "half", "total")] == [
        1, 1, 3, 3, 1,
    ]  # fmt: skip
    assert listed["state"] == "serving"
    assert listed["slo_ms"] == 4000.0
    assert [stage["requests"] for stage in listed["stages"]] == [1, 3, 3, 1]
    assert listed["outputs"] == [["halves", "float32", [3, 4]], ["total", "float32", [1]]]


def test_an_emulated_app_says_so_and_its_slow_stage_gets_the_time(emulated: LocalCluster) -> None:
    with Client(emulated.endpoint) as client:
        listed = client.models()["app"]
        outputs = client.infer("app", IMAGE, deadline_ms=20_000)
    assert listed["emulated"]
    assert isinstance(outputs, dict)
    assert outputs["halves"].shape == (3, 4)
    budgets = {stage["stage"]: stage["budget_ms"] for stage in listed["stages"]}
    assert budgets["find"] + budgets["double"] + budgets["last"] <= 4000.0 * (1 + 1e-9)
    assert budgets["last"] > budgets["double"]


def test_a_late_stage_is_the_apps_answer(emulated: LocalCluster) -> None:
    with Client(emulated.endpoint) as client:
        # Time for all but the last stage, which cannot fit: refused when its turn comes.
        with pytest.raises(LateError, match="app 'slow', stage 'last'"):
            client.infer("slow", IMAGE, deadline_ms=GLACIAL_MS - 100)
        after = client.stats()["models"]["slow"]
    assert (after["late"], after["received"]) == (1, 1)
    assert after["outstanding"] == 0


def test_apps_take_bad_input_like_models(emulated: LocalCluster) -> None:
    with Client(emulated.endpoint) as client:
        with pytest.raises(RequestError, match=r"input 'image': got float32 \[5\]"):
            client.infer("app", np.zeros(5, dtype=np.float32))
        with pytest.raises(RequestError, match="did you mean 'app'"):
            client.infer("apps", {"image": IMAGE})


def test_a_killed_executor_leaves_every_app_request_one_answer(emulated: LocalCluster) -> None:
    stop = threading.Event()
    lock = threading.Lock()
    outcomes: Counter[str] = Counter()
    asked: Counter[str] = Counter()

    def ask() -> None:
        with Client(emulated.endpoint) as client:
            while not stop.is_set():
                with lock:
                    asked["requests"] += 1
                try:
                    client.infer("app", IMAGE, deadline_ms=4000)
                    outcome = "ok"
                except RequestError as error:
                    outcome = error.code
                with lock:
                    outcomes[outcome] += 1

    with Client(emulated.endpoint) as client:
        before = client.stats()["models"]["app"]["received"]
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: outcomes["ok"] >= 2, emulated.poll)
            os.kill(client.stats()["executors"][0]["pid"], signal.SIGKILL)
            wait_for(lambda: client.stats()["executors"][0]["restarts"] >= 1, emulated.poll)
            served = outcomes["ok"]
            wait_for(lambda: outcomes["ok"] >= served + 2, emulated.poll)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        counts = client.stats()["models"]["app"]
    assert sum(outcomes.values()) == asked["requests"]
    assert set(outcomes) <= {"ok", "late", "unavailable"}
    assert counts["received"] == before + asked["requests"]
    assert counts["outstanding"] == 0
    ends = ("ok", "late", "full", "failed", "unavailable", "invalid")
    assert sum(counts[name] for name in ends) == counts["received"]


def test_a_broken_app_is_one_line_before_anything_starts(tmp_path: Path) -> None:
    models = repository(tmp_path / "m")
    shutil.rmtree(models / "total")
    with pytest.raises(ConfigError) as error:
        LocalCluster(config(models), SystemClock()).__enter__()
    assert str(error.value).startswith("app 'app': there is no model 'total'")
    assert "\n" not in str(error.value)


DIGITS_APP = """slo_ms = 5000.0
[[input]]
name = "strip"
dtype = "float32"
shape = [6, 1, 28, 28]
[[stage]]
name = "digit"
model = "lenet"
each = true
inputs = { image = "strip" }
[[output]]
name = "scores"
from = "digit.scores"
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="needs a compiler")
def test_a_strip_of_digits_is_read_by_a_compiled_model(tmp_path: Path) -> None:
    """The demo's lenet: exported, trained and compiled once, in glet's own cache."""
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    from glet.serve.export import export_model

    kept = default_cache() / "demo-models"
    if not (kept / "lenet").exists():
        export_model("lenet", kept)
    models = tmp_path / "m"
    shutil.copytree(kept / "lenet", models / "lenet")
    (models / "digits").mkdir()
    (models / "digits" / "app.toml").write_text(DIGITS_APP)
    samples = read_samples(Repository(models).entry("lenet"))
    assert samples is not None
    assert samples.labels is not None
    images = samples.inputs["image"]
    right = 0
    with (
        LocalCluster(config(models, cache=str(default_cache())), SystemClock()) as cluster,
        Client(cluster.endpoint) as client,
    ):
        runners = {gpulet["runner"] for gpulet in client.models()["lenet"]["gpulets"]}
        for first in range(0, 120, 6):
            scores = client.infer("digits", images[first : first + 6], deadline_ms=20_000)
            alone = [
                client.infer("lenet", image, deadline_ms=20_000) for image in images[first:][:6]
            ]
            assert np.allclose(np.asarray(scores), np.stack(alone), rtol=1e-4, atol=1e-4)
            right += int((np.asarray(scores).argmax(1) == samples.labels[first:][:6]).sum())
    assert runners == {"compiled"}
    assert right > 108
