"""An MPS daemon started, used, lost, started again and stopped, with a program that plays it."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from glet.clock import SystemClock
from glet.errors import ConfigError, DeviceError
from glet.plan.layout import PlacedGpulet
from glet.serve import doctor_mps, mps, mps_ask, mps_control
from glet.serve.child import Child
from glet.serve.doctor_finding import Wish
from glet.serve.executor_env import PlainEnv
from glet.serve.mps import MpsClients
from glet.serve.mps_ask import MpsAsk
from glet.serve.mps_control import MpsControl, numbers, own_control
from glet.serve.poll_loop import PollLoop
from glet.types.device import DeviceInfo
from glet.wire.heartbeat import Backoff

CLOCK = SystemClock()
GPU = DeviceInfo(
    name="gpu1", kind="mps", type="h200", gpu="GPU-1f", product="Fake", sms=132, memory_mb=140_000
)
WAIT_S = 60.0


def gpulet(share_pct: int) -> PlacedGpulet:
    return PlacedGpulet(number=4, share_pct=share_pct, given_pct=float(share_pct))


@contextmanager
def clients(poll: PollLoop, folder: Path, limit_memory: bool = False) -> Iterator[MpsClients]:
    made = MpsClients(GPU, folder, poll, CLOCK, limit_memory=limit_memory)
    try:
        yield made
    finally:
        made.close()


def wait_for(poll: PollLoop, condition: Callable[[], bool]) -> None:
    until_s = CLOCK.now_s() + WAIT_S
    while not condition():
        assert CLOCK.now_s() < until_s
        poll.run_once(0.05)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("r")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes longer to start the program that plays the daemon."""
    monkeypatch.setattr(mps_control, "LIMIT_S", 30.0)
    monkeypatch.setattr(mps_ask, "TERMINATE_LIMIT_S", 60.0)
    monkeypatch.setattr(mps, "START_LIMIT_S", 60.0)
    monkeypatch.setattr(doctor_mps, "START_LIMIT_S", 60.0)


@pytest.mark.usefixtures("patient")
def test_a_daemon_is_started_and_stopped(fake_mps: Path, folder: Path) -> None:
    poll = PollLoop(CLOCK)
    with clients(poll, folder) as env:
        assert env.pid == 0
        wait_for(poll, env.ready)
        pid = env.pid
        assert not is_gone(pid)
        variables = env.variables([gpulet(30)])
        assert variables["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "30"
        assert variables["CUDA_MPS_PIPE_DIRECTORY"] == str(folder / "p")
        assert variables["CUDA_MPS_LOG_DIRECTORY"] == str(folder / "l")
        # The daemon sees one device, so that its clients call it the first.
        assert variables["CUDA_VISIBLE_DEVICES"] == "0"
        assert variables["CUDA_DEVICE_MAX_CONNECTIONS"] == "32"
        assert "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT" not in variables
    assert is_gone(pid)
    assert fake_mps.read_text().splitlines() == ["daemon CUDA_VISIBLE_DEVICES=GPU-1f", "quit"]


@pytest.mark.usefixtures("fake_mps")
def test_memory_by_share(folder: Path) -> None:
    with clients(PollLoop(CLOCK), folder, limit_memory=True) as env:
        variables = env.variables([gpulet(25)])
    assert variables["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=35000M"


@pytest.mark.usefixtures("patient")
def test_a_client_is_terminated_before_it_is_killed(fake_mps: Path, folder: Path) -> None:
    poll = PollLoop(CLOCK)
    with clients(poll, folder) as env:
        wait_for(poll, env.ready)
        (folder / "p" / "clients").write_text("900 41\n901 42\n901 43\n")
        env.before_kill(42)
        env.before_kill(99)
    assert "terminated 42" in fake_mps.read_text()
    assert "terminated 99" not in fake_mps.read_text()


@pytest.mark.usefixtures("fake_mps", "patient")
def test_a_daemon_that_dies_is_started_again(folder: Path) -> None:
    poll = PollLoop(CLOCK)
    died: list[str] = []
    with clients(poll, folder) as env:
        env.on_death = died.append
        wait_for(poll, env.ready)
        first = env.pid
        os.kill(first, signal.SIGKILL)
        wait_for(poll, lambda: bool(died))
        assert died == ["the MPS daemon is gone: ended by SIGKILL"]
        wait_for(poll, lambda: env.ready() and env.pid not in (0, first))
        assert is_gone(first)


@pytest.mark.usefixtures("patient")
def test_a_daemon_that_runs_is_used_and_left_alone(
    fake_mps: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = str(fake_mps.parent / "bin" / "nvidia-cuda-mps-control")
    control = own_control(program, folder / "other")
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", control.pipes)
    daemon = Child([program, "-f"])
    poll = PollLoop(CLOCK)
    monkeypatch.setattr(mps, "CHECK_S", 0.05)
    monkeypatch.setattr(mps, "TICK_S", 0.05)
    try:
        wait_for(poll, control.answers)
        with clients(poll, folder) as env:
            assert env.ready()
            assert env.pid == 0
            variables = env.variables([gpulet(50)])
            assert variables["CUDA_MPS_PIPE_DIRECTORY"] == control.pipes
            assert variables["CUDA_VISIBLE_DEVICES"] == "GPU-1f"
        assert control.answers()
        assert "quit" not in fake_mps.read_text()
        died: list[str] = []
        with clients(poll, folder) as env:
            env.on_death = died.append
            daemon.kill()
            daemon.close(0.0)
            wait_for(poll, lambda: env.ready() and env.pid > 0)
            assert died == ["the MPS daemon is gone: it does not answer"]
    finally:
        daemon.close(0.0)


def test_a_daemon_that_cannot_run_is_given_up(
    fake_mps: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MPS", "broken")
    poll = PollLoop(CLOCK)
    with clients(poll, folder) as env:
        monkeypatch.setattr(env, "_backoff", Backoff(first_s=0.01, most_s=0.01))
        with pytest.raises(ConfigError, match=r"MPS daemon does not start \(exit code 1\)"):
            wait_for(poll, env.ready)
    assert fake_mps.read_text() == ""


def test_without_mps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="MPS is not installed"):
        MpsClients(GPU, tmp_path, PollLoop(CLOCK), CLOCK, limit_memory=False)


@pytest.mark.usefixtures("fake_mps")
def test_a_folder_too_deep_for_sockets(folder: Path) -> None:
    deep = folder / ("d" * 100)
    with pytest.raises(ConfigError, match="too long for the sockets"):
        MpsClients(GPU, deep, PollLoop(CLOCK), CLOCK, limit_memory=False)


def test_every_question_has_a_limit(
    fake_mps: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mps_control, "LIMIT_S", 0.2)
    program = folder / "mute"
    program.write_text("#!/bin/sh\nsleep 600 &\nsleep 600\n")
    program.chmod(0o755)
    control = MpsControl(program=str(program), pipes=str(folder))
    assert not control.answers()
    with pytest.raises(DeviceError, match="did not answer 'quit -t 1' in"):
        control.quit()


def test_a_daemon_that_hangs_does_not_keep_a_kill_waiting(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    class Hanging(MpsControl, frozen=True, kw_only=True):
        def terminate(self, pid: int) -> bool:
            return asked.wait(WAIT_S)

    monkeypatch.setattr(mps_ask, "TERMINATE_LIMIT_S", 0.05)
    ask = MpsAsk()
    try:
        with pytest.raises(DeviceError, match="takes too long"):
            ask.terminate(Hanging(program="none", pipes=str(folder)), 1)
    finally:
        asked.set()
        ask.close()


def test_only_numbers_count() -> None:
    assert numbers("Server list:\n41\n42 of 7\n 5\n43\r\n") == (41, 43)


def test_an_executor_of_a_whole_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    green = msgspec.structs.replace(GPU, kind="green")
    env = PlainEnv(green)
    assert env.ready()
    assert env.variables([]) == {
        "CUDA_DEVICE_MAX_CONNECTIONS": "32",
        "CUDA_MODULE_LOADING": "EAGER",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "GPU-1f",
    }
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    assert PlainEnv(green).variables([])["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"


@pytest.mark.parametrize("setting", ["", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_threads_of_a_cpu_leave_their_cores_soon(
    setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    if setting:
        monkeypatch.setenv(setting, "active")
    cpu = DeviceInfo(name="c", kind="cpu", type="cpu", cores=(0,))
    # What somebody has set stays.
    assert PlainEnv(cpu).variables([]) == ({} if setting else {"GOMP_SPINCOUNT": "10000"})


# ---- glet doctor


@pytest.mark.usefixtures("patient")
def test_doctor_starts_asks_and_stops_a_daemon(fake_mps: Path) -> None:
    finding = doctor_mps.mps(Wish())
    assert (finding.state, finding.says) == (
        "ok",
        "MPS is installed; a daemon was started, answered and was stopped",
    )
    assert fake_mps.read_text().splitlines()[-1] == "quit"


@pytest.mark.usefixtures("fake_mps", "patient")
def test_doctor_says_what_a_container_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAKE_MPS", "broken")
    mark = tmp_path / ".dockerenv"
    monkeypatch.setattr(doctor_mps, "CONTAINER_MARKS", (mark,))
    finding = doctor_mps.mps(Wish())
    assert finding.state == "warning"
    assert "a daemon of our own ended at once (exit code 1)" in finding.says
    assert "partition green needs no MPS" in finding.do
    mark.touch()
    assert "--ipc=host" in doctor_mps.mps(Wish()).do
