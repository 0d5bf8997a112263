"""The benchmark of policies: what it measures anew, and what it makes of it."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from glet.policy.fleet.make import AutoscalerSettings
from glet.sim.run import Run
from glet.sim.scenario import Scenario, find_scenario, load_scenario
from glet.workload.trace import read_days, read_trace

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    # The scripts find each other beside themselves.
    monkeypatch.syspath_prepend(str(BENCH))
    before = set(sys.modules)
    yield importlib.import_module("policy_table")
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(BENCH)):
            del sys.modules[name]


def short() -> Scenario:
    scenario = load_scenario(find_scenario("faro-day"))
    return msgspec.structs.replace(
        scenario, workload=msgspec.structs.replace(scenario.workload, intervals=3)
    )


def test_runs_that_are_there_are_not_repeated(bench: Any, tmp_path: Path) -> None:
    out = tmp_path / "new" / "runs.jsonl"
    wanted = [Run(policy=name, seed=1, size=36) for name in ("fair_share", "glet")]
    first = bench.measured(short(), wanted[:1], [], out)
    both = bench.measured(short(), wanted, first, out)
    assert [line["policy"] for line in both] == ["fair_share", "glet"]
    assert both[0] is first[0]
    assert len(out.read_text().splitlines()) == 2
    assert bench.current(short(), both) == both
    settings = {"glet": msgspec.convert({"policy": "aiad"}, AutoscalerSettings)}
    changed = msgspec.structs.replace(short(), settings=settings)
    assert bench.current(changed, both) == first


def test_a_training_day_is_taken_from_the_others(bench: Any, tmp_path: Path) -> None:
    path = tmp_path / "days.csv"
    rows = [f"{day},{minute},{10 * day + minute}" for day in (1, 2, 3) for minute in (0, 1)]
    path.write_text("\n".join(["day,minute,a", *rows]) + "\n")
    trace, others = bench.split(path, 2, tmp_path)
    assert read_trace(trace, 60.0)["a"].counts == (20.0, 21.0)
    assert read_days(Path(others), 60.0) == {"a": ((10.0, 11.0), (30.0, 31.0))}
    with pytest.raises(SystemExit, match="has no day 4"):
        bench.split(path, 4, tmp_path)


def test_the_least_of_a_size_is_bold(bench: Any, tmp_path: Path) -> None:
    lines = [
        {"policy": policy, "size": size, "seed": seed, "lost_utility": lost + 0.1 * seed}
        for policy, size, lost in (("a", 16, 2.0), ("b", 16, 1.0), ("a", 20, 0.5), ("b", 20, 0.7))
        for seed in (0, 1)
    ]
    table = bench.by_size(lines, "lost_utility")
    assert [row.count("**") for row in table.splitlines()] == [0, 0, 2, 2]
    assert "**1.0500 +-0.6353**" in table
    pytest.importorskip("matplotlib")
    bench.draw(lines, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 1000
