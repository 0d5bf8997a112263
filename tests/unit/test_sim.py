"""Simulated runs: the core through its binding, scenarios, measures, the command."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glet.cli.main import main
from glet.clock import ManualClock
from glet.errors import ArgumentError, ConfigError
from glet.native import core
from glet.sim.many import runs, simulate_all, simulate_on_ray
from glet.sim.metrics import JobResult, effective_utility, measures, utility
from glet.sim.run import Run, simulate
from glet.sim.scenario import Scenario, find_scenario, load_scenario, sized
from glet.sim.traffic import traffic
from glet.wire import ray_cluster

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
SCENARIOS = ("faro-day", "gpu-slices", "gpulets-day")


def scenario(name: str, intervals: int = 0) -> Scenario:
    found = load_scenario(find_scenario(name))
    work = msgspec.structs.replace(found.workload, intervals=intervals)
    report = msgspec.structs.replace(found.report, bins=0)
    return msgspec.structs.replace(found, workload=work, report=report)


def ledger(**columns: list[float]) -> dict[str, Any]:
    names = ("offered", "within", "answered", "refused", "sum_ms", "longest_ms", "served_ms")
    length = len(columns["offered"])
    found = {name: np.zeros(length) for name in (*names, "objective_ms", "unit_s")}
    return found | {name: np.asarray(values, float) for name, values in columns.items()}


@pytest.mark.parametrize(("name", "policy"), [("faro-day", "aiad"), ("gpu-slices", "sizing")])
def test_every_request_ends_once_and_a_seed_gives_one_result(name: str, policy: str) -> None:
    small = scenario(name, 20)
    one, same, other = (
        simulate(small, Run(policy=policy, seed=seed), ManualClock()) for seed in (1, 1, 2)
    )
    assert one.report == same.report
    assert one.report["jobs"] != other.report["jobs"]
    for job in one.jobs.values():
        rows = job.ledger
        np.testing.assert_array_equal(rows["offered"], rows["answered"] + rows["refused"])
        assert np.all(rows["within"] <= rows["answered"])
    assert one.report["requests"] == sum(job.ledger["offered"].sum() for job in one.jobs.values())
    assert not one.report["errors"]


def test_gpulets_follow_the_load_with_the_live_loop() -> None:
    small = scenario("gpulets-day", 60)
    one, same = (simulate(small, Run(policy="follow", seed=5), ManualClock()) for _ in range(2))
    assert one.report == same.report
    assert one.report["request_violation"] < 0.02
    assert 0.0 < one.report["used_replicas"] <= 4.0
    for job in one.jobs.values():
        ended = job.ledger["answered"] + job.ledger["refused"]
        np.testing.assert_array_equal(job.ledger["offered"], ended)


def test_gpulets_that_steal_answer_everything_once_and_sooner() -> None:
    small = scenario("gpulets-day", 60)
    assert small.gpulets is not None
    lending = msgspec.structs.replace(
        small, gpulets=msgspec.structs.replace(small.gpulets, steal=True)
    )
    runs = [simulate(one, Run(policy="follow", seed=5), ManualClock()) for one in (small, lending)]
    again = simulate(lending, Run(policy="follow", seed=5), ManualClock())
    assert runs[1].report == again.report
    assert runs[1].report["errors"] == []
    mean_ms = [
        sum(job.ledger["sum_ms"].sum() for job in run.jobs.values())
        / sum(job.ledger["answered"].sum() for job in run.jobs.values())
        for run in runs
    ]
    assert mean_ms[1] < mean_ms[0]
    for job in runs[1].jobs.values():
        ended = job.ledger["answered"] + job.ledger["refused"]
        np.testing.assert_array_equal(job.ledger["offered"], ended)


# Those that follow from behind miss more while the load rises.
@pytest.mark.parametrize(
    ("policy", "most"), [("fleet", 0.5), ("fleet:sizing", 0.8), ("fleet:aiad", 0.8)]
)
def test_gpulets_under_an_autoscaler_as_live(policy: str, most: float) -> None:
    small = scenario("gpulets-day", 60)
    one, same = (simulate(small, Run(policy=policy, seed=5), ManualClock()) for _ in range(2))
    assert {**one.report, "wall_s": 0} == {**same.report, "wall_s": 0}
    assert one.report["errors"] == []
    assert 0.0 < one.report["used_replicas"] <= 4.0
    assert one.report["request_violation"] < most
    for job in one.jobs.values():
        ended = job.ledger["answered"] + job.ledger["refused"]
        np.testing.assert_array_equal(job.ledger["offered"], ended)


TIMES = """times = "times.csv"
interval_s = 1.0
spacing = "even"
[workload.formulas.vgg16]
kind = "constant"
rate_rps = 20.0
[workload.formulas.mobilenet_v2]
kind = "constant"
rate_rps = 10.0
[report]
interval_s = 1.0
"""


def timed(tmp_path: Path, times: str, workload: str = "") -> Path:
    """gpulets-day with given times instead of its traffic."""
    head = find_scenario("gpulets-day").read_text().partition("[workload]")[0]
    path = tmp_path / "s.toml"
    path.write_text(f"{head}[workload]\n{workload or TIMES}")
    (tmp_path / "times.csv").write_text(times)
    return path


def test_given_times_are_the_arrivals_whatever_the_seed(tmp_path: Path) -> None:
    path = timed(tmp_path, "resnet50\n0.25\n2.5\n2.75\n", "intervals = 4\n" + TIMES)
    found = load_scenario(path)
    assert traffic(found).counts["resnet50"].tolist() == [1.0, 0.0, 2.0, 0.0]
    for seed in (1, 2):
        made = simulate(found, Run(policy="follow", seed=seed), ManualClock())
        assert made.jobs["resnet50"].ledger["offered"].tolist()[:4] == [1.0, 0.0, 2.0, 0.0]
        assert made.report["jobs"]["vgg16"]["requests"] == 80
    cut = msgspec.structs.replace(
        found, workload=msgspec.structs.replace(found.workload, intervals=1)
    )
    assert traffic(cut).times_s["resnet50"].tolist() == [0.25]


def test_replicas_take_given_times_too(tmp_path: Path) -> None:
    head = find_scenario("faro-day").read_text().partition("[workload]")[0]
    path = tmp_path / "s.toml"
    path.write_text(f'{head}[workload]\ntimes = "times.csv"\ninterval_s = 60.0\n')
    (tmp_path / "times.csv").write_text("a,b\n1,61\n70,\n")
    made = simulate(load_scenario(path), Run(policy="fair_share", seed=1), ManualClock())
    assert made.jobs["a"].ledger["offered"].tolist()[:2] == [1.0, 1.0]
    assert made.jobs["b"].ledger["offered"].tolist()[:2] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("times", "workload", "message"),
    [
        (
            "resnet50\n2\n1\n",
            "intervals = 4\n" + TIMES,
            "times.csv:3: 'resnet50': 1 s comes after 2 s",
        ),
        ("resnet50,vgg16\n1,1\n", "intervals = 4\n" + TIMES, "gives times of 'vgg16', whose"),
        ("resnet51\n1\n", "intervals = 4\n" + TIMES, "did you mean 'resnet51'?"),
        ("resnet50\n1\n", 'tmes = "times.csv"\n', "unknown key 'tmes'; did you mean 'times'?"),
        ("resnet50\n1\n", 'times = "none.csv"\n', "none.csv"),
    ],
)
def test_wrong_times_are_refused_in_one_line(
    times: str, workload: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sim", str(timed(tmp_path, times, workload))]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said


def test_units_held_never_exceed_the_quota() -> None:
    found = simulate(
        scenario("faro-day", 30), Run(policy="one_shot", seed=3, size=20), ManualClock()
    )
    held = sum(job.ledger["unit_s"][:30] for job in found.jobs.values())
    assert found.report["size"] == 20
    assert np.all(np.asarray(held) <= 20 * 60.0 + 1e-6)


def test_processes_change_no_result() -> None:
    small = scenario("faro-day", 3)
    wanted = runs(["fair_share", "aiad"], [16, 36], [1])
    plain = simulate_all(small, wanted, processes=1)
    several = simulate_all(small, wanted, processes=2)
    for one, two in zip(plain, several, strict=True):
        assert one.run == two.run
        assert {**one.report, "wall_s": 0} == {**two.report, "wall_s": 0}


def test_measures_are_the_published_ones() -> None:
    jobs = {
        "a": JobResult(
            slo_ms=100.0,
            units=1,
            ledger=ledger(
                offered=[10, 10, 0],
                within=[10, 5, 0],
                answered=[10, 8, 0],
                refused=[0, 2, 0],
                objective_ms=[50, np.inf, np.nan],
                served_ms=[50, 200, np.nan],
                longest_ms=[50, 200, np.nan],
                unit_s=[60, 120, 0],
            ),
        )
    }
    assert utility(jobs["a"], idle=1.0).tolist() == [1.0, 0.0, 1.0]
    assert effective_utility(jobs["a"], idle=1.0).tolist() == [1.0, 0.0, 1.0]
    common = {"intervals": 3, "interval_s": 60.0, "reward": (0.9, 0.1), "quota": 4.0}
    found = measures(jobs, bins=0, **common)  # type: ignore[arg-type]
    assert found["request_violation"] == pytest.approx(0.25)
    assert found["cluster_violation"] == pytest.approx(0.25)
    assert found["lost_utility"] == pytest.approx(1 / 3)
    assert found["used_replicas"] == pytest.approx(1.0)
    assert found["reward"] == pytest.approx(-(0.9 * 0.5 / 3 + 0.1 / 4))
    # The published average is over a fixed number of bins, and those without requests count 0.
    assert measures(jobs, bins=4, **common)["lost_utility"] == pytest.approx(0.75)  # type: ignore[arg-type]


@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    spacing=st.sampled_from([core.Spacing.GAPS, core.Spacing.EVEN]),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=40, deadline=None)
def test_arrivals_keep_the_counts(counts: list[int], spacing: Any, seed: int) -> None:
    made = core.SimArrivals.counted(counts, 10.0, spacing, seed=seed, stream=1)
    times = made.times_s()
    assert len(times) == sum(counts)
    assert np.all(np.diff(times) >= 0)
    if spacing == core.Spacing.EVEN and len(times):
        found = np.bincount((times // 10.0).astype(int), minlength=len(counts))
        assert found.tolist() == counts


def test_poisson_counts_vary_around_their_mean() -> None:
    made = core.SimArrivals.counted([100.0] * 400, 1.0, core.Spacing.POISSON, seed=1, stream=2)
    per_second = np.bincount(made.times_s().astype(int), minlength=400)
    assert abs(per_second.mean() - 100.0) < 2.0
    assert 80.0 < per_second.var() < 120.0


def test_given_times_are_checked() -> None:
    assert core.SimArrivals.given([0.5, 1.0]).times_s().tolist() == [0.5, 1.0]
    with pytest.raises(ArgumentError, match="sort"):
        core.SimArrivals.given([1.0, 0.5])


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_scenarios_that_ship_are_whole(name: str) -> None:
    found = load_scenario(find_scenario(name))
    counts = traffic(found).counts
    assert len({len(column) for column in counts.values()}) == 1
    assert set(found.compare) <= set(found.policies())
    assert sized(found, 5) != found


WRONG: list[tuple[Callable[[str], str], str]] = [
    (lambda text: text.replace("quota", "quotta"), "did you mean 'quota'"),
    (lambda text: text.replace('"glet"\n', '"fare"\n', 1), "no policy is called 'fare'"),
    (lambda text: text.replace('"lognormal"', '"lognormall"', 1), "none of fixed, lognormal"),
    (lambda text: text.replace("quota = 36", "quota = 3"), "first replicas need 10 units"),
    (lambda text: text.replace("[fleet.job]", "[fleet.jobs.other]"), "model 'job0'"),
    (lambda text: text.replace("day-10x360.csv", "none.csv"), "none.csv"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_wrong_scenarios_are_refused_in_one_line(
    change: Callable[[str], str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "s.toml"
    path.write_text(change(find_scenario("faro-day").read_text()))
    assert main(["sim", str(path)]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said


def test_the_command_reports_as_json_csv_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, picture = tmp_path / "m.csv", tmp_path / "p.svg"
    command = ["sim", "faro-day", "--intervals", "5", "--json", "--csv", str(table)]
    assert main([*command, "--policy", "fair_share"]) == 0
    report = json.loads(capsys.readouterr().out)
    wanted = ("policy", "seed", "seconds_simulated", "requests", "wall_s", "request_violation")
    assert {*wanted, "cluster_violation", "lost_utility", "used_replicas", "jobs"} <= set(report)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert sum(float(row["offered"]) for row in rows) == report["requests"]
    pytest.importorskip("matplotlib")
    more = ["--policies", "fair_share,aiad", "--processes", "1", "--plot", str(picture)]
    assert main([*command, *more]) == 0
    assert [one["policy"] for one in json.loads(capsys.readouterr().out)] == ["fair_share", "aiad"]
    assert picture.read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sim", "faro-dya"], "did you mean 'faro-day'?"),
        (["sim", "faro-day", "--policy", "aid"], "did you mean 'aiad'?"),
        (["sim", "gpulets-day", "--policy", "fleet:sising"], "did you mean 'sizing'?"),
        (["sim", "gpulets-day", "--policy", "flet"], "did you mean 'fleet'?"),
        (["sim", "faro-day", "--sizes", "16,x"], "--sizes 16,x"),
        (["sim", "faro-day", "--seeds", "0"], "--seeds is 1 or more"),
        (["sim", "faro-day", "--plot", "x.txt"], "cannot draw that"),
        (["sim", "faro-day", "--trace", "/no/such.csv"], "/no/such.csv"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_ray_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(ray_cluster, "import_module", missing)
    with pytest.raises(ConfigError, match=r"--ray needs Ray.*glet\[ray\]"):
        simulate_on_ray(scenario("faro-day", 1), [Run(policy="aiad", seed=1)], "x:1")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "--ray 127.0.0.1:1: no cluster answers there: Connection refused"),
        ("ray://127.0.0.1:1", "--ray ray://127.0.0.1:1: no cluster answers there"),
        ("nonsense", "--ray nonsense: is no address; valid are HOST:PORT"),
        ("h:99999", "--ray h:99999: is no address"),
    ],
)
def test_an_address_without_a_cluster_is_refused_in_one_line(
    address: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "import_module", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        simulate_on_ray(scenario("faro-day", 1), [Run(policy="aiad", seed=1)], address)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not (SHARED / "faro").is_dir(), reason="the published trace is not here")
@pytest.mark.parametrize(("policy", "published"), [("fair_share", 1.7581), ("aiad", 1.4441)])
def test_the_first_hour_of_the_published_day(policy: str, published: float) -> None:
    """Lost utility of the published simulator, one seed; ours over three."""
    hour = scenario("faro-day", 60)
    trace = str(SHARED / "faro" / "evaluation_day.csv")
    hour = msgspec.structs.replace(
        hour, workload=msgspec.structs.replace(hour.workload, trace=trace)
    )
    lost = [
        simulate(hour, Run(policy=policy, seed=seed), ManualClock()).report["lost_utility"]
        for seed in (42, 43, 44)
    ]
    assert np.mean(lost) == pytest.approx(published, rel=0.08)
