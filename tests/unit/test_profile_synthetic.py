"""Synthetic profiles: the rules of their formula, and the committed folder."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glet.config.resource import profile_folder
from glet.errors import ArgumentError, ConfigError
from glet.profiles import synthetic
from glet.profiles.device_profile import Demand
from glet.profiles.files import read_data, read_profile, render_profile
from glet.profiles.importers import read_mem_config, read_util
from glet.profiles.synthetic import (
    SHARES,
    published_models,
    saturation,
    synthetic_data,
    synthetic_model,
    synthetic_models,
)

SHARED = Path("/work/shared/data/gpulet")
SLOS_MS = {
    **{f"lenet{number}": 5.0 for number in range(1, 7)},
    "googlenet": 66.0,
    "resnet50": 108.0,
    "ssd-mobilenetv1": 202.0,
    "vgg16": 142.0,
    "mnasnet1_0": 62.0,
    "mobilenet_v2": 64.0,
    "densenet161": 202.0,
    "bert": 22.0,
}


def test_the_committed_folder_is_what_the_formula_says() -> None:
    folder = profile_folder("synthetic-gpu")
    for file, text in render_profile(synthetic_data(published_models())).items():
        assert (folder / file).read_text() == text, file


def test_the_command_writes_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synthetic.main([str(tmp_path / "made")])
    assert read_data(tmp_path / "made") == read_data(profile_folder("synthetic-gpu"))
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as caught:
        synthetic.main([str(tmp_path / "file" / "made")])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_published_models_keep_the_rule_of_their_objectives() -> None:
    profile = read_profile(profile_folder("synthetic-gpu"))
    assert {model.name: model.slo_ms for model in published_models()} == SLOS_MS
    assert set(profile.models()) == set(SLOS_MS)
    assert profile.memory_mb == 11000.0
    for name, slo_ms in SLOS_MS.items():
        model = profile.model(name)
        assert model.latency_ms(100, 32) == slo_ms / 2
        assert model.raised == 0
        assert model.memory_mb > 0
    assert profile.model("vgg16").demand(32) == Demand(l2=0.302, dram=0.611)


@given(st.floats(1.0, 1000.0), st.floats(0.01, 1.0))
def test_latency_follows_the_formula(slo_ms: float, parallelism: float) -> None:
    model = synthetic_model("m", slo_ms, parallelism)
    assert model.latency_ms(100, 32) == slo_ms / 2
    assert model.floor_ms == pytest.approx(model.latency_ms(100, 1) / 4)
    table = np.array(
        [[model.latency_ms(share, batch) for batch in range(1, 33)] for share in range(1, 101)]
    )
    assert (np.diff(table, axis=1) > 0).all()
    assert (np.diff(table, axis=0) <= 0).all()
    work_ms = (slo_ms / 2 - model.floor_ms) * saturation(parallelism, 32) / 32
    for share, batch in ((5, 1), (20, 8), (50, 32), (100, 16)):
        used = min(share / 100, parallelism * batch**0.5, 1.0)
        expected_ms = model.floor_ms + work_ms * batch / used
        assert model.latency_ms(share, batch) == pytest.approx(expected_ms)


def test_a_share_beyond_saturation_changes_nothing() -> None:
    model = synthetic_model("m", 100.0, 0.1)
    # 4 requests use at most 0.1 * 2 of the device.
    assert model.latency_ms(20, 4) == pytest.approx(model.latency_ms(100, 4))
    assert model.latency_ms(10, 4) > 1.5 * model.latency_ms(20, 4)


@pytest.mark.parametrize(
    ("slo_ms", "parallelism"), [(0.0, 0.5), (-1.0, 0.5), (float("nan"), 0.5), (5.0, 0.0), (5, 1.1)]
)
def test_numbers_of_which_nothing_can_be_made(slo_ms: float, parallelism: float) -> None:
    with pytest.raises(ArgumentError, match="model 'm': SLO"):
        synthetic_model("m", slo_ms, parallelism)


def test_random_models_are_sound_and_the_same_for_the_same_seed() -> None:
    models = synthetic_models(50, np.random.default_rng(7))
    assert models == synthetic_models(50, np.random.default_rng(7))
    assert models != synthetic_models(50, np.random.default_rng(8))
    assert len({model.name for model in models}) == 50
    for model in models:
        profile = model.profile()
        assert profile.raised == 0
        assert profile.shares == SHARES
        assert profile.latency_ms(100, 32) == model.slo_ms / 2
        assert 5.0 <= model.slo_ms <= 250.0
        demands = [profile.demand(batch) for batch in range(1, 33)]
        assert all(0 < demand.l2 < demand.dram <= 0.65 for demand in demands)
        assert all(a.dram <= b.dram for a, b in pairwise(demands))


@pytest.mark.skipif(not SHARED.is_dir(), reason="published data is not here")
def test_published_models_have_the_published_figures() -> None:
    with (SHARED / "2080ti" / "UTIL.CSV").open() as file:
        rows = [line.split(",") for line in file][1:]
    busy = {row[0]: float(row[3]) / 100 for row in rows if row[1] == "1"}
    demands = read_util(SHARED / "2080ti" / "UTIL.CSV")
    memory_mb = read_mem_config(SHARED / "mem-config.json")
    for model in published_models():
        family = "lenet" if model.name.startswith("lenet") else model.name
        assert model.parallelism == pytest.approx(busy[family], abs=0.005)
        assert model.memory_mb == memory_mb[model.name]
        for batch, demand in model.demands.items():
            assert demand.l2 == pytest.approx(demands[model.name][batch].l2, abs=0.0006)
            assert demand.dram == pytest.approx(demands[model.name][batch].dram, abs=0.0006)


def test_a_folder_that_is_not_shipped() -> None:
    with pytest.raises(ConfigError, match="no profile is called 'synthetic-gp'; did you mean"):
        profile_folder("synthetic-gp")
