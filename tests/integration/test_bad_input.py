"""Wrong input to real commands: one clear line, exit code 2, nothing left running."""

import os
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from glet.config.resource import profile_folder

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Break = Callable[[Path], None]
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a sound repository `models` of one model, `double`."""
    entry = tmp_path / "models" / "double"
    entry.mkdir(parents=True)
    (entry / "model.toml").write_text(TOML)
    (entry / "model.py").write_text("def infer(x):\n    return x * 2\n")
    return tmp_path


def one_line(done: "subprocess.CompletedProcess[str]", code: int = 2) -> str:
    """The message of a command that failed as it should."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "serving" not in done.stdout
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("glet: ")
    return lines[0]


def up(glet: Command, folder: Path, *options: str) -> str:
    """What `glet up` says of the repository `models` under these options."""
    listen = () if "--listen" in options else ("--listen", f"ipc://{folder}/f")
    return one_line(glet("up", *options, *listen, "--cache", str(folder / "cache")))


def write(path: str, text: str) -> Break:
    return lambda folder: (folder / path).write_text(text) and None


def swap(path: str, old: str, new: str) -> Break:
    def change(folder: Path) -> None:
        text = (folder / path).read_text()
        assert old in text
        (folder / path).write_text(text.replace(old, new))

    return change


def instead_of_callable(name: str, content: bytes) -> Break:
    def change(folder: Path) -> None:
        (folder / "models/double/model.py").unlink()
        if content:
            (folder / "models/double" / name).write_bytes(content)

    return change


def archive(folder: Path) -> None:
    """A model.pt2 that is a sound zip file of something else."""
    (folder / "models/double/model.py").unlink()
    with zipfile.ZipFile(folder / "models/double/model.pt2", "w") as made:
        made.writestr("readme.txt", "nothing")


CONFIG = "models/double/model.toml"
SOURCE = "models/double/model.py"
ENTRIES: dict[str, tuple[Break, str]] = {
    "syntax": (swap(CONFIG, "slo_ms =", "slo_ms = ="), "model.toml:1: Invalid value in 'slo_ms"),
    "unknown key": (swap(CONFIG, "max_batch", "max_bach"), "'max_bach'; did you mean 'max_batch'?"),
    "type": (swap(CONFIG, "= 8", '= "8"'), "model.toml: max_batch: expected int, got str"),
    "dtype": (swap(CONFIG, "float32", "float31"), "dtype 'float31' is unknown; valid are float32"),
    "no file": (instead_of_callable("", b""), "has none of model.pt2, model.pt, model.py"),
    "bytes as pt2": (instead_of_callable("model.pt2", b"\x93" * 999), "model.pt2 is corrupt"),
    "other zip as pt2": (archive, "is a zip but no exported program; save with torch.export.save"),
    "bytes as pt": (instead_of_callable("model.pt", b"\x93" * 999), "model.pt is corrupt"),
    "no callable": (write(SOURCE, "x = 3\n"), "defines neither infer(*arrays) nor load()"),
    "callable is none": (write(SOURCE, "infer = 3\n"), "gives no callable; define infer(*arrays)"),
    "source": (write(SOURCE, "\ndef infer(x:\n"), "model.py:2: '(' was never closed"),
    "import": (
        write(SOURCE, "import no_such_library\ndef infer(x): return x\n"),
        "model.py:1: ModuleNotFoundError: No module named 'no_such_library'",
    ),
    "call": (
        write(SOURCE, "def infer(x):\n    return x.reshape(7)\n"),
        "ValueError: cannot reshape array",
    ),
}


@pytest.mark.parametrize(("change", "message"), ENTRIES.values(), ids=ENTRIES)
def test_an_entry_that_is_wrong(glet: Command, folder: Path, change: Break, message: str) -> None:
    change(folder)
    said = up(glet, folder)
    assert message in said
    assert "model 'double'" in said


def test_a_repository_that_is_not_there_or_empty(glet: Command, folder: Path) -> None:
    assert "nowhere: is not a folder" in up(glet, folder, "--models", "nowhere")
    (folder / "empty").mkdir()
    assert "empty: holds no models; glet models export" in up(glet, folder, "--models", "empty")


PLANS = {
    "columns": ("0,50,0,double,4,20.0\n0,50,double\n", "plan.txt:2: has 3 columns; valid is gpu,"),
    "number": ("0,half,0,double,4,20.0\n", "plan.txt:1: share is 'half'; valid is a whole number"),
    "sum": ("0,60,0,double,4,0\n0,60,1,double,4,0\n", "add up to 120 %; at most 100 is valid"),
    "empty": ("", "plan.txt: is empty; valid are lines gpu,share"),
    "model": ("0,50,0,duble,4,20.0\n", "plan.txt: model 'duble' is not in"),
    "batch": (
        "0,50,0,double,9,20.0\n",
        "plan.txt: batch 9 of model 'double' is above its max_batch; valid is",
    ),
    "nearest": ("0,50,0,duble,4,20.0\n", "did you mean 'double'?"),
    "device": ("1,50,0,double,4,20.0\n", "device 1, which no backend has; valid are 0"),
}


@pytest.mark.parametrize(("text", "message"), PLANS.values(), ids=PLANS)
def test_a_plan_that_is_wrong(glet: Command, folder: Path, text: str, message: str) -> None:
    (folder / "plan.txt").write_text(text)
    assert message in up(glet, folder, "--plan", "plan.txt")


def test_shares_that_the_cores_cannot_give(glet: Command, folder: Path) -> None:
    core = min(os.sched_getaffinity(0))
    (folder / "plan.txt").write_text("0,30,0,double,4,20.0\n0,70,0,reserved,32,0\n")
    (folder / "c.toml").write_text(f'plan = "plan.txt"\n[[backend]]\ncores = [{core}]\n')
    said = up(glet, folder, "c.toml")
    assert "plan.txt: gpulet 30 % of device0: is less than one of its 1 core" in said
    assert "the smallest share that works is 100 %" in said


CLUSTERS = {
    "key": ('listn = "x"\n', "c.toml: unknown key 'listn'; did you mean 'listen'?"),
    "type": ("margin_ms = true\n", "c.toml: margin_ms: expected float, got bool"),
    "syntax": ('models = "models"\nlisten =\n', "c.toml:2: Invalid value in 'listen ='"),
    "cores": ("[[backend]]\ncores = [4096]\n", "core 4096 cannot be used here; valid are"),
    "choice": (
        'partition = "gpu"\n',
        "c.toml: partition: 'gpu' is none of auto, cpu, green, mps, profiled",
    ),
    "model": (
        '[[gpulet]]\nshare_pct = 100\nmodels = [{ model = "duble", batch = 1 }]\n',
        "the plan: model 'duble' is not in",
    ),
}


@pytest.mark.parametrize(("text", "message"), CLUSTERS.values(), ids=CLUSTERS)
def test_a_cluster_file_that_is_wrong(glet: Command, folder: Path, text: str, message: str) -> None:
    (folder / "c.toml").write_text(text)
    assert message in up(glet, folder, "c.toml")


PROFILES = {
    "model": ("other,100,8,3.0\n", "latency.csv: has no model 'double'; valid are other"),
    "line": ("double,100,8\n", "latency.csv:1: is 'double,100,8'; valid is model,share,batch"),
    "batch": (
        "double,100,4,3.0\n",
        "latency.csv: profile of 'double' has no batch 8; valid is 1..4",
    ),
    "share": ("double,50,8,3.0\n", "no share of 100 %; valid is 50..50 %"),
}


@pytest.mark.parametrize(("text", "message"), PROFILES.values(), ids=PROFILES)
def test_a_profile_that_does_not_do(glet: Command, folder: Path, text: str, message: str) -> None:
    (folder / "latency.csv").write_text(text)
    (folder / "plan.txt").write_text("0,100,0,double,8,0\n")
    options = ("--partition", "profiled", "--profile", "latency.csv")
    assert message in up(glet, folder, *options, "--plan", "plan.txt")


def test_a_profile_folder_without_the_model(glet: Command, folder: Path) -> None:
    shipped = profile_folder("synthetic-gpu")
    said = up(glet, folder, "--partition", "profiled", "--profile", str(shipped))
    assert f"{shipped}/latency.csv: has no model 'double'; valid are bert, densenet161" in said


@pytest.mark.parametrize("command", ["up", "demo"])
def test_profiled_needs_a_profile(glet: Command, folder: Path, command: str) -> None:
    options = ["--models", "models"]
    if command == "demo":
        for name in ("lenet", "bert_tiny", "mobilenet_v2"):
            (folder / "models" / name).mkdir()
            (folder / "models" / name / "model.toml").write_text(TOML)
            (folder / "models" / name / "model.py").write_text("def infer(x): return x\n")
    said = one_line(glet(command, "--partition", "profiled", *options))
    assert "partition profiled needs a profile; say --profile FILE" in said


def test_addresses(glet: Command, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        said = up(glet, folder, "--listen", endpoint)
        assert f"cannot listen on {endpoint}: Address already in use" in said
    assert "or say --insecure" in up(glet, folder, "--listen", "tcp://0.0.0.0:0")
    assert "valid are tcp://HOST:PORT" in up(glet, folder, "--listen", "127.0.0.1:5555")


OPTIONS = {
    "unknown": (["up", "--modles", "x"], "unrecognized arguments: --modles"),
    "nearest": (["up", "--modles", "x"], "did you mean '--models'?"),
    "choice": (["up", "--partition", "gpu"], "invalid choice: 'gpu' (choose from 'auto', "),
    "cluster": (["up", "no.toml"], "no.toml: cannot be read: No such file"),
    "sample": (["models", "export", "lenett", "--to", "x"], "did you mean 'lenet'?"),
    "rate": (["load", "ipc://x", "--model", "a"], "--model 'a'; give NAME=RPS, as in lenet=200"),
    "rate number": (["load", "ipc://x", "--model", "a=b"], "--model 'a=b'; give NAME=RPS"),
    "address": (["load", "127.0.0.1:1", "--model", "a=1"], "valid are tcp://HOST:PORT"),
    "no input": (["infer", "a", "--input", "no.npy"], "no.npy: cannot be read: No such file"),
    "no array": (["infer", "a", "--input", "models/double/model.toml"], "is no array of numbers"),
    "deadline": (["infer", "a", "--input", "x.npy", "--deadline-ms", "0"], "give milliseconds"),
    "seconds": (["demo", "--seconds", "0"], "--seconds 0.0; give a number above 0"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), OPTIONS.values(), ids=OPTIONS)
def test_a_command_line_that_is_wrong(
    glet: Command, folder: Path, arguments: list[str], message: str
) -> None:
    np.save(folder / "x.npy", np.zeros(4, np.float32))
    assert message in one_line(glet(*arguments))


@pytest.mark.slow
def test_no_frontend_is_said_within_seconds(glet: Command, folder: Path) -> None:
    np.save(folder / "x.npy", np.zeros(4, np.float32))
    address = f"ipc://{folder}/nobody"
    for arguments in (
        ["infer", "double", "--input", "x.npy", "--address", address],
        ["load", address, "--model", "double=1"],
    ):
        assert f"no connection to {address}" in one_line(glet(*arguments, limit_s=20.0), code=1)


@pytest.fixture
def served(folder: Path, glet_environment: dict[str, str]) -> Iterator[str]:
    """The address of a `glet up` that serves `double`."""
    address = f"ipc://{folder}/f"
    command = [sys.executable, "-m", "glet.cli.main", "up", "--listen", address]
    with subprocess.Popen(
        command, cwd=folder, env=glet_environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert any(line.startswith("serving 1 model at") for line in process.stdout)
        yield address
        process.send_signal(signal.SIGINT)
        assert process.wait(30.0) == 0


def test_requests_that_do_not_fit(glet: Command, folder: Path, served: str) -> None:
    np.save(folder / "x.npy", np.zeros(4, np.float32))
    np.save(folder / "long.npy", np.zeros(5, np.float32))
    np.save(folder / "whole.npy", np.zeros(4, np.int64))
    for arguments, message in (
        (["duble", "--input", "x.npy"], "no model 'duble'; did you mean 'double'?"),
        (["double", "--input", "long.npy"], "'x': got float32 [5], expected float32 [4]"),
        (["double", "--input", "whole.npy"], "'x': got int64 [4], expected float32 [4]"),
        (["double", "--input", "z=x.npy"], "has no input 'z'; expected x float32 [4]"),
    ):
        assert message in one_line(glet("infer", *arguments, "--address", served))
    said = one_line(glet("load", served, "--model", "duble=1"))
    assert "no model 'duble'; did you mean 'double'?" in said
