"""Random faults under load: what is lost (nothing may be), and how long until all serves again.

A cluster of emulated devices follows its traffic. One after the other, a process of it is killed
(SIGKILL) or frozen (SIGSTOP): an executor, a backend, the frontend or the controller. After each
fault every model is asked until all answer ok again and every process is there. At the end nothing
may be left: no process, no socket, no file, no shared memory.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from emulated import ROLES, emulated_cluster, existing, make_repository, processes
from result import emit
from rig import load_average

from glet.client import Client
from glet.clock import SystemClock
from glet.config.cluster import ControlConfig
from glet.errors import GletError
from glet.native import core
from glet.observe.report import Outcome
from glet.serve.up import LocalCluster
from glet.wire.zmq_path import libzmq_path

SLOS_MS = {"googlenet": 66.0, "resnet50": 108.0, "vgg16": 142.0}
SAMPLE = [("x", np.zeros(4, dtype=np.float32))]
SIGNALS = {"killed": signal.SIGKILL, "frozen": signal.SIGSTOP}
LASTING = [role for role in ROLES if role != "executor"]
CALM_S = (1.0, 3.0)
BACK_LIMIT_S = 60.0
DRAIN_S = 15.0
POLL_S = 0.02


class Cluster:
    """The cluster under test, as its supervisor and as its client."""

    def __init__(self, local: LocalCluster, client: Client) -> None:
        self._local = local
        self._client = client

    def poll(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self._local.poll(POLL_S)

    def processes(self, role: str) -> list[psutil.Process]:
        """Those of a role that live now."""
        return processes(self._local, role)

    def is_whole(self, count: dict[str, int]) -> bool:
        """Whether all processes are there, all executors ready, and every model answers ok."""
        if any(len(self.processes(role)) < count[role] for role in LASTING):
            return False
        try:
            executors = self._client.stats()["executors"]
            for model in SLOS_MS:
                self._client.infer(model, dict(SAMPLE))
        except GletError:
            return False
        # How many devices are in use, and so how many executors there are, follows the traffic.
        ready = [executor["pid"] for executor in executors if executor["state"] == "ready"]
        return 0 < len(executors) == len(ready) <= len(existing(ready))

    def until_whole(self, count: dict[str, int]) -> float:
        """Seconds until it is whole; NaN when it is not within BACK_LIMIT_S."""
        start_s = time.monotonic()
        while not self.is_whole(count):
            if time.monotonic() - start_s > BACK_LIMIT_S:
                return float("nan")
            self.poll(POLL_S)
        return time.monotonic() - start_s


def left_over() -> dict[str, set[str]]:
    """What a cluster could leave behind on this machine."""
    mine = psutil.Process().children(recursive=True)
    return {
        "processes": {f"{child.pid} {' '.join(child.cmdline()[:4])}" for child in mine},
        "folders": {str(path) for path in Path(tempfile.gettempdir()).glob("glet-*")},
        "shared_memory": {str(path) for path in Path("/dev/shm").iterdir()},
        "descriptors": {link(path) for path in Path("/proc/self/fd").iterdir()},
    }


def link(path: Path) -> str:
    """What a descriptor is, without what differs between two of a kind."""
    try:
        target = os.readlink(path)
    except OSError:
        return ""
    return target if target.startswith("/") else ""


def faults(
    cluster: Cluster, rng: np.random.Generator, until_s: float, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """One fault after the other until the time is over."""
    count = {role: len(cluster.processes(role)) for role in LASTING}
    found: list[dict[str, Any]] = []
    while time.monotonic() < until_s:
        cluster.poll(float(rng.uniform(*CALM_S)))
        role = ROLES[int(rng.integers(len(ROLES)))]
        how = list(SIGNALS)[int(rng.integers(len(SIGNALS)))]
        victims = cluster.processes(role)
        if not victims:
            continue
        victim = victims[int(rng.integers(len(victims)))]
        victim.send_signal(SIGNALS[how])
        # A frozen process is there until somebody ends it; until then the count says nothing.
        back_s = gone_s(cluster, victim) + cluster.until_whole(count)
        say(f"{role} {how}: all serves again after {back_s:.2f} s")
        found.append({"role": role, "how": how, "back_s": back_s})
    return found


def gone_s(cluster: Cluster, victim: psutil.Process) -> float:
    start_s = time.monotonic()
    while existing([victim.pid]) and time.monotonic() - start_s < BACK_LIMIT_S:
        cluster.poll(POLL_S)
    return time.monotonic() - start_s


def arrivals_ns(rate_rps: float, seconds: float, rng: np.random.Generator) -> Any:
    gaps_s = rng.exponential(1.0 / rate_rps, int(seconds * rate_rps))
    return (np.cumsum(gaps_s) * 1e9).astype(np.int64)


def run(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(args.seed)
    models = make_repository(folder / "models", SLOS_MS)
    config = emulated_cluster(models, args.devices, control=ControlConfig(mode="follow"))
    report = (lambda line: print(line, file=sys.stderr)) if args.verbose else (lambda line: None)
    with LocalCluster(config, SystemClock(), report) as local, Client(local.endpoint) as client:
        cluster = Cluster(local, client)
        cluster.until_whole(dict.fromkeys(LASTING, 1))
        loop = core.LoadLoop(libzmq_path(), local.endpoint, connections=2, drain_s=DRAIN_S)
        for model in SLOS_MS:
            # Enough for the longest run: stop() ends it.
            times = arrivals_ns(args.rate / len(SLOS_MS), args.seconds + 300.0, rng)
            loop.add_model(model, [SAMPLE], arrivals_ns=times)
        loop.start_open()
        try:
            happened = faults(cluster, rng, time.monotonic() + args.seconds, report)
            loop.stop()
            while not loop.wait(0.0):
                cluster.poll(POLL_S)
            records = loop.records()
        finally:
            loop.close()
    outcomes = Counter(Outcome(int(number)).name.lower() for number in records["outcome"])
    return {"faults": happened, "sent": len(records), "outcomes": dict(outcomes)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=120.0, help="of faults (default: 120)")
    parser.add_argument("--rate", type=float, default=150.0, help="requests/s of all models")
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="say each fault as it happens")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        # Whatever it makes lies there, so that others on this machine are not taken for it.
        tempfile.tempdir = folder
        before = left_over()
        found = run(args, Path(folder))
        after = left_over()
        tempfile.tempdir = None
    left = {kind: sorted(after[kind] - before[kind]) for kind in after}
    back_s = np.array([fault["back_s"] for fault in found["faults"]])
    emit(
        "chaos",
        {"seconds": args.seconds, "seed": args.seed, "devices": args.devices, "rate": args.rate},
        faults=len(found["faults"]),
        by_kind=dict(Counter(f"{fault['role']} {fault['how']}" for fault in found["faults"])),
        sent=found["sent"],
        outcomes=found["outcomes"],
        unanswered=found["outcomes"].get("unanswered", 0),
        not_back=int(np.count_nonzero(np.isnan(back_s))),
        back_median_s=float(np.nanmedian(back_s)) if len(back_s) else 0.0,
        back_max_s=float(np.nanmax(back_s)) if len(back_s) else 0.0,
        left=left,
        load=load_average(),
    )
    return int(any(left.values()) or found["outcomes"].get("unanswered", 0) > 0)


if __name__ == "__main__":
    sys.exit(main())
