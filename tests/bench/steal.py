"""What borrowing an idle neighbour's share is worth: goodput and p99 with `steal` and without.

Two gpulets of 50 % with a model each, at loads that are parts of what each carries alone. Every
SLO is twice the latency of a batch of 8 on 50 %. Both sides have the same arrivals and take turns.

sim       the queues and the decision in virtual time: no noise, nothing that costs time but batches
profiled  an emulated device in this process, the engine as executors have it; --stretch makes the
          device slower, so that the delays of a busy machine do not decide
cpu       the mlp beside an idle echo on real cores, through frontend and executor
"""

import argparse
import itertools
import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from emulated import PROFILE
from overload import Run, became
from result import emit
from rig import CACHE, MAX_BATCH, MODELS, Poisson, closed_loop, load_average, make_models, open_loop

from glet.clock import SystemClock
from glet.config.cluster import ClusterConfig, GpuletConfig, ModelShareConfig
from glet.native import core
from glet.profiles.files import read_profile
from glet.serve.up import LocalCluster
from glet.workload.arrivals import PoissonArrivals

SHARE_PCT = 50
BATCH = 8
NS_PER_MS = 1e6
PAIRS = (("resnet50", "resnet50"), ("resnet50", "lenet1"), ("vgg16", "googlenet"))
LOADS = ((0.5, 0.0), (0.9, 0.0), (1.2, 0.0), (0.9, 0.3), (1.2, 0.3), (0.7, 0.7), (1.2, 0.9))
CPU_LOADS = (0.5, 0.9, 1.2)
CPU_SLO_MS = 50.0


class Model(NamedTuple):
    """One model at the load that its gpulet gets."""

    name: str
    own_ms: Sequence[float]
    both_ms: Sequence[float]
    load: float

    @property
    def slo_ms(self) -> float:
        return 2.0 * self.own_ms[-1]

    @property
    def rate_rps(self) -> float:
        return self.load * 1000.0 * BATCH / self.own_ms[-1]


class Outcome(NamedTuple):
    """What became of a model's requests; `borrowed` is the part of its batches."""

    good_rps: float
    good: float
    p99_ms: float
    borrowed: float


def model(name: str, load: float, stretch: float) -> Model:
    tables = stretch * read_profile(PROFILE).model(name).tables((SHARE_PCT, 2 * SHARE_PCT))
    return Model(name, tables[0, :BATCH].tolist(), tables[1, :BATCH].tolist(), load)


def table(latencies_ms: Sequence[float]) -> Any:
    return core.LatencyTable([(n, round(ms * NS_PER_MS)) for n, ms in enumerate(latencies_ms, 1)])


def plan(served: Model) -> Any:
    limits = core.QueueLimits(
        capacity=8192, max_batch=BATCH, margin_ns=500_000, slo_ns=round(served.slo_ms * NS_PER_MS)
    )
    return core.ModelPlan(table(served.own_ms), limits)


def lend(where: Any, models: Sequence[Model]) -> None:
    """Each gpulet to the other; gpulet and model have the same number."""
    for own, lender in ((0, 1), (1, 0)):
        where.set_loans(own, [(lender, [(own, table(models[own].both_ms))])])


def arrivals_s(models: Sequence[Model], seconds: float, seed: int) -> list[np.ndarray]:
    rngs = np.random.default_rng(seed).spawn(len(models))
    return [
        PoissonArrivals().times_s(served.rate_rps, seconds, rng) if served.rate_rps else np.empty(0)
        for served, rng in zip(models, rngs, strict=True)
    ]


def simulated(models: Sequence[Model], seconds: float, seed: int, *, steal: bool) -> list[Outcome]:
    world = core.Gpulets(seconds)
    for number, times_s in enumerate(arrivals_s(models, seconds, seed)):
        world.add_model(models[number].slo_ms, core.SimArrivals.given(times_s.tolist()))
    for number, served in enumerate(models):
        world.load(number, number, plan(served), table(served.own_ms))
        world.set_routes(number, [(number, 1.0)])
    if steal:
        lend(world, models)
    world.advance(seconds)
    world.finish()
    outcomes = []
    for number in range(len(models)):
        window = world.take_window(number)
        _, batches, _, borrowed = world.take_tenant_window(number, number)
        outcomes.append(
            Outcome(
                window["good"] / seconds,
                window["good"] / max(1, window["offered"]),
                p99_ms(window["latency"]),
                borrowed / max(1, batches),
            )
        )
    return outcomes


def p99_ms(buckets: Sequence[tuple[int, int]]) -> float:
    if not buckets:
        return float("nan")
    counts = np.cumsum([count for _, count in buckets])
    return buckets[int(np.searchsorted(counts, 0.99 * counts[-1]))][0] / NS_PER_MS


def emulated(models: Sequence[Model], seconds: float, seed: int, *, steal: bool) -> list[Outcome]:
    signature = core.Signature(
        [core.TensorSpec("x", "float32", [4])], [core.TensorSpec("y", "float32", [4])]
    )
    with core.Engine() as engine:
        for number, served in enumerate(models):
            engine.add_gpulet(number, "profiled", SHARE_PCT)
            engine.load_profiled(number, number, signature, BATCH, plan(served))
        if steal:
            lend(engine, models)
        load = core.EngineLoad()
        for number, times_s in enumerate(arrivals_s(models, seconds, seed)):
            if len(times_s):
                slo_ms = models[number].slo_ms
                load.add_model(
                    [[np.zeros(4, dtype=np.float32)]],
                    (times_s * 1e9).astype(np.int64),
                    [(engine, number, number, 1.0)],
                    deadline_ms=slo_ms,
                    slo_ms=slo_ms,
                )
        load.start()
        if not load.wait(seconds + 60.0):
            raise SystemExit("the load did not end")
        records = load.records()
        load.close()
        stats = {one.gpulet: one for one in engine.stats()}
    outcomes = []
    sent = [number for number, served in enumerate(models) if served.rate_rps]
    for number, served in enumerate(models):
        mine = records[records["model"] == sent.index(number)] if number in sent else records[:0]
        took_ms = (mine["answered_ns"] - mine["intended_ns"])[mine["outcome"] == 0] / NS_PER_MS
        good = int(np.count_nonzero(took_ms <= served.slo_ms))
        outcomes.append(
            Outcome(
                good / seconds,
                good / max(1, len(mine)),
                float(np.quantile(took_ms, 0.99)) if len(took_ms) else float("nan"),
                stats[number].borrowed / max(1, stats[number].batches),
            )
        )
    return outcomes


def compare(kind: str, args: argparse.Namespace) -> None:
    """Every pair of models at every pair of loads: A, B, A, B, ..."""
    run = {"sim": simulated, "profiled": emulated}[kind]
    stretch = args.stretch if kind == "profiled" else 1.0
    seconds = args.sim_seconds if kind == "sim" else args.seconds
    for names, loads in itertools.product(PAIRS, LOADS):
        models = [model(n, load, stretch) for n, load in zip(names, loads, strict=True)]
        found: dict[bool, list[list[Outcome]]] = {False: [], True: []}
        for seed, steal in itertools.product(range(args.rounds), (False, True)):
            found[steal].append(run(models, seconds, seed, steal=steal))
        params = {
            "kind": kind,
            "models": names,
            "loads": loads,
            "seconds": seconds,
            "rounds": args.rounds,
            "stretch": stretch,
        }
        emit("steal", params, **figures(found, len(models)), load=load_average())


def figures(found: dict[bool, list[list[Outcome]]], models: int) -> dict[str, Any]:
    """Medians by model, without and with; `gain` is of the requests in time of both together."""

    def median(steal: bool, field: str) -> list[float]:
        return [
            float(f"{statistics.median(getattr(run[m], field) for run in found[steal]):.4g}")
            for m in range(models)
        ]

    gains = [
        sum(one.good_rps for one in with_) / max(1e-9, sum(one.good_rps for one in without))
        for without, with_ in zip(found[False], found[True], strict=True)
    ]
    made: dict[str, Any] = {"gain": statistics.median(gains)}
    for field in ("good_rps", "good", "p99_ms"):
        made |= {field: median(False, field), f"steal_{field}": median(True, field)}
    return made | {"borrowed": median(True, "borrowed")}


def on_cores(args: argparse.Namespace) -> None:
    """Two clusters in turns: a gpulet's cores cannot lend and not lend at once."""
    make_models()
    found: dict[tuple[float, bool], list[Run]] = {}
    capacity_rps = 0.0
    for seed, steal in itertools.product(range(args.rounds), (False, True)):
        shares = (ModelShareConfig(model=name, batch=MAX_BATCH[name]) for name in ("mlp", "echo"))
        config = ClusterConfig(
            listen="tcp://127.0.0.1:0",
            models=str(MODELS),
            cache=str(CACHE),
            partition="cpu",
            steal=steal,
            gpulet=tuple(GpuletConfig(share_pct=SHARE_PCT, models=(one,)) for one in shares),
        )
        with LocalCluster(config, SystemClock()) as cluster:
            closed_loop(cluster.endpoint, "mlp", 32, 1.0)
            if not capacity_rps:
                capacity_rps = closed_loop(cluster.endpoint, "mlp", 32, args.seconds)[0]
            for part in CPU_LOADS:
                rate_rps = part * capacity_rps
                load = Poisson(rate_rps, args.seconds, seed)
                records = open_loop(cluster.endpoint, "mlp", load, CPU_SLO_MS)
                run = became(records, capacity_rps, rate_rps, CPU_SLO_MS)
                found.setdefault((part, steal), []).append(run)
    for part in CPU_LOADS:
        params = {"kind": "cpu", "load": part, "seconds": args.seconds, "rounds": args.rounds}
        sides: dict[str, float] = {"capacity_rps": capacity_rps}
        for steal, prefix in ((False, ""), (True, "steal_")):
            pick = partial(medians, found[(part, steal)])
            sides |= {f"{prefix}{field}": pick(field) for field in ("good", "p99_ms", "mean_batch")}
        emit("steal", params, **sides, load=load_average())


def medians(runs: list[Run], field: str) -> float:
    return statistics.median(getattr(run, field) for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", nargs="+", default=["sim", "profiled", "cpu"],
                        choices=["sim", "profiled", "cpu"])  # fmt: skip
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run")
    parser.add_argument("--sim-seconds", type=float, default=60.0, help="of virtual time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stretch", type=float, default=4.0)
    args = parser.parse_args()
    for kind in args.kinds:
        if kind == "cpu":
            on_cores(args)
        else:
            compare(kind, args)


if __name__ == "__main__":
    main()
