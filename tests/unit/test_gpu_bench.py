"""What the benchmarks of sharing a device decide by; the runs themselves are scripts."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glet.errors import ConfigError, ProfileError
from glet.types.device import DeviceInfo
from glet.types.plan import ModelShare
from glet.types.units import Units

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "tests" / "bench" / "gpu"
PROFILE = ROOT / "profiles" / "synthetic-gpu"


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    # The scripts find each other beside themselves and one folder up.
    monkeypatch.syspath_prepend(str(BENCH.parent))
    monkeypatch.syspath_prepend(str(BENCH))
    before = set(sys.modules)
    yield importlib.import_module("study")
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(BENCH.parent)):
            del sys.modules[name]


@pytest.mark.parametrize(("truth", "start"), [(1.0, 0.9), (1.0, 3.0), (1.0, 0.4), (0.7, 1.0)])
def test_bisection_ends_around_the_largest_factor_that_holds(
    study: Any, truth: float, start: float
) -> None:
    search = importlib.import_module("search")
    found = search.bisect(lambda factor: factor <= truth, start, steps=10)
    assert found.good <= truth < found.bad
    assert found.bad / found.good < 1.1


def test_bisection_where_nothing_holds_is_zero(study: Any) -> None:
    search = importlib.import_module("search")
    assert search.bisect(lambda factor: False, 1.0, steps=4).good == 0.0


def test_every_scenario_has_tasks_with_the_slo_of_its_rule(study: Any) -> None:
    found = study.read_study(PROFILE, "none")
    for name in study.SCENARIOS:
        for task in study.tasks_of(name, found, 32):
            whole_ms = found.profile.model(task.model).latency_ms(100, 32)
            assert task.slo_ms == pytest.approx(2.0 * whole_ms)
            assert task.rate_rps > 0.0
    assert len(study.tasks_of("many", found, 8)) == 14
    with pytest.raises(ConfigError, match="did you mean 'equal'"):
        study.tasks_of("equl", found, 32)


@pytest.mark.slow
def test_no_plan_is_promised_beyond_the_fluid_bound(study: Any) -> None:
    found = study.read_study(PROFILE, "none")
    tasks = study.tasks_of("scen2", found, 32)
    fluid = study.fluid_factor(found, tasks)
    promised = {
        name: study.SYSTEMS[name](found, tasks, 1.0).predicted
        for name in ("timeshare", "edf", "glet")
    }
    assert max(promised.values()) <= fluid
    assert promised["glet"] >= max(promised.values()) * (1.0 - 1e-9)


def test_stretching_slows_the_device_and_its_objectives_and_nothing_else(study: Any) -> None:
    once, slow = (study.read_study(PROFILE, "published", stretch) for stretch in (1.0, 4.0))
    for name in ("scen1", "many"):
        for plain, slowed in zip(
            study.tasks_of(name, once, 32), study.tasks_of(name, slow, 32), strict=True
        ):
            assert slowed.slo_ms == pytest.approx(4.0 * plain.slo_ms)
            assert slowed.rate_rps == pytest.approx(plain.rate_rps / 4.0)
        factors = [
            study.fluid_factor(found, study.tasks_of(name, found, 32)) for found in (once, slow)
        ]
        assert factors[0] == pytest.approx(factors[1])


def test_a_measured_profile_is_not_stretched(study: Any) -> None:
    with pytest.raises(ConfigError, match="was measured"):
        study.read_study(ROOT / "profiles" / "cpu-2core", "none", 2.0)


def test_a_model_that_the_profile_lacks_is_named(study: Any) -> None:
    found = study.read_study(ROOT / "profiles" / "cpu-2core", "none")
    assert study.tasks_of("game", found, 8)
    found.profile._models.pop("vgg16")
    with pytest.raises(ProfileError, match="vgg16"):
        study.tasks_of("scen2", found, 8)


def test_a_baseline_that_lagged_gives_no_ratio_and_the_best_latency_ratio_counts(
    study: Any,
) -> None:
    table = importlib.import_module("table")

    def line(system: str, rate_rps: float, *, lagged: bool = False, ratio: float = 1.1) -> Any:
        params = {"profile": "p", "kind": "profiled", "launch": "emulated", "slo": "2 L(32)",
                  "interference": "none", "scenario": "equal", "system": system,
                  "emulated": True, "latency_ratio": ratio}  # fmt: skip
        return {"bench": "goodput", "params": params, "rate_rps": rate_rps, "of_fluid": 0.5,
                "predicted_rps": 1.0, "gpulets": 1, "lagged": lagged}  # fmt: skip

    lines = [line("timeshare", 100.0), line("glet", 150.0), line("glet", 250.0, ratio=1.5)]
    assert cells(table, lines) == ("250", "2.5", "2.5")
    lines.append(line("edf", 400.0, lagged=True))
    assert cells(table, lines) == ("250", "2.5", "")


def cells(table: Any, lines: list[Any]) -> tuple[str, ...]:
    """Goodput and both ratios of the last row, glet's."""
    row = [cell.strip() for cell in table.goodput(lines).splitlines()[-1].split("|")[1:-1]]
    found = dict(zip(table.HEAD, row, strict=True))
    assert found["system"] == "glet"
    return found["goodput/s"], found["x timeshare"], found["x best temporal"]


@pytest.mark.parametrize(
    ("script", "options", "says"),
    [
        ("goodput.py", ["--kind", "green"], "--kind profiled emulates it"),
        ("goodput.py", ["--kind", "mps"], "--kind profiled emulates it"),
        ("reconfigure.py", ["--kind", "mps", "--change", "resize"], "is not resized"),
        ("interference.py", [str(PROFILE)], "has no pairs.csv"),
    ],
)
def test_wrong_input_is_one_line(script: str, options: list[str], says: str) -> None:
    done = subprocess.run(
        [sys.executable, BENCH / script, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_short_run_on_an_emulated_device_says_what_held(tmp_path: Path) -> None:
    """Rates at which nothing can fail, on a device so slow that a busy machine does not matter."""
    options = ["--scenarios", "scen2", "--systems", "glet", "--slo", "32", "--stretch", "40"]
    length = ["--seconds", "2", "--warm", "0", "--steps", "1", "--seeds", "1", "--start", "0.05"]
    done = subprocess.run(
        [sys.executable, BENCH / "goodput.py", *options, *length],
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"bench": "goodput"' in done.stdout
    assert '"emulated": true' in done.stdout
    assert '"rate_rps"' in done.stdout


def test_the_tightest_slo_has_the_first_stream(study: Any) -> None:
    tasks = study.tasks_of("equal", study.read_study(PROFILE, "none"), 32)
    found = study.priorities(tasks)
    by_slo = sorted(tasks, key=lambda task: task.slo_ms)
    assert [found[task.model] for task in by_slo] == sorted(found.values())
    assert found[by_slo[0].model] == -5
    assert found[by_slo[-1].model] == 0
    assert set(study.priorities(tasks[:1]).values()) == {-5}
    assert study.SYSTEMS["streams-priority"] is study.SYSTEMS["streams"]


def test_free_streams_of_a_gpu_have_all_of_it(study: Any) -> None:
    bed = importlib.import_module("bed")
    isolation = importlib.import_module("isolation")
    share = ModelShare(model="lenet", batch=1)
    device = DeviceInfo(name="gpu", kind="green", type="bench", units=15, remainder_sms=12)
    placed = [bed.one_gpulet(number, 100, (), share) for number in range(2)]
    whole = Units(0, 15, True)
    assert [g.units for g in bed.above_each_other(placed, device)] == [whole, whole]
    free = isolation.MECHANISMS["green"]["streams"]
    first = isolation.MECHANISMS["green"]["streams-priority"]
    assert free.overlap
    assert first == free._replace(priority=-5)
