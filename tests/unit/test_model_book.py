"""What a backend knows of its models: memory that fits, latencies by share."""

from pathlib import Path

import pytest

from glet.config.cluster import ClusterConfig
from glet.plan.layout import PlacedGpulet
from glet.profiles.device_profile import DeviceProfile, model_profiles
from glet.profiles.interference import NoInterference
from glet.profiles.latency_csv import LatencyProfile, parse_latencies
from glet.serve.hosted import HostedGpulet, HostedModel, Wanted
from glet.serve.model_book import ModelBook
from glet.serve.model_shelf import ModelShelf
from glet.types.device import DeviceInfo
from glet.types.plan import ModelShare

MODEL_TOML = """
slo_ms = 100.0
max_batch = 4
[[input]]
name = "x"
dtype = "float32"
shape = [4]
[[output]]
name = "x"
dtype = "float32"
shape = [4]
"""
LINES = "".join(
    f"{name},{share},{batch},{100.0 / share + batch}\n"
    for name in ("a", "b")
    for share in (20, 50)
    for batch in (1, 4)
)


@pytest.fixture
def book(tmp_path: Path) -> ModelBook:
    """Models `a` and `b` of 60 MB each on a device of 100 MB."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.toml").write_text(MODEL_TOML)
        (tmp_path / name / "model.py").write_text("def infer(x):\n    return x\n")
    models = model_profiles(parse_latencies(LINES, "here"), {"a": 60.0, "b": 60.0}, {})
    profile = DeviceProfile("p", models, memory_mb=100.0, where="here")
    shelf = ModelShelf(tmp_path, "", LatencyProfile(profile), lambda: None, lambda line: None)
    device = DeviceInfo(name="d", kind="profiled", type="p", memory_mb=100, emulated=True)
    return ModelBook(ClusterConfig(), device, shelf, profile, NoInterference())


def gpulet(number: int, *models: str, share_pct: int = 50) -> PlacedGpulet:
    shares = tuple(ModelShare(model=model, batch=4) for model in models)
    return PlacedGpulet(number=number, share_pct=share_pct, models=shares)


def hosted(book: ModelBook, placed: PlacedGpulet) -> HostedGpulet:
    return HostedGpulet(
        placed=placed,
        state="ready",
        models={w.source.name: model(w) for w in book.wanted(placed, (placed,))},
    )


def model(wanted: Wanted) -> HostedModel:
    return HostedModel(wanted.number, wanted.source, wanted.share, wanted.limits, "ready")


def test_latencies_are_those_of_the_share(book: ModelBook) -> None:
    for share_pct in (50, 20):
        placed = gpulet(0, "a", share_pct=share_pct)
        (wanted,) = book.wanted(placed, (placed,))
        assert dict(wanted.latency_ms)[1] == pytest.approx(100.0 / share_pct + 1)


def test_another_model_waits_for_memory_while_something_can_go(book: ModelBook) -> None:
    there = {0: (hosted(book, gpulet(0, "a")),)}
    assert not book.fits(0, "b", there, (gpulet(1, "b"),))
    # Nothing is surplus: the device has the last word.
    assert book.fits(0, "b", there, (gpulet(0, "a"), gpulet(1, "b")))


def test_a_model_that_moves_within_its_executor_needs_no_memory(book: ModelBook) -> None:
    there = {0: (hosted(book, gpulet(0, "a")),)}
    assert book.fits(0, "a", there, (gpulet(1, "a"),))
    # In an executor of its own it does.
    assert not book.fits(1, "a", there, (gpulet(1, "a"),))
