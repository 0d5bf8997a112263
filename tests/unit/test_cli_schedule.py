"""glet-schedule: files, tables, pictures and JSON of a plan."""

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from glet.cli import main as commands
from glet.cli.schedule import show
from glet.cli.schedule_compare import Asking
from glet.cli.schedule_picture import bars, colours, picture, spans
from glet.cli.schedule_report import Planned, with_reserves
from glet.cli.schedule_svg import svg
from glet.clock import ManualClock
from glet.errors import ArgumentError
from glet.plan import make, model_list, tasks
from glet.plan.assess import assess
from glet.plan.problem import Device, DeviceType, Problem, Task
from glet.plan.why import why_unmet
from glet.profiles.device_profile import DeviceProfile, ModelProfile
from glet.profiles.files import DeviceFacts, MeasuredLatency, ProfileData, write_profile
from glet.types.plan import GpuletPlan, ModelShare, Plan

NAMES = ("a-model-with-a-long-name", "bert", "vgg16")
SVG = "{http://www.w3.org/2000/svg}"


def profile(memory_mb: float = 0.0) -> DeviceProfile:
    """Every model takes 1 ms and 0.1 ms a request on a device, inversely as long on a part."""
    latencies = {
        share: {batch: (1.0 + 0.1 * batch) * 100.0 / share for batch in (1, 32)}
        for share in (1, 100)
    }
    models = {name: ModelProfile(name, latencies, memory_mb=500.0) for name in NAMES}
    return DeviceProfile("tiny", models, memory_mb=memory_mb, where="tiny/latency.csv")


def problem(*wanted: Task, devices: int = 2, memory_mb: float = 0.0) -> Problem:
    kind = DeviceType(profile=profile(memory_mb), shares=tuple(range(5, 101, 5)))
    return Problem(
        tasks=wanted,
        devices=tuple(Device(number=i, type="tiny") for i in range(devices)),
        types={"tiny": kind},
    )


def task(model: str, rate_rps: float, slo_ms: float = 100.0) -> Task:
    return Task(model=model, rate_rps=rate_rps, slo_ms=slo_ms)


def gpulet(device: int, share_pct: int, *models: str, rate_rps: float = 10.0) -> GpuletPlan:
    shares = tuple(
        ModelShare(model=name, batch=1, rate_rps=rate_rps, duty_cycle_ms=1000.0 / rate_rps)
        for name in models
    )
    return GpuletPlan(device=device, share_pct=share_pct, models=shares)


def planned(asked: Problem, plan: Plan) -> Planned:
    return Planned(
        planner="tiny",
        plan=plan,
        found=assess(asked, plan),
        seconds=0.25,
        bound=1,
        why=why_unmet(asked, plan),
    )


def drawn_lines(gpulets: Sequence[GpuletPlan], devices: int, width: int = 80) -> list[str]:
    asked = problem(*[task(name, 10.0) for name in NAMES], devices=devices)
    drawn = bars(asked.devices, assess(asked, Plan(gpulets=tuple(gpulets))), 16)
    return [line.plain for line in picture(drawn, width, colours(NAMES))]


def test_idle_shares_are_reserved_as_published() -> None:
    published = "0,40,0,vgg16,6,88.235291\n0,60,0,reserved,32,0.000000\n"
    more = "1,50,0,bert,4,20.000000\n1,50,1,reserved,32,0.000000\n2,100,0,reserved,32,0.000000\n"
    plan = model_list.parse(published + more, "f")
    used = Plan(gpulets=tuple(gpulet for gpulet in plan.gpulets if gpulet.models))
    asked = problem(task("vgg16", 1.0), devices=3)
    assert model_list.render(with_reserves(asked, used)) == published + more


def test_a_rest_that_is_no_share_is_not_reserved() -> None:
    plan = Plan(gpulets=(gpulet(0, 98, "bert"),))
    assert with_reserves(problem(devices=1), plan) == plan.gpulets


def test_a_bar_has_the_width_of_the_terminal_and_parts_in_proportion() -> None:
    gpulets = [gpulet(0, 50, "bert"), gpulet(0, 25, "vgg16")]
    (line,) = drawn_lines(gpulets, devices=1, width=83)
    assert line == f"0 │{'bert 50%':<39}│{'vgg16 25%':<19}│{'free':·<19}│"
    assert len(line) == 83


def test_models_that_share_a_gpulet_share_its_bar() -> None:
    (line,) = drawn_lines([gpulet(0, 100, "bert", "vgg16")], devices=1, width=83)
    assert line == f"0 │{'bert':<39}{'+vgg16 100%':<40}│"


def test_names_that_do_not_fit_become_letters() -> None:
    bar, legend = drawn_lines([gpulet(0, 15, NAMES[0]), gpulet(0, 60, NAMES[0])], devices=1)
    assert bar.startswith("0 │a 15%")
    assert f"│{NAMES[0]} 60%" in bar
    assert legend.strip() == f"a {NAMES[0]}"


def test_many_devices_are_summed_up() -> None:
    gpulets = [gpulet(i, 50, "bert") for i in range(200)]
    gpulets += [gpulet(i, 40, "vgg16") for i in range(200, 256)]
    lines = drawn_lines(gpulets, devices=256)
    assert [line.split("│")[0].strip() for line in lines] == ["200x", "56x"]
    assert all(len(line) <= 80 for line in lines)


def test_very_many_ways_to_cut_are_cut_short() -> None:
    cuts = [(a, b, c) for a in range(5, 40, 5) for b in range(5, 40, 5) for c in range(5, 25, 5)]
    gpulets = [
        gpulet(i, share_pct, name)
        for i, cut in enumerate(cuts)
        for name, share_pct in zip(NAMES, cut, strict=True)
    ]
    lines = drawn_lines(gpulets, devices=len(cuts))
    assert len(cuts) > 100
    assert len(lines) < 30
    assert f"and {len(cuts) - 24} devices more, cut in {len(cuts) - 24} other ways" in lines


@pytest.mark.parametrize("width", [1, 20, 80, 200])
def test_a_hundred_slivers_fit_any_width(width: int) -> None:
    gpulets = [gpulet(0, 1, NAMES[i % 3]) for i in range(100)]
    bar, *_ = drawn_lines(gpulets, devices=1, width=width)
    assert len(bar) <= max(width, 14)
    assert (bar[:3], bar[-1]) == ("0 │", "│")


def test_without_unicode_and_colour_it_is_plain_ascii() -> None:
    asked = problem(task("bert", 10.0), task("vgg16", 2000.0))
    plan = Plan(gpulets=(gpulet(0, 50, "bert"),), unmet={"vgg16": 2000.0})
    raw = io.BytesIO()
    out = Console(file=io.TextIOWrapper(raw, encoding="ascii"), width=80)
    show(asked, planned(asked, plan), out)
    out.file.flush()
    text = raw.getvalue().decode("ascii")
    assert "\x1b" not in text
    assert "0 |bert 50%" in text
    assert "unused: device 1" in text
    assert "tiny: 1 of 2 devices used, at least 1 needed (proven); 2000 rps unmet" in text


def test_numbers_are_named_in_spans() -> None:
    assert spans([3, 4, 5, 9, 0]) == "0, 3-5, 9"
    assert spans(range(0, 40, 2)) == "0, 2, 4, 6, 8, 10, ..."


def test_colours_differ_and_carry_black_letters() -> None:
    made = colours(str(i) for i in range(14))
    assert len(set(made.values())) == 14
    for colour in made.values():
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        # Relative luminance, roughly; black on 0.2 has a contrast of 5.
        assert (0.21 * red + 0.72 * green + 0.07 * blue) / 255 > 0.45


def test_the_svg_stands_by_itself() -> None:
    asked = problem(task("bert", 10.0), task("vgg16", 10.0), devices=2)
    plan = Plan(gpulets=(gpulet(0, 60, "bert", "vgg16"), gpulet(0, 5, "bert")))
    drawn = bars(asked.devices, assess(asked, plan), 64)
    text = svg(drawn, colours(NAMES), "a <title>")
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"href|url\(|@import|<script", text)
    titles = [group.findtext(f"{SVG}title") or "" for group in root.iter(f"{SVG}g")]
    assert titles[0].startswith("device 0 (tiny): gpulet 60 %, busy")
    assert "vgg16: 10 rps in batches of 1" in titles[0]
    assert titles[2] == "device 0 (tiny): 35 % free"
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"a <title>", "0", "bert 60%", "vgg16", "free 35%"} <= set(texts)
    edges = [
        float(rect.get("x", 0)) + float(rect.get("width", 0)) for rect in root.iter(f"{SVG}rect")
    ]
    assert max(edges) <= float(root.get("width", 0))


def test_the_svg_of_many_devices_stays_small() -> None:
    shares = [(a, b) for a in range(6, 35) for b in range(6, 35)]
    asked = problem(task("bert", 10.0), task("vgg16", 10.0), devices=len(shares))
    plan = Plan(
        gpulets=tuple(
            gpulet(i, share_pct, name)
            for i, cut in enumerate(shares)
            for name, share_pct in zip(("bert", "vgg16"), cut, strict=True)
        )
    )
    root = ElementTree.fromstring(
        svg(bars(asked.devices, assess(asked, plan), 64), colours(NAMES), "")
    )
    assert float(root.get("height", 0)) < 3000
    texts = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert f"and {len(shares) - 256} devices more" in texts


class WholeDevices:
    """A device per model, as long as there are some."""

    name = "whole"

    def plan(self, problem: Problem) -> Plan:
        gpulets = []
        unmet = {}
        for number, wanted in enumerate(problem.tasks):
            if number < len(problem.devices) and wanted.rate_rps < 500.0:
                gpulets.append(gpulet(number, 100, wanted.model, rate_rps=wanted.rate_rps))
            else:
                unmet[wanted.model] = wanted.rate_rps
        return Plan(gpulets=tuple(gpulets), unmet=unmet)


class Refuses(WholeDevices):
    name = "refuses"

    def plan(self, problem: Problem) -> Plan:
        raise ArgumentError("too large")


class Shy(WholeDevices):
    """Ours, as seen by --peak: nothing by itself between 100 and 300 rps."""

    name = "glet"

    def plan(self, problem: Problem) -> Plan:
        if 100.0 < max(wanted.rate_rps for wanted in problem.tasks) < 300.0:
            return Plan(unmet={wanted.model: wanted.rate_rps for wanted in problem.tasks})
        return super().plan(problem)


@pytest.fixture
def planners(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """glet-schedule knows these planners only."""
    named: dict[str, Any] = {kind.name: kind for kind in (Shy, WholeDevices, Refuses)}
    monkeypatch.setattr(make, "PLANNERS", named)
    monkeypatch.setattr("glet.cli.schedule_compare.PLANNERS", named)
    monkeypatch.setattr("glet.cli.schedule.PLANNERS", named)
    return named


def asking(asked: Problem) -> Asking:
    return Asking(asked, ManualClock(), Console(file=io.StringIO()))


@pytest.mark.usefixtures("planners")
def test_the_peak_of_ours_begins_where_the_others_ended() -> None:
    ours = asking(problem(task("bert", 60.0))).one("glet", peak=True)
    assert ours.peak == pytest.approx(500.0 / 60.0, rel=0.006)
    answers = asking(problem(task("bert", 60.0))).all(peak=True)
    assert answers["refuses"] is None
    peaks = {name: answer.peak for name, answer in answers.items() if answer is not None}
    assert (peaks["glet"] or 0.0) >= (peaks["whole"] or 0.0) > 8.0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with tasks and a profile, which is the working folder."""
    measured = tuple(
        MeasuredLatency(
            model=name,
            share_pct=share,
            batch=batch,
            p50_ms=(1.0 + 0.1 * batch) * 100.0 / share,
            p99_ms=1000.0,
            samples=0,
        )
        for name in NAMES
        for share in (20, 100)
        for batch in (1, 32)
    )
    facts = DeviceFacts(type="tiny", kind="profiled")
    (tmp_path / "tiny").mkdir()
    write_profile(
        tmp_path / "tiny",
        ProfileData(device=facts, latencies=measured, memory_mb=dict.fromkeys(NAMES, 0.0)),
    )
    wanted = [task("vgg16", 50.0), task("bert", 40.0)]
    (tmp_path / "tasks.csv").write_text(tasks.render(wanted))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("planners")
def test_a_plan_is_written_and_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--tasks",
        "tasks.csv",
        "--device",
        "tiny=3",
        "--output",
        "out.txt",
        "--svg",
        "p.svg",
    ]
    assert commands.schedule(options) == 0
    assert (folder / "out.txt").read_text() == (
        "0,100,0,vgg16,1,20.000000\n1,100,0,bert,1,25.000000\n2,100,0,reserved,32,0.000000\n"
    )
    assert ElementTree.parse(folder / "p.svg").getroot().tag == f"{SVG}svg"
    said = capsys.readouterr().out
    assert re.search(
        r"0 +100 % +vgg16 +1 +50\.0 +1\.21 +142|0 +100 % +vgg16 +1 +50\.0 +1\.21", said
    )
    assert "glet: 2 of 3 devices used" in said
    assert "everything is placed" in said
    assert {path.name for path in folder.iterdir()} == {"tiny", "tasks.csv", "out.txt", "p.svg"}


@pytest.mark.usefixtures("planners")
def test_unmet_rates_are_told_apart_by_the_exit_code(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--tasks", "tasks.csv", "--device", "tiny=1", "--output", "out.txt"]
    assert commands.schedule(options) == 1
    said = capsys.readouterr().out
    assert re.search(r"bert +40\.0 +40\.0 +no room: needs a gpulet of 20 % or more", said)
    assert (folder / "out.txt").read_text() == "0,100,0,vgg16,1,20.000000\n"


@pytest.mark.usefixtures("planners", "folder")
def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--tasks", "tasks.csv", "--device", "tiny=1", "--json", "--headroom", "2"]
    assert commands.schedule(options) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["planner"] == "glet"
    assert (answer["devices_used"], answer["feasible"], answer["lower_bound"]) == (1, False, 1)
    (placed,) = answer["gpulets"]
    assert (placed["device"], placed["share_pct"], placed["device_type"]) == (0, 100, "tiny")
    (model,) = placed["models"]
    assert (model["model"], model["batch"], model["rate_rps"]) == ("vgg16", 1, 100.0)
    assert model["latency_ms"] == pytest.approx(1.21)
    assert model["slo_ms"] == 100.0
    assert answer["unmet"] == {"bert": 80.0}
    assert answer["why"]["bert"].startswith("no room")


@pytest.mark.usefixtures("planners", "folder")
def test_all_planners_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--tasks", "tasks.csv", "--device", "tiny=2", "--compare", "--peak"]
    assert commands.schedule([*options, "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [answer["planner"] for answer in answers] == ["glet", "whole"]
    assert all(answer["peak_factor"] == pytest.approx(10.0, rel=0.006) for answer in answers)
    assert commands.schedule(options) == 0
    said = capsys.readouterr().out
    assert re.search(r"glet +yes +2 +1 +0 +9\.9\d+ ", said)
    assert re.search(r"refuses +- +- +- +- +- +-", said)


@pytest.mark.usefixtures("planners")
def test_a_plan_that_does_not_hold_is_not_written(
    folder: Path, planners: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    class Wrong(WholeDevices):
        def plan(self, problem: Problem) -> Plan:
            return Plan(gpulets=(gpulet(0, 100, "vgg16", rate_rps=50.0),))

    planners["glet"] = Wrong
    options = ["--tasks", "tasks.csv", "--device", "tiny=2", "--output", "out.txt"]
    assert commands.schedule(options) == 1
    said = capsys.readouterr().err
    assert said.startswith("glet-schedule: planner 'glet' made a plan that does not hold: bert: ")
    assert not (folder / "out.txt").exists()


def test_generated_files_are_as_published(folder: Path) -> None:
    scen1 = ["--generate", "scen1", "--rate", "100", "--output", "scen1.csv"]
    assert commands.schedule(scen1) == 0
    assert (
        folder / "scen1.csv"
    ).read_text() == "4\n6,200,66,\n13,200,22,\n10,100,62,\n11,100,64,\n"
    every = ["--generate", "combinations:0,100,200:lenet1,bert", "--output", "cases"]
    assert commands.schedule(every) == 0
    assert len(list((folder / "cases").iterdir())) == 8
    assert (folder / "cases" / "3-config.csv").read_text() == "2\n0,100,5,\n13,100,22,\n"


@pytest.mark.usefixtures("planners")
def test_both_ways_to_call_it_are_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--tasks", "tasks.csv", "--device", "tiny=2", "--output"]
    assert commands.main(["schedule", *options, "a.txt"]) == 0
    assert commands.schedule([*options, "b.txt"]) == 0
    assert (folder / "a.txt").read_text() == (folder / "b.txt").read_text()
    capsys.readouterr()
