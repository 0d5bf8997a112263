"""How much each way of sharing a device serves: the largest load that every model survives.

Goodput at 99 %: the largest common factor on a workload's rates at which, for EVERY model, 99 % of
the requests are answered within the SLO (refusals and drops count as misses). Poisson arrivals,
open loop, injected in process by the core; bisection from the planner's prediction; every SLO is
twice the model's latency at batch 32 (or 8) on the whole device. One JSON line per workload, SLO
rule and system: requests/s of all models together. table.py makes a table of such lines.

A call ends before --minutes: what was not begun by then is named on standard error, for the next.

  goodput.py --profile profiles/synthetic-gpu --scenarios equal scen1 --slo 32
  goodput.py --profile profiles/h200 --kind green --models models --minutes 9 > goodput.jsonl
"""

import argparse
import itertools
import statistics
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bed import GPULETS, Bed, device_of, gpulets_of, run_main
from bed_load import Load, run_load
from bed_models import EmulatedModels, Models, StoredModels
from bed_processes import a_bed
from lend import lend
from lines import ROOT, emit, load_average, say
from search import bisect
from study import (
    INTERFERENCES,
    SCENARIOS,
    SYSTEMS,
    Study,
    System,
    fluid_factor,
    priorities,
    read_study,
    tasks_of,
)

from glet.clock import SystemClock
from glet.observe.report import good_share
from glet.plan.problem import Task

GOOD = 0.99
# A run in which the generator itself was later than this part of the tightest SLO says nothing.
LAG_ALLOWED = 0.1
TRIES = 3


class Run(NamedTuple):
    """What became of one load: whether every model held, and by how much."""

    factor: float
    good: float
    lagged: bool
    report: dict[str, Any]


def fewer(steps: int) -> int:
    """Steps of every seed but the first."""
    return max(2, steps // 2)


class Cell:
    """One system on one workload: its gpulets stay while the load changes."""

    def __init__(
        self, beds: tuple[Bed, Models], routes: dict[str, Any], tasks: tuple[Task, ...], args: Any
    ) -> None:
        self._bed, self._models = beds
        self._routes = routes
        self._tasks = tasks
        self._args = args
        self.runs: list[Run] = []

    def search(self, predicted: float) -> list[float]:
        """By seed the largest factor that held; 0 when none did. Later seeds begin near it."""
        factors: list[float] = []
        start, steps = predicted * self._args.start, self._args.steps
        for seed in range(self._args.seeds):
            found = bisect(partial(self._holds, seed), start, steps).good
            factors.append(found)
            start, steps = found * 1.02 or start, fewer(self._args.steps)
        return factors

    def best(self, factor: float) -> Run | None:
        """The run nearest below the factor that held."""
        held = [run for run in self.runs if run.good >= GOOD and run.factor <= factor * 1.0001]
        return max(held, key=lambda run: run.factor, default=None)

    def _holds(self, seed: int, factor: float) -> bool:
        load = Load(factor, self._args.seconds, self._args.warm, seed)
        for _ in range(TRIES):
            run = self._run(load)
            if run.good >= GOOD or not run.lagged:
                break
        self.runs.append(run)
        say(f"    factor {factor:.4g} seed {seed}: {run.good:.4f} within the SLO"
            + " (the generator lagged)" * run.lagged)  # fmt: skip
        return run.good >= GOOD

    def _run(self, load: Load) -> Run:
        made = self._bed.new_load()
        found = run_load(made, self._models, self._routes, self._tasks, load)
        lag_ms = found["send_lag_p99_ms"] or 0.0
        lagged = lag_ms > LAG_ALLOWED * min(task.slo_ms for task in self._tasks)
        shares = [good_share(model) for model in found["models"].values() if model["sent"]]
        return Run(load.factor, min(shares, default=1.0), lagged, found)


def figures(cell: Cell, system: System, tasks: tuple[Task, ...], study: Study) -> dict[str, Any]:
    """One system's line. Rates are the device's own, whatever it was stretched by."""
    per_factor = sum(task.rate_rps for task in tasks) * study.stretch
    factors = cell.search(system.predicted)
    factor = statistics.median(factors)
    fluid = fluid_factor(study, tasks)
    best = cell.best(factor)
    p99_ms = {}
    if best is not None:
        models = best.report["models"]
        p99_ms = {name: (m["p99_ms"] or 0.0) / study.stretch for name, m in models.items()}
    worst = max((p99_ms[t.model] * study.stretch / t.slo_ms for t in tasks if p99_ms), default=None)
    return {
        "rate_rps": factor * per_factor,
        "lowest_rps": min(factors) * per_factor,
        "highest_rps": max(factors) * per_factor,
        "predicted_rps": system.predicted * per_factor,
        "fluid_rps": fluid * per_factor,
        "of_fluid": factor / fluid,
        "worst_p99_of_slo": worst,
        "p99_ms": {name: float(f"{value:.3g}") for name, value in p99_ms.items()},
        "lagged": any(run.lagged and run.good < GOOD for run in cell.runs),
        "gpulets": len(system.plan.gpulets),
    }


def measure(key: tuple[str, int, str], study: Study, models: Models, args: Any) -> None:
    """One cell: plans, sets it up, searches, prints."""
    scenario, slo_batch, name = key
    gpulets = gpulets_of(args.kind, study)
    params = {
        "scenario": scenario,
        "slo": f"2 L({slo_batch})",
        "interference": args.interference,
        "system": name,
        "profile": study.profile.type,
        "kind": args.kind,
        "emulated": gpulets.emulated,
        "launch": gpulets.launch,
        "load": gpulets.load,
        "seconds": args.seconds,
        "seeds": args.seeds,
        "stretch": study.stretch,
        "latency_ratio": args.latency_ratio,
    }
    if name == "streams-priority" and gpulets.kind == "mps":
        say(f"  {scenario}, {name}: streams of several processes have no order; left out")
        return
    if name.startswith("streams") and gpulets.emulated:
        say(f"  {scenario}, {name}: an emulated device does not say what free streams do; left out")
        return
    tasks = tasks_of(scenario, study, slo_batch)
    system = SYSTEMS[name](study, tasks, args.latency_ratio)
    say(f"  {scenario}, SLO {params['slo']}, {name}: predicted factor {system.predicted:.4g}, "
        f"{len(system.plan.gpulets)} gpulets")  # fmt: skip
    if not system.plan.gpulets:
        fluid_rps = fluid_factor(study, tasks) * sum(t.rate_rps for t in tasks) * study.stretch
        emit("goodput", params, rate_rps=0.0, predicted_rps=0.0, of_fluid=0.0, gpulets=0,
             fluid_rps=fluid_rps, lagged=False, load=load_average())  # fmt: skip
        return
    with a_bed(gpulets, models, study, args.margin_ms) as bed:
        if name == "streams-priority":
            bed.priorities = priorities(tasks)
        device = device_of(gpulets, study.profile.type)
        routes = bed.apply(system.plan, device)
        if name.endswith("-steal"):
            lend(bed, bed.placed, device, study)
        cell = Cell((bed, models), routes, tasks, args)
        found = figures(cell, system, tasks, study)
        found |= {"borrowed": bed.borrowed()}
        emit("goodput", params, **found, load=load_average())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", type=Path, default=ROOT / "profiles" / "synthetic-gpu")
    parser.add_argument("--kind", default="profiled", help=f"of gpulets: {', '.join(GPULETS)}")
    parser.add_argument("--models", type=Path, help="model repository; not for --kind profiled")
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), metavar="NAME",
                        help=f"of: {', '.join(SCENARIOS)}")  # fmt: skip
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), metavar="NAME",
                        help=f"of: {', '.join(SYSTEMS)}")  # fmt: skip
    parser.add_argument("--slo", type=int, nargs="+", default=[32, 8], metavar="BATCH",
                        help="SLOs are 2 L(BATCH)")  # fmt: skip
    parser.add_argument("--interference", default="none", choices=INTERFERENCES,
                        help="planned with, and emulated")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=6.0, help="of each step")
    parser.add_argument("--warm", type=float, default=2.0, help="seconds before it")
    parser.add_argument("--steps", type=int, default=6, help="of the first seed; others have half")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--start", type=float, default=0.9, help="times the prediction")
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="nothing is begun that ends later"
    )
    parser.add_argument("--latency-ratio", type=float, default=1.1, help="planned over profiled")
    parser.add_argument("--margin-ms", type=float, default=0.5, help="kept free before a deadline")
    parser.add_argument("--stretch", type=float, default=1.0,
                        help="an emulated device so many times slower, SLOs as well: delays of a "
                        "busy machine then do not decide; rates are told unstretched")  # fmt: skip
    return parser.parse_args()


def main() -> None:
    args = parse()
    clock = SystemClock()
    study = read_study(args.profile, args.interference, args.stretch)
    gpulets = gpulets_of(args.kind, study)
    keys = list(itertools.product(args.scenarios, args.slo, args.systems))
    for scenario, slo_batch, system in keys:
        tasks_of(scenario, study, slo_batch)
        if system not in SYSTEMS:
            raise SystemExit(f"no system {system!r}; there are {', '.join(SYSTEMS)}")
    models: Models = EmulatedModels(study)
    if not gpulets.emulated:
        names = {t.model for key in keys for t in tasks_of(key[0], study, key[1])}
        if args.models is None:
            raise SystemExit(f"--kind {args.kind} needs --models DIR")
        device = device_of(gpulets, study.profile.type)
        models = StoredModels(args.models, sorted(names), device, clock)
    runs = args.steps + (args.seeds - 1) * fewer(args.steps)
    longest_s = runs * (args.seconds + args.warm + 0.5)
    end_s = clock.now_s() + 60.0 * args.minutes
    for number, key in enumerate(keys):
        if clock.now_s() + longest_s > end_s:
            left = dict.fromkeys(scenario for scenario, _, _ in keys[number:])
            say(f"out of time; left out from {key} on: --scenarios {' '.join(left)}")
            break
        measure(key, study, models, args)


if __name__ == "__main__":
    run_main(main)
