"""Checks of the machine: cores, memory, other load, clock, files. Facts first, then a judgement."""

import ctypes
import os
import resource
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import psutil

from glet.clock import Clock, SystemClock
from glet.errors import ConfigError
from glet.serve.doctor_cgroup import cpu_quota, memory_limit
from glet.serve.doctor_finding import Finding, Wish, found
from glet.serve.run_dir import RunDir

MB = 1_000_000
BUSY_SHARE = 0.5
LOW_MEMORY_MB = 1_000
LOW_DISK_MB = 100
FEWEST_FILES = 1024
ENOUGH_FILES = 4096
SLEEPS = 200
SLEEP_S = 1e-3
LATE_MEDIAN_MS = 1.0
LATE_P99_MS = 5.0
COARSE_NS = 1_000.0
SHARED_MEMORY = Path("/dev/shm")
TOPOLOGY = Path("/sys/devices/system/cpu")
_PR_GET_TIMERSLACK = 30


class Cores(msgspec.Struct, frozen=True, kw_only=True):
    """`quota` is how many cores' time a container allows, None for no limit.

    `physical` are the cores behind `usable`, which may be two threads of one core each.
    """

    usable: int
    physical: int
    host: int
    quota: float | None


def cores(wish: Wish) -> Finding:
    """Cores for this process beside those of the host."""
    usable = sorted(os.sched_getaffinity(0))
    return judge_cores(
        Cores(
            usable=len(usable),
            physical=len({siblings(core) for core in usable}),
            host=os.cpu_count() or len(usable),
            quota=cpu_quota(),
        )
    )


def judge_cores(facts: Cores) -> Finding:
    """A quota below the cores is the trap: threads run everywhere and are stopped in between."""
    says = f"{_count(facts.usable, 'core')} of {facts.host} on this host may be used"
    if facts.usable == facts.host:
        says = f"{_count(facts.usable, 'core')}, all of this host"
    if facts.physical < facts.usable:
        says += f"; they are threads of {_count(facts.physical, 'physical core')}"
    if facts.quota is not None and facts.quota < facts.usable:
        return found(
            "warning",
            f"{says}, but the container allows the time of {facts.quota:g}: "
            "gpulets that are busy together will be stopped in between",
            facts,
            "give the container whole cores (docker: --cpuset-cpus) in place of a quota (--cpus)",
        )
    if facts.usable < 2:
        return found(
            "warning",
            f"{says}: one gpulet fits, and clients and daemons share its core",
            facts,
            "give glet at least 2 cores",
        )
    return found("ok", says, facts)


def siblings(core: int, topology: Path = TOPOLOGY) -> str:
    """What is the same for the hardware threads of one core, and differs otherwise."""
    path = topology / f"cpu{core}" / "topology" / "thread_siblings_list"
    with suppress(OSError):
        return path.read_text(encoding="utf-8").strip()
    return str(core)


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """`limit_mb` is what a container allows, None where that is no less than the machine has."""

    total_mb: int
    available_mb: int
    limit_mb: int | None


def memory(wish: Wish) -> Finding:
    """What is free for models, of the machine and of the container."""
    host = psutil.virtual_memory()
    limit = memory_limit()
    if limit is None or limit.limit_bytes >= host.total:
        return judge_memory(
            Memory(total_mb=host.total // MB, available_mb=host.available // MB, limit_mb=None)
        )
    return judge_memory(
        Memory(
            total_mb=host.total // MB,
            available_mb=min(host.available, limit.free_bytes) // MB,
            limit_mb=limit.limit_bytes // MB,
        )
    )


def judge_memory(facts: Memory) -> Finding:
    """An executor with torch's library takes 0.3 GB before its first model."""
    whole_mb = facts.total_mb if facts.limit_mb is None else facts.limit_mb
    says = f"{_gb(facts.available_mb)} of {_gb(whole_mb)} GB free"
    if facts.limit_mb is not None:
        says += f"; the container's limit, the host has {_gb(facts.total_mb)} GB"
    if facts.available_mb < LOW_MEMORY_MB:
        return found("warning", f"only {says}", facts, "free memory, or serve fewer models")
    return found("ok", says, facts)


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """`busy` is the average of the last minute of tasks that run or want to."""

    busy: float
    host: int


def load(wish: Wish) -> Finding:
    """Whether something else works here."""
    return judge_load(Load(busy=round(os.getloadavg()[0], 2), host=os.cpu_count() or 1))


def judge_load(facts: Load) -> Finding:
    """Beside other work, latencies and profiles are those of a slower machine."""
    says = f"load average {facts.busy:.2f} on {_count(facts.host, 'core')}"
    if facts.busy >= BUSY_SHARE * facts.host:
        return found(
            "warning",
            f"{says}: something else is working here, and what is measured now will be too slow",
            facts,
            "look with top; measure profiles on an idle machine",
        )
    return found("ok", f"{says}: nothing else of weight runs here", facts)


class Waking(msgspec.Struct, frozen=True, kw_only=True):
    """How finely time is told, and how late threads wake after sleeping for a millisecond."""

    resolution_ns: float
    timer_slack_ns: int
    late_median_ms: float
    late_p99_ms: float


def clock(wish: Wish) -> Finding:
    """Resolution, timer slack, lateness of sleeping threads."""
    late_ms = lateness_ms(SystemClock(), SLEEPS)
    return judge_clock(
        Waking(
            resolution_ns=time.get_clock_info("monotonic").resolution * 1e9,
            timer_slack_ns=int(ctypes.CDLL(None).prctl(_PR_GET_TIMERSLACK, 0, 0, 0, 0)),
            late_median_ms=round(float(np.median(late_ms)), 3),
            late_p99_ms=round(float(np.quantile(late_ms, 0.99)), 3),
        )
    )


def lateness_ms(clock: Clock, sleeps: int) -> list[float]:
    """By how much each of `sleeps` sleeps of a millisecond was too long."""
    late = []
    for _ in range(sleeps):
        start_s = clock.now_s()
        clock.sleep_s(SLEEP_S)
        late.append((clock.now_s() - start_s - SLEEP_S) * 1e3)
    return late


def judge_clock(facts: Waking) -> Finding:
    """Batches start when a thread wakes, so its lateness is added to every latency."""
    says = (
        f"a sleeping thread wakes {facts.late_median_ms:.2f} ms late (p99 "
        f"{facts.late_p99_ms:.2f} ms); timer slack {facts.timer_slack_ns / 1e3:g} us"
    )
    if facts.resolution_ns > COARSE_NS:
        return found(
            "warning",
            f"the clock only tells {facts.resolution_ns / 1e3:g} us apart; {says}",
            facts,
            "use another clock source: /sys/devices/system/clocksource/clocksource0",
        )
    if facts.late_median_ms > LATE_MEDIAN_MS or facts.late_p99_ms > LATE_P99_MS:
        return found(
            "warning",
            says,
            facts,
            "leave a core to glet alone, or raise margin_ms in cluster.toml by as much",
        )
    return found("ok", says, facts)


class OpenFiles(msgspec.Struct, frozen=True, kw_only=True):
    """How many this process may have open, and how far it may raise that itself."""

    limit: int
    most: int


def open_files(wish: Wish) -> Finding:
    """Every client is an open file of the frontend."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    largest = 1 << 30
    return judge_open_files(
        OpenFiles(
            limit=largest if limit == unlimited else limit,
            most=largest if most == unlimited else most,
        )
    )


def judge_open_files(facts: OpenFiles) -> Finding:
    """A frontend needs one per client and about 50 of its own."""
    says = f"{facts.limit} files and connections may be open at once"
    if facts.limit >= FEWEST_FILES:
        return found("ok", says, facts)
    do = f"ulimit -n {min(facts.most, ENOUGH_FILES)}"
    if facts.most < FEWEST_FILES:
        do = "have root raise it: LimitNOFILE= in the unit file, docker: --ulimit nofile=4096"
    return found("warning", f"only {says}, and every client is one", facts, do)


class Folders(msgspec.Struct, frozen=True, kw_only=True):
    """Where sockets lie; `problem` says why they cannot. None: no shared memory can be written."""

    run: str
    problem: str
    run_free_mb: int
    shared_memory_free_mb: int | None


def folders(wish: Wish) -> Finding:
    """Makes a run directory as a daemon would, and removes it."""
    problem = ""
    run = tempfile.gettempdir()
    try:
        RunDir(None).close()
    except ConfigError as error:
        problem = str(error)
    return judge_folders(
        Folders(
            run=run,
            problem=problem,
            run_free_mb=shutil.disk_usage(run).free // MB,
            shared_memory_free_mb=_shared_memory_mb(SHARED_MEMORY),
        )
    )


def judge_folders(facts: Folders) -> Finding:
    """Without a run directory no daemon starts; shared memory is for MPS and torch."""
    if facts.problem:
        return found("failed", facts.problem, facts, "set TMPDIR to a folder you may write to")
    says = f"sockets can lie in {facts.run}, {_gb(facts.run_free_mb)} GB free"
    if facts.run_free_mb < LOW_DISK_MB:
        return found("warning", f"{says}: that is little", facts, f"make room in {facts.run}")
    if facts.shared_memory_free_mb is None:
        return found(
            "warning",
            f"{says}; {SHARED_MEMORY} cannot be written to",
            facts,
            "mount it (docker: --shm-size or --ipc=host): MPS and libraries need it",
        )
    return found("ok", f"{says}; shared memory: {_gb(facts.shared_memory_free_mb)} GB free", facts)


def _shared_memory_mb(folder: Path) -> int | None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return shutil.disk_usage(folder).free // MB
    except OSError:
        return None


def _gb(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
