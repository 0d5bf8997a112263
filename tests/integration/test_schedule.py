"""glet-schedule from end to end: the examples of its help, and the published files as they are."""

import json
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from glet.cli import main as commands
from glet.cli.schedule import EXAMPLE
from glet.plan import model_list
from glet.profiles.files import read_profile

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = Path("/work/shared/data/gpulet")
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def examples() -> list[list[str]]:
    """The command lines of the help's example, each as its arguments."""
    text = EXAMPLE.removeprefix("example:\n").replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in text.splitlines()]


@pytest.mark.parametrize("number", range(len(examples())))
def test_the_examples_of_the_help_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    (tmp_path / "resource").symlink_to(ROOT / "resource")
    monkeypatch.chdir(tmp_path)
    options = examples()[number]
    assert commands.schedule(options) == 0
    assert capsys.readouterr().out
    if "--output" in options:
        assert (tmp_path / options[options.index("--output") + 1]).exists()


def test_what_is_written_is_a_plan_for_the_daemons(glet: Command, tmp_path: Path) -> None:
    tasks = str(ROOT / "resource/scheduler/tasks.csv")
    devices = ("--device", "synthetic-gpu=3")
    done = glet("schedule", "--tasks", tasks, *devices, "--output", "ModelList.txt", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    plan = model_list.read(tmp_path / "ModelList.txt")
    assert {gpulet.device for gpulet in plan.gpulets} == {0, 1, 2}
    written = sorted(
        (gpulet.device, gpulet.share_pct, share.model, share.batch)
        for gpulet in plan.gpulets
        for share in gpulet.models
    )
    said = sorted(
        (gpulet["device"], gpulet["share_pct"], model["model"], model["batch"])
        for gpulet in answer["gpulets"]
        for model in gpulet["models"]
    )
    assert written == said
    assert answer["lower_bound"] <= answer["devices_used"]
    # Planned again on what is there, nothing moves.
    again = ("--current", "ModelList.txt", "--move-cost", "0.5", "--output", "again.txt")
    assert glet("schedule", "--tasks", tasks, *devices, *again).returncode == 0
    assert (tmp_path / "again.txt").read_text() == (tmp_path / "ModelList.txt").read_text()


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published files are not here")
@pytest.mark.parametrize(
    ("config", "planner"),
    [
        ("config-gpulet-int", "glet"),
        ("config-gpulet-noint", "glet"),
        ("config-greedy_part", "selftuning"),
        ("config-timesharing_only", "timeshare"),
    ],
)
def test_the_published_files_are_read_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str, planner: str
) -> None:
    """Only latency.csv is ours: the publication has none. The 3080, not asked for, has none."""
    shutil.copytree(PUBLISHED, tmp_path, dirs_exist_ok=True)
    profile = read_profile(ROOT / "profiles" / "synthetic-gpu")
    lines = [
        f"{name},{share},{batch},{profile.model(name).latency_ms(share, batch):.6f}\n"
        for name in profile.models()
        for share in (20, 40, 50, 60, 80, 100)
        for batch in (1, 8, 32)
    ]
    (tmp_path / "2080ti" / "latency.csv").write_text("".join(lines))
    (tmp_path / "tasks.csv").write_text("3\n7,120,108,\n6,100,66,\n9,40,142,\n")
    options = [
        "--tasks", str(tmp_path / "tasks.csv"),
        "--sched-config", str(tmp_path / "SchedConfigs" / f"{config}.json"),
        "--device-config", str(tmp_path / "device-config.json"),
        "--mem-config", str(tmp_path / "mem-config.json"),
        "--output", str(tmp_path / "out.txt"),
    ]  # fmt: skip
    assert commands.schedule([*options, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["planner"] == planner
    slowdowns = [m["slowdown"] for gpulet in answer["gpulets"] for m in gpulet["models"]]
    assert config == "config-gpulet-int" or set(slowdowns) == {1.0}
    if planner == "timeshare":
        assert {gpulet["share_pct"] for gpulet in answer["gpulets"]} == {100}
    assert model_list.read(tmp_path / "out.txt").models() == ("googlenet", "resnet50", "vgg16")
