"""Where the time goes: CPU microseconds per request of every thread, 16-float echo in closed loop.

The client is the core's load loop. `--perf` also prints the functions that take most of each
thread, with Linux perf.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from result import emit
from rig import SETTLE_S, SHARE_PCT, Served, load_average, sample, serve

from glet.native import core
from glet.wire.zmq_path import libzmq_path

TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")


class ThreadTime(NamedTuple):
    """What a thread has used since it started."""

    name: str
    run_us: float
    user_us: float
    system_us: float
    wait_us: float  # ready to run, and no core free
    sleeps: int
    preempted: int

    def since(self, before: "ThreadTime | None") -> "ThreadTime":
        if before is None:
            return self
        pairs = zip(self[1:], before[1:], strict=True)
        return ThreadTime(self.name, *(after - then for after, then in pairs))


def thread_times(pid: int) -> dict[int, ThreadTime]:
    return {int(task.name): one_thread(task) for task in Path(f"/proc/{pid}/task").iterdir()}


def one_thread(task: Path) -> ThreadTime:
    fields = (task / "stat").read_text().rpartition(")")[2].split()
    run_ns, wait_ns = (task / "schedstat").read_text().split()[:2]
    status = dict(line.split(":\t") for line in (task / "status").read_text().splitlines())
    return ThreadTime(
        (task / "comm").read_text().strip(),
        int(run_ns) / 1e3,
        int(fields[11]) * TICK_US,
        int(fields[12]) * TICK_US,
        int(wait_ns) / 1e3,
        int(status["voluntary_ctxt_switches"]),
        int(status["nonvoluntary_ctxt_switches"]),
    )


class Window(NamedTuple):
    """What all threads did while `requests` were answered."""

    seconds: float
    requests: int
    threads: dict[tuple[str, int], ThreadTime]


def watch(served: Served, in_flight: int, seconds: float, perf: Path | None) -> Window:
    pids = {"client": os.getpid(), **served.pids}
    loop = core.LoadLoop(libzmq_path(), served.endpoint)
    try:
        loop.add_model("echo", [sample("echo")])
        loop.start_closed(in_flight, duration_s=seconds + 2 * SETTLE_S)
        time.sleep(SETTLE_S)
        before = {role: thread_times(pid) for role, pid in pids.items()}
        start, answered = time.perf_counter(), loop.progress()[0]["ok"]
        if perf is None:
            time.sleep(seconds)
        else:
            record(perf, pids, seconds)
        took = time.perf_counter() - start
        requests = loop.progress()[0]["ok"] - answered
        threads = {
            (role, tid): now.since(before[role].get(tid))
            for role, pid in pids.items()
            for tid, now in thread_times(pid).items()
        }
    finally:
        loop.close()
    return Window(took, requests, threads)


def report(window: Window, params: dict[str, object]) -> None:
    total = 0.0
    rows = sorted(window.threads.items(), key=lambda row: -row[1].run_us)
    for (role, _), used in rows:
        total += used.run_us
        if used.run_us < 1e-3 * window.seconds * 1e6:
            continue
        per_request = {
            key: getattr(used, key) / window.requests
            for key in ("run_us", "wait_us", "sleeps", "preempted")
        }
        spent = used.user_us + used.system_us
        emit(
            "cpu_profile",
            {**params, "process": role, "thread": used.name},
            **per_request,
            system_part=used.system_us / spent if spent else 0.0,
        )
    emit(
        "cpu_profile",
        {**params, "process": "all", "thread": "all"},
        run_us=total / window.requests,
        requests_per_s=window.requests / window.seconds,
        load=load_average(),
    )


def record(file: Path, pids: dict[str, int], seconds: float) -> None:
    watched = ",".join(map(str, pids.values()))
    command = ["perf", "record", "-q", "-F", "2000", "-p", watched, "-o", str(file)]
    subprocess.run([*command, "--", "sleep", str(seconds)], check=True)


def print_perf(file: Path) -> None:
    command = ["perf", "report", "-q", "--stdio", "-i", str(file), "--percent-limit", "0.4"]
    subprocess.run([*command, "--sort", "comm,dso,symbol"], check=True, stderr=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=1, help="the last one is shown")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--transport", choices=("tcp", "ipc"), default="tcp")
    parser.add_argument("--perf", action="store_true")
    args = parser.parse_args()
    if args.perf and shutil.which("perf") is None:
        sys.exit("--perf needs Linux perf: apt-get install linux-perf")
    params = {
        "in_flight": args.in_flight,
        "transport": args.transport,
        "seconds": args.seconds,
        "share_pct": SHARE_PCT,
    }
    with tempfile.TemporaryDirectory() as folder, serve("echo", transport=args.transport) as served:
        for _ in range(args.rounds):
            window = watch(served, args.in_flight, args.seconds, None)
        report(window, params)
        if args.perf:
            file = Path(folder) / "perf.data"
            watch(served, args.in_flight, args.seconds, file)
            print_perf(file)


if __name__ == "__main__":
    main()
