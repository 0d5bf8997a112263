"""`glet profile` as a process: through the real engine, stopped, killed, and asked wrongly."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from glet.profiles.files import DeviceFacts, MeasuredLatency, ProfileData, read_data, write_profile
from glet.profiles.interference_files import read_numbers
from glet.profiles.pairs import MeasuredPair

Command = Callable[..., "subprocess.CompletedProcess[str]"]
TOML = """slo_ms = 100.0
max_batch = 8

[[input]]
name = "x"
dtype = "float32"
shape = [4]

[[output]]
name = "y"
dtype = "float32"
shape = [4]
"""
PROFILE = "double,25,1,20.0\ndouble,25,8,48.0\ndouble,75,1,10.0\ndouble,75,8,17.0\n"
EMULATED = ("--partition", "profiled", "--profile", "latency.csv")
QUICK = ("--seconds-per-point", "0.4", "--repeats", "50")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a repository `models` of one model, `double`, and a `latency.csv`."""
    add_model(tmp_path, "double", "def infer(x):\n    print('infer')\n    return x * 2\n")
    (tmp_path / "latency.csv").write_text(PROFILE)
    return tmp_path


def add_model(folder: Path, name: str, source: str) -> None:
    entry = folder / "models" / name
    entry.mkdir(parents=True)
    (entry / "model.toml").write_text(TOML)
    (entry / "model.py").write_text(source)


def points(folder: Path) -> set[tuple[str, int, int]]:
    return {(p.model, p.share_pct, p.batch) for p in read_data(folder).latencies}


def test_a_python_model_on_cores(glet: Command, folder: Path) -> None:
    done = glet("profile", "--out", "p", "--batches", "1,4", "--pairs", "none", "--json", *QUICK)
    assert done.returncode == 0, done.stderr
    # What the model prints stays out of the way.
    report = json.loads(done.stdout)
    shares = {share for _, share, _ in points(folder / "p")}
    assert len(shares) == len(os.sched_getaffinity(0))
    assert max(shares) == 100
    assert points(folder / "p") == {("double", s, b) for s in shares for b in (1, 4)}
    assert len(report["points"]) == 2 * len(shares)
    assert all(point["samples"] >= 7 for point in report["points"])
    data = read_data(folder / "p")
    assert data.device.kind == "cpu"
    assert data.device.type == "p"
    assert data.device.memory_mb > 0.0
    assert data.memory_mb["double"] > 0.0
    origin = data.device.origin
    assert origin is not None
    assert origin.command.startswith("glet profile --out p --batches 1,4")
    assert {"glet", "python", "kernel"} <= origin.versions.keys()
    run = json.loads((folder / "p" / "runs.jsonl").read_text())
    assert run["points"] == len(report["points"])
    assert run["process_mb"] > 0.0


def test_an_emulated_device_gives_its_profile_again(glet: Command, folder: Path) -> None:
    done = glet("profile", "--out", "p", "--batches", "1,2,8", "--pairs", "none", *EMULATED, *QUICK)
    assert done.returncode == 0, done.stderr
    expected = {(25, 1): 20.0, (25, 2): 24.0, (25, 8): 48.0}
    expected |= {(75, 1): 10.0, (75, 2): 11.0, (75, 8): 17.0}
    found = {(p.share_pct, p.batch): p.p50_ms for p in read_data(folder / "p").latencies}
    assert found.keys() == expected.keys()
    for at, latency_ms in expected.items():
        # Never earlier; later by what the machine takes to wake a thread.
        assert latency_ms <= found[at] <= latency_ms + 5.0
    assert "double" in done.stdout
    assert read_data(folder / "p").memory_mb == {"double": 0.0}


@pytest.mark.slow
def test_pairs_beside_each_other_and_their_fit(glet: Command, folder: Path) -> None:
    (folder / "latency.csv").write_text(PROFILE.replace("20.0", "4.0").replace("48.0", "6.0"))
    options = ("--out", "p", "--batches", "1,2,8", "--pairs", "all")
    done = glet("profile", *options, *EMULATED, *QUICK, limit_s=120.0)
    assert done.returncode == 0, done.stderr
    pairs = read_data(folder / "p").pairs
    assert pairs is not None
    assert len(pairs) == 9
    assert all((pair.share_a_pct, pair.share_b_pct) == (25, 75) for pair in pairs)
    assert len({(pair.batch_a, pair.batch_b) for pair in pairs}) == 9
    # Emulated gpulets do not disturb each other, and nothing is ever earlier than its profile.
    assert all(min(pair.alone_a_ms, pair.beside_a_ms) >= 4.0 for pair in pairs)
    assert all(min(pair.alone_b_ms, pair.beside_b_ms) >= 10.0 for pair in pairs)
    assert "held out" in done.stdout
    numbers = read_numbers(folder / "p" / "interference.toml")
    assert type(numbers).__struct_config__.tag in done.stdout


def test_memory_bandwidth_is_probed(glet: Command, folder: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two gpulets need two cores")
    options = ("--out", "p", "--batches", "8", "--shares", "50,100", "--pairs", "1")
    done = glet("profile", *options, *QUICK)
    assert done.returncode == 0, done.stderr
    (use,) = read_data(folder / "p").demands
    assert (use.model, use.batch) == ("double", 8)
    assert "beside the memory probe" in done.stderr
    assert "1 different pairs are too few" in done.stderr


def test_a_device_without_room_for_two(glet: Command, folder: Path) -> None:
    done = glet("profile", "--out", "p", "--batches", "1", "--shares", "100", *QUICK)
    assert done.returncode == 0, done.stderr
    assert "no pairs: of the shares 100 % no two fit" in done.stderr
    assert read_data(folder / "p").pairs is None


# ---- stopped and killed


@contextmanager
def started(folder: Path, environment: dict[str, str]) -> Iterator["Lines"]:
    """`glet profile` of an emulated device, six points; ended at the latest when it is left."""
    options = ("--out", "p", "--batches", "1,2,8", "--pairs", "none", *EMULATED)
    # A shell starts what runs in the background deaf to SIGINT, and with it all that this starts.
    hearing = ("env", "--default-signal=INT")
    process = subprocess.Popen(
        [*hearing, sys.executable, "-m", "glet.cli.main", "profile", *options, *QUICK],
        env=environment,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    # A process that hangs is ended, and the test fails for what it did not say.
    limit = threading.Timer(60.0, process.kill)
    limit.start()
    try:
        yield Lines(process)
    finally:
        limit.cancel()
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


class Lines:
    """What a process says on its standard error."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.said: list[str] = []

    def until(self, text: str) -> None:
        """Reads on; fails when the process ends without having said it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if text in line:
                return
        raise AssertionError(f"never said {text!r}: {self.said}")


def resume(glet: Command, folder: Path) -> str:
    """The same command again; what it said."""
    options = ("--out", "p", "--batches", "1,2,8", "--pairs", "none", *EMULATED, *QUICK)
    done = glet("profile", *options)
    assert done.returncode == 0, done.stderr
    assert points(folder / "p") == {("double", s, b) for s in (25, 75) for b in (1, 2, 8)}
    return done.stderr


def test_interrupted_it_keeps_everything_and_goes_on(
    glet: Command, folder: Path, glet_environment: dict[str, str]
) -> None:
    with started(folder, glet_environment) as lines:
        lines.until("double batch 2 on 75 %: ")
        children = psutil.Process(lines.process.pid).children()
        lines.process.send_signal(signal.SIGINT)
        lines.until("stopped; what was measured is in p")
        assert lines.process.wait(30.0) == 130
        assert psutil.wait_procs(children, timeout=120.0)[1] == []
    kept = points(folder / "p")
    assert {("double", 75, 1), ("double", 75, 2)} <= kept
    assert len(kept) < 6
    said = resume(glet, folder)
    assert said.count("samples") == 6 - len(kept)


def test_killed_it_goes_on(glet: Command, folder: Path, glet_environment: dict[str, str]) -> None:
    with started(folder, glet_environment) as lines:
        # The first share is saved before the second one begins.
        lines.until("double batch 1 on 25 %: ")
        children = psutil.Process(lines.process.pid).children()
        assert children
        lines.process.kill()
        assert lines.process.wait(30.0) == -signal.SIGKILL
        # Its measuring process is ended by the kernel.
        assert psutil.wait_procs(children, timeout=120.0)[1] == []
    kept = points(folder / "p")
    assert kept == {("double", 75, batch) for batch in (1, 2, 8)}
    assert resume(glet, folder).count("samples") == 3
    assert resume(glet, folder).count("samples") == 0


def test_a_model_that_crashes_costs_only_itself(glet: Command, folder: Path) -> None:
    add_model(folder, "bad", "import os\ndef infer(x):\n    os.abort()\n")
    add_model(folder, "worse", "def infer(x):\n    raise ValueError('no such item')\n")
    options = ("--out", "p", "--batches", "1", "--shares", "100", "--pairs", "none")
    done = glet("profile", *options, *QUICK)
    assert done.returncode == 1
    assert "model 'bad': measuring stopped: ended by SIGABRT" in done.stderr
    assert "model 'worse': ValueError: no such item" in done.stderr
    assert "Traceback" not in done.stderr
    assert points(folder / "p") == {("double", 100, 1)}


# ---- fitting again


def pair(index: int) -> MeasuredPair:
    return MeasuredPair(
        model_a="double",
        share_a_pct=25,
        batch_a=index,
        model_b="double",
        share_b_pct=75,
        batch_b=1,
        alone_a_ms=1.0,
        beside_a_ms=1.25,
        alone_b_ms=2.0,
        beside_b_ms=2.5,
        samples=9,
    )


def write_pairs(folder: Path, count: int) -> None:
    latencies = tuple(
        MeasuredLatency(model="double", share_pct=s, batch=8, p50_ms=2.0, p99_ms=3.0, samples=9)
        for s in (25, 75)
    )
    facts = DeviceFacts(type="p", kind="cpu")
    pairs = tuple(pair(index + 1) for index in range(count))
    data = ProfileData(device=facts, latencies=latencies, memory_mb={"double": 1.0}, pairs=pairs)
    write_profile(folder, data)


def test_fitting_again(glet: Command, folder: Path) -> None:
    write_pairs(folder / "p", 8)
    done = glet("profile", "--fit", "p")
    assert done.returncode == 0, done.stderr
    assert "constant" in done.stdout
    assert "constant is in p/interference.toml" in done.stdout
    assert read_numbers(folder / "p" / "interference.toml").factor == pytest.approx(1.25)  # type: ignore[union-attr]
    report = json.loads(glet("profile", "--fit", "p", "--json").stdout)
    assert report["chosen"] == "constant"
    assert {row["model"] for row in report["errors"]} >= {"constant", "none"}


# ---- asked wrongly


def one_line(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("glet: ")
    return lines[0]


WRONG = {
    "model": (["--models", "duble"], "model 'duble': not in models; did you mean 'double'?"),
    "share": (["--shares", "0"], "a share is 1..100 percent"),
    "shares": (["--shares", "50;100"], "--shares '50;100'; give whole numbers, as in 1,2,4"),
    "batch": (["--batches", "4,9"], "batch 9 of model 'double' is not in 1..8"),
    "pairs": (["--pairs", "some"], "--pairs 'some'; give a whole number, none or all"),
    "repeats": (["--repeats", "3"], "--repeats 3; give a number from 7"),
    "seconds": (["--seconds-per-point", "nan"], "--seconds-per-point nan; give seconds above 0"),
    "type": (["--device-type", "a,b"], "--device-type 'a,b'; valid is a name"),
    "file": (["--out", "latency.csv"], "latency.csv: cannot be written: File exists"),
    "under a file": (["--out", "latency.csv/p"], "latency.csv/p: cannot be written: Not a dir"),
    "read-only": (["--out", "/proc/p"], "/proc/p: cannot be written"),
    "emulated": (["--partition", "profiled"], "partition profiled needs --profile FILE"),
    "emulated share": ([*EMULATED, "--shares", "80"], "has no share of 80 %"),
    "option": (["--share", "50", "--modles", "x"], "did you mean '--models'?"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_wish(glet: Command, folder: Path, arguments: list[str], message: str) -> None:
    said = one_line(
        glet("profile", *(["--out", "p"] if "--out" not in arguments else []), *arguments)
    )
    assert message in said
    assert not (folder / "p").exists()


def test_a_share_below_a_core(glet: Command, folder: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    if cores >= 100:
        pytest.skip("every share has a core here")
    said = one_line(glet("profile", "--out", "p", "--shares", "1"))
    assert f"is less than one of its {cores} core" in said


def test_nothing_to_measure_or_nowhere_to_write(glet: Command, folder: Path) -> None:
    assert "say --out profiles/NAME" in one_line(glet("profile"))
    assert "nowhere: is not a folder" in one_line(glet("profile", "nowhere", "--out", "p"))
    (folder / "empty").mkdir()
    assert "empty: holds no models" in one_line(glet("profile", "empty", "--out", "p"))
    assert "nowhere: is no folder; a profile is" in one_line(glet("profile", "--fit", "nowhere"))
    write_pairs(folder / "p", 7)
    assert "7 different pairs are too few" in one_line(glet("profile", "--fit", "p"))


DAMAGED = {
    "latency.csv": ("model,share\n", "p/latency.csv:1: has no column 'share_pct'"),
    "models.csv": ("model,memory_mb\n", "p/models.csv: has no model 'double'"),
    "device.toml": (
        'type = "p"\nkind = "gpu"\n',
        "p/device.toml: kind is 'gpu', this one is 'cpu'",
    ),
    "pairs.csv": ("model_a\n", "p/pairs.csv:1: has no column"),
    "spread.csv": ("model\n", "p/spread.csv:1: has no column"),
    "runs.jsonl": ("{}\n", "p/runs.jsonl:1: Object missing required field `command`"),
    ".pending.json": ("[]", "p/.pending.json: Expected `object`, got `array`"),
}


def test_a_damaged_folder(glet: Command, folder: Path) -> None:
    options = ("profile", "--out", "p", "--batches", "1", "--shares", "100", "--pairs", "none")
    assert glet(*options, *QUICK).returncode == 0
    for file, (text, message) in DAMAGED.items():
        path = folder / "p" / file
        sound = path.read_bytes() if path.exists() else b""
        path.write_text(text)
        assert message in one_line(glet(*options))
        assert path.read_text() == text
        path.unlink()
        if sound:
            path.write_bytes(sound)
