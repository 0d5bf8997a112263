"""One scenario in the simulator and live: the same arrivals, first plan and control loop.

Live are real daemons; `--device emulated` (the default) runs two devices of a made-up profile whose
batches take tens to hundreds of milliseconds, `--device cpu` real networks on this machine's cores,
simulated by the profile `cpu-2core`. Both sides get the very same arrival times (Poisson, drawn
once), hold their rounds at the same times after the first, and begin with the plan that the
simulated loop makes for no traffic. Without `--triggers` rounds are held by the clock alone: on a
busy machine queues grow that a simulation does not have. For the same reason latencies are planned
with as profiled, not as measured.

Compared at the end of every epoch: the rate that each model is planned for (what the policy
decided; for an autoscaler that says how many units, or replicas, a model has), how many devices
serve, and how much share is given out in all. An epoch agrees when each rate is within RATE_PART of
the simulated one, the devices are as many, and the share is within two units, at most LAG epochs
apart. How many gpulets the share is cut into depends on the order in which a few requests more or
less were seen: it is shown and not compared. Goodput is the part of the requests that was answered
within the objective, counted from the intended time.
"""

import argparse
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from emulated import make_repository
from follow import exported, samples
from numpy.typing import NDArray
from result import ROOT, emit
from rig import CACHE, load_average

from glet.client import Client
from glet.clock import SystemClock
from glet.config.cluster import (
    BackendConfig,
    ClusterConfig,
    ControlConfig,
    GpuletConfig,
    ModelShareConfig,
)
from glet.control.record import read_record
from glet.control.round import Round
from glet.native import core
from glet.observe.report import Outcome
from glet.serve.up import LocalCluster
from glet.sim.gpulet_run import run_gpulets
from glet.sim.scenario import (
    DeviceGroup,
    GpuletModel,
    GpuletsConfig,
    ReportConfig,
    Scenario,
    WorkloadConfig,
)
from glet.sim.traffic import traffic
from glet.types.plan import Plan
from glet.wire.zmq_path import libzmq_path

Times = NDArray[np.float64]
Script = Sequence[tuple[float, float]]


class Bed(NamedTuple):
    """`script` by model: (from this part of the run on, requests/s)."""

    devices: int
    unit_pct: int
    slos_ms: Mapping[str, float]
    script: Mapping[str, Script]


BEDS = {
    "emulated": Bed(
        devices=2,
        unit_pct=10,
        slos_ms={"large": 2000.0, "small": 1500.0},
        script={
            "large": ((0.0, 3.0), (0.2, 24.0), (0.6, 3.0)),
            "small": ((0.0, 8.0), (0.4, 24.0), (0.8, 8.0)),
        },
    ),
    "cpu": Bed(
        devices=1,
        unit_pct=50,
        slos_ms={"lenet": 100.0, "bert_tiny": 100.0},
        script={
            "lenet": ((0.0, 20.0), (0.3, 120.0), (0.7, 20.0)),
            "bert_tiny": ((0.0, 20.0), (0.5, 100.0), (0.8, 20.0)),
        },
    ),
}
# Milliseconds of a batch: alone on the whole device, and what a request adds to a power of 0.7.
COSTS = {"large": (20.0, 20.0), "small": (10.0, 12.0)}
BATCHES = (1, 2, 4, 8)
SHARES = tuple(range(10, 101, 10))
LEAD_S = 10.0
# A multiple of the epoch and of how often autoscalers decide.
PERIOD_S = 20.0
AHEAD_S = 2.0
LAG = 2
RATE_PART = 0.25
OBSERVE_S = 0.25
POLL_S = 0.1
WAIT_S = 300.0
NS = 1e9


class Side(NamedTuple):
    """What one side made of it: rounds with times from the first arrival on, and outcomes."""

    rounds: list[tuple[float, Round]]
    sent: int
    good: int


def write_profile(folder: Path) -> Path:
    """Latency falls with the share and rises with the batch, by less than in proportion."""
    file = folder / "latency.csv"
    rows = [
        f"{model},{share},{batch},{base + each * batch**0.7 * 100.0 / share:.3f}\n"
        for model, (base, each) in COSTS.items()
        for share in SHARES
        for batch in BATCHES
    ]
    file.write_text("".join(rows), encoding="utf-8")
    return file


def arrivals_s(script: Script, seconds: float, rng: np.random.Generator) -> Times:
    """Poisson arrivals in [0, seconds)."""
    ends = [*(start for start, _ in script[1:]), 1.0]
    found = []
    for (start, rate_rps), end in zip(script, ends, strict=True):
        span_s = (end - start) * seconds
        count = rng.poisson(rate_rps * span_s)
        found.append(start * seconds + rng.random(count) * span_s)
    return np.sort(np.concatenate(found))


def write_times(file: Path, times_s: Mapping[str, Times]) -> None:
    """For the scenario: the arrivals, after the lead."""
    columns = [[f"{time + LEAD_S:.9f}" for time in times] for times in times_s.values()]
    longest = max(len(column) for column in columns)
    padded = [column + [""] * (longest - len(column)) for column in columns]
    lines = [",".join(times_s), *(",".join(row) for row in zip(*padded, strict=True))]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def control_of(args: argparse.Namespace, bed: Bed, record: str = "") -> ControlConfig:
    mode, _, autoscaler = args.policy.partition(":")
    return ControlConfig(
        mode=mode,
        autoscaler=autoscaler or "glet",
        unit_pct=bed.unit_pct,
        epoch_s=args.epoch,
        triggers=args.triggers,
        mean_s=2.0 * args.epoch,
        peak_s=args.epoch,
        shrink_after_s=2.0 * args.epoch,
        correct=False,
        record=record,
    )


def simulated(
    args: argparse.Namespace, bed: Bed, folder: Path, profile: str, batches: Mapping[str, int]
) -> Side:
    scenario = Scenario(
        gpulets=GpuletsConfig(
            devices=(DeviceGroup(profile=profile, count=bed.devices),),
            models={
                name: GpuletModel(slo_ms=slo_ms, max_batch=batches[name])
                for name, slo_ms in bed.slos_ms.items()
            },
            control=control_of(args, bed),
            observe_s=OBSERVE_S,
        ),
        workload=WorkloadConfig(times=str(folder / "times.csv"), interval_s=1.0),
        report=ReportConfig(interval_s=1.0),
    )
    rounds: list[tuple[float, Round]] = []
    outcome = run_gpulets(
        scenario,
        args.policy,
        0,
        traffic(scenario),
        lambda part: None,
        lambda held: rounds.append((held.now_s - LEAD_S, held)),
    )
    ledgers = [job.ledger for job in outcome.jobs.values()]
    sent, good = (
        int(sum(ledger[name].sum() for ledger in ledgers)) for name in ("offered", "within")
    )
    return Side(rounds, sent, good)


def tables(plan: Plan) -> tuple[GpuletConfig, ...]:
    """A plan as `[[gpulet]]` tables."""
    return tuple(
        GpuletConfig(
            device=gpulet.device,
            share_pct=gpulet.share_pct,
            models=tuple(
                ModelShareConfig(
                    model=share.model,
                    batch=share.batch,
                    rate_rps=share.rate_rps,
                    time_share=share.time_share,
                )
                for share in gpulet.models
            ),
        )
        for gpulet in plan.gpulets
    )


def first_round_s(record: Path, cluster: LocalCluster) -> float:
    """When the live loop held its first round, by the machine's clock."""
    clock = SystemClock()
    until_s = clock.now_s() + WAIT_S
    while clock.now_s() < until_s:
        cluster.poll(POLL_S)
        if record.exists() and record.stat().st_size:
            rounds = read_record(record)[-1].rounds
            if rounds:
                return rounds[0].now_s
    raise SystemExit(f"the control loop held no round within {WAIT_S:.0f} s")


def live(
    args: argparse.Namespace, bed: Bed, folder: Path, config: ClusterConfig, times_s: Any
) -> Side:
    record, clock = folder / "rounds.jsonl", SystemClock()
    with LocalCluster(config, clock) as cluster:
        with Client(cluster.endpoint) as client:
            inputs = samples(client)
        begin_s = first_round_s(record, cluster) + LEAD_S
        loop = core.LoadLoop(libzmq_path(), cluster.endpoint)
        try:
            # Models that had to be compiled make it later, but not at another point of the epochs.
            late_s = clock.now_s() + AHEAD_S - begin_s
            begin_s += PERIOD_S * max(0, math.ceil(late_s / PERIOD_S))
            ahead_s = begin_s - clock.now_s()
            for name, times in times_s.items():
                meant_ns = ((times + ahead_s) * NS).astype(np.int64)
                loop.add_model(name, [inputs[name]], arrivals_ns=meant_ns)
            loop.start_open()
            while not loop.wait(0.0):
                cluster.poll(POLL_S)
            records = loop.records()
        finally:
            loop.close()
        held = read_record(record)[-1].rounds
    slos_ns = np.array([bed.slos_ms[name] for name in times_s]) * 1e6
    within = records["answered_ns"] - records["intended_ns"] <= slos_ns[records["model"]]
    good = int(np.count_nonzero((records["outcome"] == Outcome.OK) & within))
    return Side([(one.now_s - begin_s, one) for one in held], len(records), good)


class Epoch(NamedTuple):
    """Rates planned for by model, gpulets that serve, their devices and their share in percent."""

    rates_rps: dict[str, float]
    gpulets: int
    devices: int
    share_pct: int

    def near(self, other: "Epoch", unit_pct: int) -> bool:
        return (
            self.devices == other.devices
            and abs(self.share_pct - other.share_pct) <= 2 * unit_pct
            and all(
                abs(rate - other.rates_rps[model]) <= RATE_PART * other.rates_rps[model] + 1.0
                for model, rate in self.rates_rps.items()
            )
        )


def epochs(side: Side, first: Plan, args: argparse.Namespace) -> list[Epoch]:
    """At the end of every epoch, what was decided last."""
    found = []
    for end_s in np.arange(args.epoch, args.seconds + 0.5 * args.epoch, args.epoch):
        held = [one for at_s, one in side.rounds if at_s <= end_s]
        plan = next((one.plan for one in reversed(held) if one.plan is not None), first)
        serving = [gpulet for gpulet in plan.gpulets if gpulet.models]
        found.append(
            Epoch(
                rates_rps={target.model: target.rate_rps for target in held[-1].targets},
                gpulets=len(serving),
                devices=len({gpulet.device for gpulet in serving}),
                share_pct=sum(gpulet.share_pct for gpulet in serving),
            )
        )
    return found


def agreeing(sim: Sequence[Epoch], real: Sequence[Epoch], unit_pct: int) -> list[bool]:
    """By epoch of the live side: see the top."""
    return [
        any(one.near(other, unit_pct) for other in sim[max(0, at - LAG) : at + LAG + 1])
        for at, one in enumerate(real)
    ]


def run(args: argparse.Namespace, folder: Path) -> None:
    bed = BEDS[args.device]
    rng = np.random.default_rng(args.seed)
    times_s = {name: arrivals_s(one, args.seconds, rng) for name, one in bed.script.items()}
    write_times(folder / "times.csv", times_s)
    if args.device == "emulated":
        profile = str(write_profile(folder))
        models = make_repository(folder / "models", bed.slos_ms, max(BATCHES))
        batches = dict.fromkeys(bed.slos_ms, max(BATCHES))
    else:
        profile = str(ROOT / "profiles" / "cpu-2core")
        models = exported(bed.slos_ms)
        batches = dict.fromkeys(bed.slos_ms, 0)
    sim = simulated(args, bed, folder, profile, batches)
    first = sim.rounds[0][1].plan or Plan()
    real = live(args, bed, folder, cluster_of(args, bed, folder, profile, models, first), times_s)
    report(args, bed, first, sim, real)


def cluster_of(
    args: argparse.Namespace, bed: Bed, folder: Path, profile: str, models: Path, first: Plan
) -> ClusterConfig:
    return ClusterConfig(
        listen="tcp://127.0.0.1:0",
        models=str(models),
        cache=str(CACHE) if args.device == "cpu" else "",
        partition="profiled" if args.device == "emulated" else "cpu",
        backend=tuple(BackendConfig(device=n, profile=profile) for n in range(bed.devices)),
        gpulet=tables(first),
        control=control_of(args, bed, str(folder / "rounds.jsonl")),
    )


def report(args: argparse.Namespace, bed: Bed, first: Plan, sim: Side, real: Side) -> None:
    """A table to read, and the line of JSON."""
    sides = [epochs(side, first, args) for side in (sim, real)]
    agree = agreeing(*sides, bed.unit_pct)
    rates = "  ".join(f"{f'rate of {model}/s':>18}" for model in bed.slos_ms)
    print(f"  end s  gpulets  devices   share, %  {rates}")
    for at, pair in enumerate(zip(*sides, strict=True)):
        one, other = pair
        planned = (
            f"{one.rates_rps[model]:9.1f} {other.rates_rps[model]:8.1f}" for model in bed.slos_ms
        )
        print(
            f"{(at + 1) * args.epoch:7.1f} {one.gpulets:4d} {other.gpulets:3d} {one.devices:4d} "
            f"{other.devices:3d} {one.share_pct:5d} {other.share_pct:4d}  {'  '.join(planned)}"
            f"{'' if agree[at] else '   *'}"
        )
    print("simulated first, live second; * no epoch near by is like it")
    totals = [sum(epoch.share_pct for epoch in side) for side in sides]
    emit(
        "parity",
        {
            "policy": args.policy,
            "device": args.device,
            "seconds": args.seconds,
            "epoch_s": args.epoch,
            "triggers": args.triggers,
            "seed": args.seed,
        },
        sent_sim=sim.sent,
        sent_live=real.sent,
        goodput_sim=sim.good / sim.sent,
        goodput_live=real.good / real.sent,
        epochs=len(agree),
        agreeing=sum(agree),
        share_live_over_sim=totals[1] / totals[0],
        plans_sim=sum(held.plan is not None for _, held in sim.rounds),
        plans_live=sum(held.plan is not None for _, held in real.rounds),
        failed_rounds=sum(bool(held.errors) for _, held in (*sim.rounds, *real.rounds)),
        load=load_average(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policy", default="follow", help="follow, fleet or fleet:NAME")
    parser.add_argument("--device", choices=tuple(BEDS), default="emulated")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the script")
    parser.add_argument("--epoch", type=float, default=2.0, help="seconds between two rounds")
    parser.add_argument("--triggers", action="store_true", help="rounds also when queues grow")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        run(args, Path(folder))


if __name__ == "__main__":
    main()
