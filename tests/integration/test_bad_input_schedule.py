"""Wrong input to glet-schedule: one clear line, exit code 2, no file left behind."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from glet.cli import main as commands

Command = Callable[..., "subprocess.CompletedProcess[str]"]
RESOURCES = Path(__file__).resolve().parents[2] / "resource" / "scheduler"
TASKS = "tasks.csv"
PUBLISHED = (
    "--sched-config", "sched-config.json",
    "--device-config", "device-config.json",
    "--mem-config", "mem-config.json",
)  # fmt: skip
GIVEN = ("--device", "synthetic-gpu=2")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example files, in the working folder."""
    shutil.copytree(RESOURCES, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(
    folder: Path, capsys: pytest.CaptureFixture[str], *options: str, output: str = "out.txt"
) -> str:
    """The one line that the command says; it wrote nothing."""
    before = sorted(path.name for path in folder.iterdir())
    assert commands.schedule([*options, "--output", output, "--svg", "out.svg"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert sorted(path.name for path in folder.iterdir()) == before
    assert len(said.err.splitlines()) == 1, said.err
    assert said.err.startswith("glet-schedule: ")
    return said.err


FILES = {
    "count": (TASKS, "2\n7,10,108,\n", "tasks.csv:1: says 2 tasks, 1 follow"),
    "no count": (TASKS, "7,10,108,\n", "tasks.csv:1:1: the number of tasks is '7,10,108'"),
    "too many": (TASKS, "100001\n", "tasks.csv:1:1: the number of tasks is '100001'; valid is"),
    "empty": (TASKS, "", "tasks.csv:1:1: the number of tasks is ''"),
    "columns": (TASKS, "1\n7,10\n", "tasks.csv:2:1: is '7,10'; valid is model,rate_rps,slo_ms,"),
    "rate zero": (TASKS, "1\n7,0,108,\n", "tasks.csv:2:3: rate_rps is '0'; valid is a number"),
    "rate negative": (TASKS, "1\n7,-1,108,\n", "tasks.csv:2:3: rate_rps is '-1'"),
    "rate nan": (TASKS, "1\n7,nan,108,\n", "tasks.csv:2:3: rate_rps is 'nan'"),
    "rate huge": (TASKS, "1\n7,1e10,108,\n", "tasks.csv:2:3: rate_rps is '1e10'"),
    "slo": (TASKS, "1\n7,10,0,\n", "tasks.csv:2:6: slo_ms is '0'"),
    "twice": (TASKS, "2\n7,10,108,\n7,20,108,\n", "tasks.csv:3:1: model 'resnet50' is there twice"),
    "id": (TASKS, "1\n99,10,108,\n", "tasks.csv:2:1: model id 99 is unknown"),
    "no profile": (
        TASKS,
        "1\nresnet51,10,108,\n",
        "synthetic-gpu/latency.csv: has no model 'resnet51'; did you mean 'resnet50'?",
    ),
    "slo below fastest": (
        TASKS,
        "1\n7,10,1.5,\n",
        "tasks.csv: SLO 1.5 ms of 'resnet50' is ",
    ),
    "sched syntax": ("sched-config.json", '{\n "GPUs": [}', "sched-config.json:2:11: Expecting"),
    "sched key": (
        "sched-config.json",
        '{"GPUs": [], "Max Models": 3}',
        "sched-config.json: unknown key 'Max Models'; did you mean 'Max Model'?",
    ),
    "device type": (
        "sched-config.json",
        '{"GPUs": [{"Type": "synthetic-gp", "Num": 1}]}',
        "sched-config.json: GPUs[0].Type: 'synthetic-gp' is not in device-config.json; "
        "did you mean 'synthetic-gpu'?",
    ),
    "devices": (
        "sched-config.json",
        '{"GPUs": [{"Type": "synthetic-gpu", "Num": 1000000000}]}',
        "GPUs[0].Num: is 1000000000; valid is 1..100000",
    ),
    "shares": (
        "sched-config.json",
        '{"GPUs": [{"Type": "synthetic-gpu", "Num": 1}], "Avail_Parts": [50, 20]}',
        "sched-config.json: Avail_Parts: share 20 comes after 50",
    ),
    "device syntax": ("device-config.json", "{", "device-config.json:1:2: Expecting property name"),
    "latency file": (
        "device-config.json",
        '{"device_specs": [{"type": "synthetic-gpu", "mem_mb": 1, "latency_prof_file": "a.csv"}]}',
        "device-config.json: device_specs[0]: latency_prof_file names a.csv, a file that is not",
    ),
    "shipped profile": (
        "device-config.json",
        '{"device_specs": [{"type": "synthetic-gpu", "mem_mb": 1, "latency_prof_file": "synth"}]}',
        "no profile is called 'synth'",
    ),
    "mem syntax": ("mem-config.json", "{]", "mem-config.json:1:2: Expecting property name"),
    "mem value": (
        "mem-config.json",
        '{"models": [{"name": "bert", "mem": "x"}]}',
        "mem-config.json: models[0].mem: expected float, got str",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "text", "message"), FILES.values(), ids=FILES)
def test_a_file_that_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, message: str
) -> None:
    (folder / name).write_text(text)
    assert message in refused(folder, capsys, "--tasks", TASKS, *PUBLISHED)


def test_how_much_an_objective_is_too_short_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / TASKS).write_text("1\n7,10,1.5,\n")
    said = refused(folder, capsys, "--tasks", TASKS, *GIVEN)
    words = said.split()
    missing_ms = float(words[words.index("is") + 1])
    fastest_ms = float(words[words.index("latency,") + 1])
    assert 1.5 + missing_ms == pytest.approx(fastest_ms, abs=0.002)
    (folder / TASKS).write_text(f"1\n7,10,{fastest_ms + 0.001},\n")
    assert commands.schedule(["--tasks", TASKS, *GIVEN]) == 0


OPTIONS = {
    "no tasks": ((), "no tasks; say --tasks FILE"),
    "tasks": (("--tasks", "no.csv", *GIVEN), "no.csv: cannot be read: No such file"),
    "no devices": (("--tasks", TASKS), "no devices; say --device TYPE=COUNT, or all of"),
    "not all": (("--tasks", TASKS, *PUBLISHED[:4]), "no devices; say --device TYPE=COUNT, or all"),
    "both": (("--tasks", TASKS, *GIVEN, *PUBLISHED), "--device cannot be combined with"),
    "type": (("--tasks", TASKS, "--device", "synthetic=1"), "no profile is called 'synthetic'"),
    "count": (("--tasks", TASKS, "--device", "synthetic-gpu"), "give TYPE=COUNT"),
    "count 0": (("--tasks", TASKS, "--device", "synthetic-gpu=0"), "0 devices; valid is 1..100000"),
    "count huge": (
        ("--tasks", TASKS, "--device", "synthetic-gpu=100001"),
        "100001 devices; valid is 1..100000",
    ),
    "type twice": (("--tasks", TASKS, *GIVEN, *GIVEN), "type 'synthetic-gpu' is there twice"),
    "planner": (
        ("--tasks", TASKS, *GIVEN, "--planner", "exhaustiv"),
        "no planner is called 'exhaustiv'; did you mean 'exhaustive'?",
    ),
    "shares 0": (("--tasks", TASKS, *GIVEN, "--shares", "0,50"), "share 0 is not in 1..100"),
    "shares 101": (("--tasks", TASKS, *GIVEN, "--shares", "50,101"), "share 101 is not in 1..100"),
    "shares order": (("--tasks", TASKS, *GIVEN, "--shares", "50,20"), "share 20 comes after 50"),
    "shares text": (("--tasks", TASKS, *GIVEN, "--shares", "half"), "give percentages as in"),
    "shares measured": (
        ("--tasks", TASKS, *GIVEN, "--shares", "1,2"),
        "'synthetic-gpu' cannot give shares 1, 2: ",
    ),
    "memory": (("--tasks", TASKS, *GIVEN, "--memory", "none"), "invalid choice: 'none'"),
    "headroom": (("--tasks", TASKS, *GIVEN, "--headroom", "0"), "--headroom 0; give a factor"),
    "headroom nan": (("--tasks", TASKS, *GIVEN, "--headroom", "nan"), "--headroom nan; give"),
    "move cost": (("--tasks", TASKS, *GIVEN, "--move-cost", "-1"), "--move-cost -1; give a number"),
    "effort": (("--tasks", TASKS, *GIVEN, "--effort", "-1"), "--effort -1; give a number from 0"),
    "effort nan": (("--tasks", TASKS, *GIVEN, "--effort", "nan"), "--effort nan; give a number"),
    "current": (("--tasks", TASKS, *GIVEN, "--current", "no.txt"), "no.txt: cannot be read"),
    "rate": (("--tasks", TASKS, *GIVEN, "--rate", "5"), "--rate goes with --generate"),
    "option": (("--task", TASKS, "--plannr", "x", *GIVEN), "see glet-schedule --help"),
    "scenario": (("--generate", "scen6", "--rate", "5"), "no scenario is called 'scen6'"),
    "scenario rate": (("--generate", "scen1"), "--generate scen1 needs --rate RPS"),
    "scenario rate 0": (("--generate", "scen1", "--rate", "0"), "needs --rate RPS, above 0"),
    "combinations": (("--generate", "combinations:1,x:bert"), "valid is combinations:RATE"),
    "combination model": (("--generate", "combinations:1:bart"), "did you mean 'bert'?"),
}  # fmt: skip


@pytest.mark.parametrize(("options", "message"), OPTIONS.values(), ids=OPTIONS)
def test_a_command_line_that_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert message in refused(folder, capsys, *options)


def test_a_place_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(folder, capsys, "--tasks", TASKS, *GIVEN, output="nowhere/out.txt")
    assert "--output nowhere/out.txt: there is no folder nowhere" in said
    (folder / "made").mkdir()
    said = refused(folder, capsys, "--tasks", TASKS, *GIVEN, output="made")
    assert "--output made: is a folder; name a file" in said


def test_a_current_plan_on_devices_that_are_not_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "now.txt").write_text("7,100,0,vgg16,4,20.0\n")
    said = refused(folder, capsys, "--tasks", TASKS, *GIVEN, "--current", "now.txt")
    assert "now.txt: uses device 7; there are 0..1" in said
    (folder / "now.txt").write_text("0,100,0,vgg16,4\n")
    said = refused(folder, capsys, "--tasks", TASKS, *GIVEN, "--current", "now.txt")
    assert "now.txt:1: has 5 columns" in said


def test_what_was_there_stays_as_it_was(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "out.txt").write_text("kept\n")
    (folder / TASKS).write_text("1\n7,0,108,\n")
    refused(folder, capsys, "--tasks", TASKS, *GIVEN)
    assert (folder / "out.txt").read_text() == "kept\n"


def test_as_a_process(glet: Command, folder: Path) -> None:
    (folder / TASKS).write_text("1\n7,0,108,\n")
    done = glet("schedule", "--tasks", TASKS, *GIVEN, "--output", "out.txt")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("glet: tasks.csv:2:3: rate_rps is '0'")
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "out.txt").exists()
