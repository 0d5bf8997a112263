"""A victim's latency beside an aggressor, by what keeps the two apart.

The victim runs batches of 1 at a low rate on a small gpulet; the aggressor's gpulet gets more than
it can carry, in large batches. Every mechanism is a run of both; `alone` is the victim's gpulet
without a neighbour. `over_alone` is what to read.

  isolation.py --kind cpu --models models --victim lenet --aggressor resnet18
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bed import (
    Gpulets,
    above_each_other,
    device_of,
    gpulets_of,
    on_units,
    one_gpulet,
    run_main,
)
from bed_load import BedLoad, Load, add_task, finished
from bed_models import Models, StoredModels
from bed_processes import a_bed
from lines import emit, load_average

from glet.clock import SystemClock
from glet.errors import ConfigError
from glet.native import core
from glet.observe.report import LoadedModel, model_report
from glet.plan.layout import PlacedGpulet
from glet.plan.problem import Task
from glet.types.plan import ModelShare

WARM_S = 1.0
OFFERED = 1.2
FAR_MS = 60_000.0


class Mechanism(NamedTuple):
    """Where both are: percent of the device for each, beside each other or on the same parts.

    `priority` is of the victim's stream; the aggressor's is 0.
    """

    kind: str
    victim_pct: int
    aggressor_pct: int
    overlap: bool
    priority: int = 0


MECHANISMS = {
    "cpu": {
        "own cores": Mechanism("cpu", 50, 50, overlap=False),
        "overlapping cores": Mechanism("cpu", 100, 100, overlap=True),
    },
    "green": {
        "streams": Mechanism("green", 100, 100, overlap=True),
        "streams-priority": Mechanism("green", 100, 100, overlap=True, priority=-5),
        "green": Mechanism("green", 15, 80, overlap=False),
    },
    # Processes: without caps each may take the whole device, with them no more than its share.
    "mps": {
        "mps": Mechanism("mps", 100, 100, overlap=True),
        "mps-capped": Mechanism("mps", 15, 80, overlap=False),
        "green-wire": Mechanism("green-wire", 15, 80, overlap=False),
    },
}


def seats(mechanism: Mechanism, shares: tuple[ModelShare, ModelShare]) -> list[PlacedGpulet]:
    """Victim's and aggressor's gpulet. Raises ConfigError where there is no room for two."""
    victim, aggressor = shares
    cores: tuple[list[int], list[int]] = ([], [])
    if mechanism.kind == "cpu":
        usable = list(core.usable_cores())
        if len(usable) < 2 and not mechanism.overlap:
            raise ConfigError(f"{len(usable)} core is too few for two gpulets; 2 are needed")
        half = len(usable) // 2
        cores = (usable, usable) if mechanism.overlap else (usable[:half], usable[half:])
    placed = [
        one_gpulet(0, mechanism.victim_pct, cores[0], victim),
        one_gpulet(1, mechanism.aggressor_pct, cores[1], aggressor),
    ]
    device = device_of(gpulets_of(mechanism.kind, None), "bench")
    if device.kind == "green" and mechanism.overlap:
        return above_each_other(placed, device)
    return on_units(placed, device)


def run(
    gpulets: Gpulets, models: Models, placed: list[PlacedGpulet], priority: int, args: Any
) -> dict[str, Any]:
    """The victim's report, beside the aggressor when two are placed."""
    with a_bed(gpulets, models, None, margin_ms=0.0) as bed:
        bed.priorities = {placed[0].models[0].model: priority}
        tasks = []
        for gpulet in placed:
            share = gpulet.models[0]
            bed.add(gpulet)
            bed.load(gpulet, share)
            points = dict(bed.latency_ms[(gpulet.number, share.model)])
            batch_ms = points[min(share.batch, max(points))]
            is_victim = gpulet.number == 0
            load = args.victim_load if is_victim else OFFERED
            rate_rps = load * 1000.0 * share.batch / batch_ms
            slo_ms = FAR_MS if is_victim else 10.0 * batch_ms
            tasks.append(Task(model=share.model, rate_rps=rate_rps, slo_ms=slo_ms))
        made: BedLoad = bed.new_load()
        span = Load(1.0, args.seconds, WARM_S, seed=0)
        for gpulet, task in zip(placed, tasks, strict=True):
            routes = [bed.route(gpulet.number, task.model)]
            add_task(made, models, routes, task, (span, np.random.default_rng(gpulet.number)))
        records = finished(made, WARM_S + args.seconds)
    records = records[records["intended_ns"] >= WARM_S * 1e9]
    found = [
        model_report(
            records[records["model"] == number],
            LoadedModel(name=task.model, slo_ms=task.slo_ms),
            args.seconds,
        )
        for number, task in enumerate(tasks)
    ]
    figures = {name: found[0][name] for name in ("p50_ms", "p95_ms", "p99_ms", "sent", "ok")}
    figures["victim_rps"] = tasks[0].rate_rps
    figures["aggressor_rps"] = found[1]["answered_rps"] if len(found) > 1 else 0.0
    return figures


def over(beside_ms: float | None, alone_ms: float | None) -> float | None:
    """None where nothing was answered."""
    return None if beside_ms is None or not alone_ms else beside_ms / alone_ms


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", default="cpu", choices=tuple(MECHANISMS), help="of gpulets")
    parser.add_argument("--models", type=Path, required=True, help="model repository")
    parser.add_argument("--victim", default="lenet")
    parser.add_argument("--aggressor", default="resnet18")
    parser.add_argument("--aggressor-batch", type=int, default=16)
    parser.add_argument("--victim-load", type=float, default=0.1, help="of what it could carry")
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    gpulets = gpulets_of(args.kind, None)
    names = [args.victim, args.aggressor]
    models = StoredModels(args.models, names, device_of(gpulets, args.kind), SystemClock())
    shares = (
        ModelShare(model=args.victim, batch=1),
        ModelShare(model=args.aggressor, batch=args.aggressor_batch),
    )
    for name, mechanism in MECHANISMS[args.kind].items():
        gpulets = gpulets_of(mechanism.kind, None)
        placed = seats(mechanism, shares)
        alone = run(gpulets, models, placed[:1], mechanism.priority, args)
        beside = run(gpulets, models, placed, mechanism.priority, args)
        params = {"kind": args.kind, "mechanism": name, "victim": args.victim,
                  "aggressor": args.aggressor, "seconds": args.seconds,
                  "load": gpulets.load}  # fmt: skip
        emit("isolation", params, alone_p50_ms=alone["p50_ms"], alone_p99_ms=alone["p99_ms"],
             **beside, p99_over_alone=over(beside["p99_ms"], alone["p99_ms"]),
             load=load_average())  # fmt: skip


if __name__ == "__main__":
    run_main(main)
