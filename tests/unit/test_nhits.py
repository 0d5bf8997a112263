"""N-HiTS: the network in numpy, its training in torch, and the way from one to the other."""

from pathlib import Path

import numpy as np
import pytest

from glet.cli.main import main
from glet.errors import ArgumentError, ConfigError
from glet.learn import nhits as learn
from glet.policy.forecast.make import held_out_error, make_forecaster
from glet.policy.forecast.nhits import (
    BACK,
    FORE,
    NUMPY,
    QUANTILES,
    STEPS,
    Maths,
    Nhits,
    interpolation,
    network,
    shapes,
)

MINUTES = 90
SMALL = learn.Training(width=12, passes=6, batch=64, rate=5e-3)


def days(count: int, seed: int = 0) -> np.ndarray:
    """A wave whose height wanders, Poisson counts."""
    rng = np.random.default_rng(seed)
    wave = 1.0 + 0.6 * np.sin(np.arange(MINUTES) / MINUTES * 6.0 * np.pi)
    drift = np.exp(np.cumsum(rng.normal(0.0, 0.02, (count, MINUTES)), axis=1))
    return rng.poisson(600.0 * wave * drift).astype(float)


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0.0, 0.2, shape) for name, shape in shapes(5).items()}


def test_lines_go_through_their_points() -> None:
    points = np.array([3.0, 7.0, 5.0])
    line = points @ interpolation(3, 5)
    assert line == pytest.approx([3.0, 5.0, 7.0, 6.0, 5.0])


@pytest.mark.parametrize("seen", [[], [500.0], days(1, 3)[0].tolist()], ids=len)
def test_quantiles_are_in_order(seen: list[float]) -> None:
    made = Nhits(weights(), days(4))
    found = made.forecast(seen, len(seen) + 200, 9, (0.0, 0.1, 0.5, 0.97))
    assert found.shape == (4, 9)
    assert (found >= 0.0).all()
    assert (np.diff(found, axis=0) >= 0.0).all()
    assert (found[:, STEPS:] == found[:, [STEPS - 1]]).all()
    with pytest.raises(ArgumentError, match=r"quantile 1.5"):
        made.forecast(seen, 0, 1, (1.5,))


def test_wrong_weights_are_named() -> None:
    bad = weights()
    bad["hidden1"] = bad["hidden1"][:, :2]
    with pytest.raises(ArgumentError, match=r"'hidden1' is \(5, 2\); \(5, 5\) is valid"):
        Nhits(bad, days(4))
    with pytest.raises(ArgumentError, match="'past0' is nothing"):
        Nhits({}, days(4))
    with pytest.raises(ArgumentError, match="days of 10 intervals; 22 are the least"):
        Nhits(weights(), np.ones((3, 10)))


def test_torch_and_numpy_have_one_network() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    past, around = rng.normal(size=(4, 15)), rng.normal(size=(4, 10))
    here = network(weights(), past, around, tuple(zip(BACK, FORE, strict=True)), NUMPY)
    there = network(
        {name: torch.tensor(one) for name, one in weights().items()},
        torch.tensor(past),
        torch.tensor(around),
        [(torch.tensor(back), torch.tensor(fore)) for back, fore in zip(BACK, FORE, strict=True)],
        Maths(relu=torch.relu, highest=lambda x: x.amax(dim=-1)),
    )
    assert here.shape == (4, len(QUANTILES), STEPS)
    assert there.numpy() == pytest.approx(here)


def test_what_was_learned_is_kept_by_content(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    history = {"a": days(6), "b": 0.1 * days(6, 1)}
    passes: list[tuple[int, int]] = []
    path = learn.trained_file(history, tmp_path, SMALL, lambda done, of: passes.append((done, of)))
    assert passes == [(number, SMALL.passes) for number in range(1, SMALL.passes + 1)]
    assert learn.trained_file(history, tmp_path, SMALL, lambda *_: pytest.fail("again")) == path
    with np.load(path, allow_pickle=False) as file:
        made = Nhits(dict(file), history["a"])
    unknown = days(2, 7)
    error = held_out_error(made, unknown)
    assert error.rmse < held_out_error(make_forecaster("last", history["a"]), unknown).rmse
    assert 0.75 < error.below_90 < 1.0


def test_what_cannot_be_trained_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'a': 3 days of 90 intervals; N-HiTS needs 4 days"):
        learn.train({"a": days(3)}, SMALL)
    with pytest.raises(ConfigError, match="name a history"):
        learn.train({}, SMALL)

    def none(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(learn, "import_module", none)
    with pytest.raises(ConfigError, match=r"glet\[forecast\]"):
        learn.trained_file({"a": days(4)}, tmp_path, SMALL)


def test_sim_forecasts_by_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = tmp_path / "history.csv"
    rows = [f"{d},{m},{n:g}" for d, day in enumerate(days(4)) for m, n in enumerate(day)]
    history.write_text("\n".join(["day,minute,job0", *rows]) + "\n")
    text = (Path(__file__).parents[2] / "resource" / "scenarios" / "faro-day.toml").read_text()
    scenario = tmp_path / "s.toml"
    lines = 'spacing = "gaps"\nhistory = "history.csv"\nforecast = "w.npz"'
    scenario.write_text(text.replace('spacing = "gaps"', lines))
    command = ["sim", str(scenario), "--policy", "mark", "--intervals", "8", "--json"]
    assert main(command) == 2
    assert "w.npz: cannot be read" in capsys.readouterr().err
    (tmp_path / "w.npz").write_text("none")
    assert main(command) == 2
    assert "w.npz: holds no weights" in capsys.readouterr().err
    np.savez(tmp_path / "w.npz", **{**weights(), "last0": np.ones(3)})
    assert main(command) == 2
    assert "'last0' is (3,)" in capsys.readouterr().err
    np.savez(tmp_path / "w.npz", **weights())
    assert main(command) == 0
    assert '"errors": []' in capsys.readouterr().out
    assert main(["sim", "faro-day", "--forecast", "nhits", "--intervals", "3"]) == 2
    assert "name a history" in capsys.readouterr().err
    assert main(["sim", "gpulets-day", "--forecast", "nhits"]) == 2
    assert "[gpulets] do not forecast" in capsys.readouterr().err
