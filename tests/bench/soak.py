"""A long time under load with constant re-planning: does memory stay flat?

Emulated devices follow traffic that rises and falls every two minutes, so that gpulets come, go and
change size all the time. Memory (proportional set size) of every process is taken every few
seconds; the slope is a straight line through what came after the warm-up, per role.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import psutil
from emulated import ROLES, emulated_cluster, make_repository, processes
from result import emit
from rig import load_average

from glet.clock import SystemClock
from glet.config.cluster import ControlConfig
from glet.native import core
from glet.observe.report import Outcome
from glet.serve.up import LocalCluster
from glet.wire.zmq_path import libzmq_path

# Model -> SLO in ms, and by how much its rate moves around the mean.
MODELS = {
    "googlenet": (66.0, 0.9),
    "resnet50": (108.0, 0.7),
    "vgg16": (142.0, 0.8),
    "mobilenet_v2": (64.0, 1.0),
}
PERIOD_S = 120.0
EVERY_S = 5.0
WARM_UP = 0.2
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
POLL_S = 0.1
SAMPLE = [("x", np.zeros(4, dtype=np.float32))]
Memory = dict[str, list[tuple[float, float]]]


def arrivals_ns(rate_rps: float, swing: float, seconds: float, phase: float) -> "np.ndarray":
    """Poisson arrivals whose rate is a sine around the mean."""
    rng = np.random.default_rng(int(1000 * phase))
    most = rate_rps * (1.0 + swing)
    times = np.sort(rng.random(rng.poisson(most * seconds)) * seconds)
    rate = rate_rps * (1.0 + swing * np.sin(2.0 * np.pi * (times / PERIOD_S + phase)))
    return (times[rng.random(len(times)) * most < rate] * 1e9).astype(np.int64)


def memory_mb(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss) / 1e6
    except psutil.NoSuchProcess:
        return 0.0


def take(local: LocalCluster, at_s: float, found: Memory) -> None:
    for role in ROLES:
        there = processes(local, role)
        if there:
            # Executors come and go with their devices: what one of them costs is what may grow.
            mean_mb = sum(map(memory_mb, there)) / len(there)
            found[role].append((at_s, mean_mb))


def slope_mb_per_hour(points: list[tuple[float, float]], seconds: float) -> float:
    late = np.array([point for point in points if point[0] >= WARM_UP * seconds])
    if len(late) < 3:
        return float("nan")
    return float(np.polyfit(late[:, 0], late[:, 1], 1)[0] * 3600.0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--rate", type=float, default=600.0, help="mean requests/s of all models")
    parser.add_argument("--devices", type=int, default=3)
    args = parser.parse_args()
    found: Memory = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        record = Path(name) / "record.jsonl"
        models = make_repository(
            Path(name) / "models", {model: slo_ms for model, (slo_ms, _) in MODELS.items()}
        )
        control = ControlConfig(mode="follow", record=str(record), shrink_after_s=5.0)
        config = emulated_cluster(models, args.devices, control=control)
        with LocalCluster(config, SystemClock()) as local:
            loop = core.LoadLoop(libzmq_path(), local.endpoint, connections=2)
            for number, (model, (_, swing)) in enumerate(MODELS.items()):
                rate_rps = args.rate / len(MODELS)
                times = arrivals_ns(rate_rps, swing, args.seconds, number / len(MODELS))
                loop.add_model(model, [SAMPLE], arrivals_ns=times)
            loop.start_open()
            start_s = next_s = time.monotonic()
            try:
                while not loop.wait(0.0):
                    local.poll(POLL_S)
                    if time.monotonic() >= next_s:
                        take(local, time.monotonic() - start_s, found)
                        next_s += EVERY_S
                records = loop.records()
            finally:
                loop.close()
        rounds = [json.loads(line) for line in record.read_text().splitlines()]
        changes = sum(line.get("plan") is not None for line in rounds)
    outcomes = Counter(Outcome(int(number)).name.lower() for number in records["outcome"])
    emit(
        "soak",
        {"seconds": args.seconds, "devices": args.devices, "rate": args.rate},
        sent=len(records),
        outcomes=dict(outcomes),
        unanswered=outcomes.get("unanswered", 0),
        plan_changes=changes,
        memory_mb={
            role: [round(points[int(part * (len(points) - 1))][1], 1) for part in QUARTERS]
            for role, points in found.items()
        },
        slope_mb_per_hour={
            role: round(slope_mb_per_hour(points, args.seconds), 2)
            for role, points in found.items()
        },
        load=load_average(),
    )
    if outcomes.get("unanswered", 0):
        sys.exit("requests were not answered")


if __name__ == "__main__":
    main()
