"""Traffic that moves, served by glet, by a plan that stands, and at the published cadence.

Five models over ten minutes: one rises and falls, one has a burst of three times its rate, one
falls, one appears, one stops. All systems get the very same arrivals (Poisson), one after the
other: `glet` follows the measured rates, `static` serves glet's plan for the mean rates and
`static-peak` for the largest ones, `published` plans every 20 s by the rules of the published
gpulet prototype and needs 10 s to reorganise. Goodput is what is answered within the SLO of the
intended time. --png draws it per second. `--device cpu` does the same with three real networks on
the gpulets of this machine's cores, with rates that two cores carry.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from emulated import PROFILE, emulated_cluster, make_repository
from numpy.typing import NDArray
from result import ROOT, emit
from rig import CACHE, load_average

from glet.client import Client
from glet.clock import SystemClock
from glet.config.cluster import BackendConfig, ClusterConfig, ControlConfig
from glet.native import core
from glet.observe.report import Outcome
from glet.plan import model_list
from glet.plan.glet import GletPlanner
from glet.plan.problem import Device, DeviceType, MemoryRules, Problem, Rules, Task
from glet.profiles.latency_csv import read
from glet.serve.up import LocalCluster
from glet.wire.zmq_path import libzmq_path

Script = Mapping[str, Sequence[tuple[float, float]]]


class Bed(NamedTuple):
    """What is served on what. `script`: rates in requests/s at points of the run (0..1), straight
    lines between them; `changes` is where a rate jumps."""

    profile: Path
    shares: tuple[int, ...]
    slos_ms: Mapping[str, float]
    script: Script
    changes: tuple[float, ...]


BEDS = {
    "emulated": Bed(
        profile=PROFILE,
        shares=tuple(range(5, 101, 5)),
        slos_ms={
            "googlenet": 66.0,
            "resnet50": 108.0,
            "vgg16": 142.0,
            "mobilenet_v2": 64.0,
            "ssd-mobilenetv1": 202.0,
        },
        script={
            "googlenet": ((0.0, 100), (0.1, 100), (0.4, 500), (0.55, 500), (0.8, 100), (1.0, 100)),
            "resnet50": ((0.0, 120), (0.3, 120), (0.3, 360), (0.35, 360), (0.35, 120), (1.0, 120)),
            "vgg16": ((0.0, 160), (0.2, 160), (0.6, 40), (1.0, 40)),
            "mobilenet_v2": ((0.0, 0), (0.5, 0), (0.5, 250), (1.0, 250)),
            "ssd-mobilenetv1": ((0.0, 80), (0.7, 80), (0.7, 0), (1.0, 0)),
        },
        changes=(0.3, 0.35, 0.5, 0.7),
    ),
    # Real networks on the two cores that also send, route and count: no more than they carry.
    "cpu": Bed(
        profile=ROOT / "profiles" / "cpu-2core",
        shares=(50, 100),
        slos_ms={"lenet": 25.0, "bert_tiny": 25.0, "mobilenet_v2": 150.0},
        script={
            "lenet": ((0.0, 100), (0.5, 300), (1.0, 100)),
            "bert_tiny": ((0.0, 150), (0.4, 150), (0.4, 450), (0.55, 450), (0.55, 150), (1.0, 150)),
            "mobilenet_v2": ((0.0, 5), (0.25, 5), (0.25, 25), (0.75, 25), (0.75, 0), (1.0, 0)),
        },
        changes=(0.25, 0.4, 0.55, 0.75),
    ),
}
AFTER_CHANGE_S = 10.0
SYSTEMS = ("glet", "static", "static-peak", "published")
SETTLE_S = 3.0
POLL_S = 0.1
NS = 1e9

Array = NDArray[np.float64]


class Run(NamedTuple):
    """What a system made of the arrivals."""

    records: Any
    rounds: list[dict[str, Any]]


def rates_rps(points: Sequence[tuple[float, float]], at: Array) -> Array:
    """A script's rate at these points (0..1)."""
    # A jump is two values at one point: the later one holds from there on.
    places = np.array([place + 1e-9 * index for index, (place, _) in enumerate(points)])
    values = np.array([value for _, value in points], dtype=np.float64)
    return np.interp(at, places, values)


def arrivals_ns(script: Script, seconds: float, seed: int) -> dict[str, NDArray[np.int64]]:
    """Poisson arrivals by thinning, the same for every system."""
    found = {}
    for number, (model, points) in enumerate(script.items()):
        rng = np.random.default_rng([seed, number])
        most = max(value for _, value in points)
        times = np.sort(rng.random(rng.poisson(most * seconds)) * seconds)
        keep = rng.random(len(times)) * most < rates_rps(points, times / seconds)
        found[model] = (times[keep] * NS).astype(np.int64)
    return found


def planned_rates(system: str, script: Script) -> dict[str, float]:
    """What a plan that stands is made for: the mean or the largest rate of each model."""
    at = np.linspace(0.0, 1.0, 6001)
    how = np.max if system == "static-peak" else np.mean
    return {model: float(how(rates_rps(points, at))) for model, points in script.items()}


def write_plan(file: Path, rates: Mapping[str, float], bed: Bed, args: argparse.Namespace) -> None:
    kind = DeviceType(profile=read(bed.profile).device, shares=bed.shares)
    problem = Problem(
        tasks=tuple(
            Task(model=model, rate_rps=rate * args.headroom, slo_ms=bed.slos_ms[model])
            for model, rate in rates.items()
        ),
        devices=tuple(Device(number=number, type=kind.name) for number in range(args.devices)),
        types={kind.name: kind},
        rules=Rules(memory=MemoryRules(shared_weights=True)),
    )
    plan = GletPlanner().plan(problem)
    if plan.unmet:
        print(f"the plan leaves out {plan.unmet}", file=sys.stderr)
    file.write_text(model_list.render(plan.gpulets), encoding="utf-8")


def control_config(system: str, record: str) -> ControlConfig:
    if system == "glet":
        return ControlConfig(mode="follow", record=record)
    if system != "published":
        return ControlConfig(mode="static", record=record)
    return ControlConfig(
        mode="published",
        planner="elastic",
        epoch_s=20.0,
        reorganise_s=10.0,
        mean_s=20.0,
        peak_s=30.0,
        triggers=False,
        correct=False,
        record=record,
    )


def cluster_config(system: str, folder: Path, args: argparse.Namespace) -> ClusterConfig:
    bed = BEDS[args.device]
    settings: dict[str, Any] = {
        "control": control_config(system, str(folder / f"{system}.jsonl")),
    }
    if system in ("static", "static-peak"):
        plan = folder / f"{system}.txt"
        write_plan(plan, planned_rates(system, bed.script), bed, args)
        settings["plan"] = str(plan)
    if args.device == "emulated":
        models = make_repository(folder / "models", bed.slos_ms)
        return emulated_cluster(models, args.devices, **settings)
    return ClusterConfig(
        listen="tcp://127.0.0.1:0",
        models=str(exported(bed.slos_ms)),
        cache=str(CACHE),
        partition="cpu",
        backend=(BackendConfig(profile=str(bed.profile)),),
        **settings,
    )


def exported(names: Iterable[str]) -> Path:
    """The sample models, made where they are not there yet."""
    folder = ROOT / "build" / "bench" / "zoo"
    missing = [name for name in names if not (folder / name / "model.toml").exists()]
    if missing:
        command = [sys.executable, "-m", "glet.cli.main", "models", "export", *missing]
        subprocess.run([*command, "--to", str(folder)], check=True, stdout=subprocess.DEVNULL)
    return folder


def samples(client: Client) -> dict[str, list[tuple[str, Any]]]:
    """Zeros for every model that is served."""
    return {
        name: [(each, np.zeros(shape, dtype=dtype)) for each, dtype, shape in model["inputs"]]
        for name, model in client.models().items()
    }


def run(system: str, arrivals: Mapping[str, Any], args: argparse.Namespace) -> Run:
    with tempfile.TemporaryDirectory(prefix="follow-") as name:
        folder = Path(name)
        config = cluster_config(system, folder, args)
        with LocalCluster(config, SystemClock()) as cluster:
            with Client(cluster.endpoint) as client:
                inputs = samples(client)
                for model in arrivals:
                    client.infer(model, dict(inputs[model]), deadline_ms=5000.0)
            loop = core.LoadLoop(libzmq_path(), cluster.endpoint, connections=2)
            for model, times in arrivals.items():
                loop.add_model(model, [inputs[model]], arrivals_ns=times + int(SETTLE_S * NS))
            loop.start_open()
            try:
                while not loop.wait(0.0):
                    cluster.poll(POLL_S)
                records = loop.records()
            finally:
                loop.close()
        lines = (folder / f"{system}.jsonl").read_text(encoding="utf-8").splitlines()
    records = records.copy()
    records["intended_ns"] -= int(SETTLE_S * NS)
    records["answered_ns"] -= int(SETTLE_S * NS)
    return Run(records, [json.loads(line) for line in lines])


def is_good(records: Any, bed: Bed) -> NDArray[np.bool_]:
    slos_ns = np.array([bed.slos_ms[model] for model in bed.script]) * 1e6
    within = records["answered_ns"] - records["intended_ns"] <= slos_ns[records["model"]]
    return np.asarray((records["outcome"] == Outcome.OK) & within)


def per_second(records: Any, seconds: float, which: Any) -> Array:
    """Requests by the second that they were meant for."""
    at_s = records["intended_ns"][which] / NS
    return np.histogram(at_s, bins=np.arange(0.0, np.ceil(seconds) + 1.0))[0].astype(np.float64)


def violation(bad: Any, which: Any) -> float:
    """The part of these requests that was not good; 0 when there are none."""
    return float(np.mean(bad[which])) if np.any(which) else 0.0


def device_seconds(rounds: Sequence[Mapping[str, Any]], seconds: float) -> float:
    """From the record of the control loop: how long how many devices hosted anything.

    Of the last `seconds`: before them models were compiled and loaded.
    """
    seen = [line["observation"] for line in rounds if line.get("observation") is not None]
    total, last = 0.0, None
    for observation in seen:
        if last is not None and observation["now_s"] > seen[-1]["now_s"] - seconds:
            used = sum(bool(device["gpulets"]) for device in observation["devices"])
            total += used * (observation["now_s"] - last)
        last = observation["now_s"]
    return total


def report(system: str, found: Run, args: argparse.Namespace) -> None:
    records = found.records
    bed = BEDS[args.device]
    bad = ~is_good(records, bed)
    at_s = records["intended_ns"] / NS
    after = np.zeros(len(records), dtype=bool)
    for change in bed.changes:
        start_s = change * args.seconds
        after |= (at_s >= start_s) & (at_s < start_s + AFTER_CHANGE_S)
    worst = {
        model: violation(bad, records["model"] == number) for number, model in enumerate(bed.script)
    }
    name = max(worst, key=lambda model: worst[model])
    emit(
        "follow",
        {
            "system": system,
            "device": args.device,
            "seconds": args.seconds,
            "devices": args.devices,
            "seed": args.seed,
        },
        sent=len(records),
        goodput_rps=float(np.count_nonzero(~bad)) / args.seconds,
        violation_pct=100.0 * float(np.mean(bad)),
        after_changes_pct=100.0 * violation(bad, after),
        otherwise_pct=100.0 * violation(bad, ~after),
        worst_model=name,
        worst_model_pct=100.0 * worst[name],
        unanswered=int(np.count_nonzero(records["outcome"] == Outcome.UNANSWERED)),
        plan_changes=sum(line.get("plan") is not None for line in found.rounds),
        device_seconds=device_seconds(found.rounds, args.seconds),
        load=load_average(),
    )


def draw(runs: Mapping[str, Run], args: argparse.Namespace) -> None:
    """Offered and good requests per second, a row per system; what is lost is red."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(runs), 1, figsize=(11, 2.3 * len(runs) + 0.6), sharex=True, squeeze=False
    )
    for axis, (system, found) in zip(axes[:, 0], runs.items(), strict=True):
        good = is_good(found.records, BEDS[args.device])
        offered = per_second(found.records, args.seconds, np.ones(len(good), dtype=bool))
        goodput = per_second(found.records, args.seconds, good)
        seconds = np.arange(len(offered)) + 0.5
        axis.fill_between(seconds, goodput, offered, color="#d62728", linewidth=0, label="lost")
        axis.plot(seconds, goodput, color="#1f77b4", linewidth=0.8, label="goodput")
        for change in BEDS[args.device].changes:
            axis.axvline(change * args.seconds, color="#999999", linewidth=0.6, linestyle=":")
        lost = 100.0 * (1.0 - goodput.sum() / max(1.0, offered.sum()))
        axis.set_title(f"{system}: {lost:.2f} % of requests not within their SLO", fontsize=9)
        axis.set_ylabel("requests/s", fontsize=8)
        axis.set_ylim(bottom=0)
        axis.legend(loc="upper left", fontsize=7, frameon=False)
    axes[-1, 0].set_xlabel("seconds; dotted: a rate jumps", fontsize=8)
    figure.tight_layout()
    args.png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.png, dpi=110)
    print(f"written: {args.png}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="of the script")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--device", choices=tuple(BEDS), default="emulated")
    parser.add_argument("--devices", type=int, help="default: 4, and of the CPU there is 1")
    parser.add_argument("--headroom", type=float, default=1.2, help="of the plans that stand")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--png", type=Path, default=ROOT / "build" / "bench" / "follow.png")
    args = parser.parse_args()
    args.devices = 1 if args.device == "cpu" else args.devices or 4
    arrivals = arrivals_ns(BEDS[args.device].script, args.seconds, args.seed)
    runs = {}
    for system in args.systems:
        runs[system] = run(system, arrivals, args)
        report(system, runs[system], args)
    draw(runs, args)


if __name__ == "__main__":
    main()
