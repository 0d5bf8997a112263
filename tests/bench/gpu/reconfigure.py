"""How long a change takes: from the decision to the first batch on the new gpulet, under load.

A model is moved to a new gpulet and back, --changes times, while Poisson requests come at half of
what it carries: the new gpulet is added, the model loaded there, the routes changed, and what was
left finishes on the old one. Beside it, --starts times: an executor process that is started, told
to add the gpulet and to load the model, until it says that it has (its first batch comes later
still). That is what a change costs where the share is fixed when a process starts. With --change
resize one gpulet keeps its model and gets another share, there and back.

  reconfigure.py --profile profiles/synthetic-gpu --model resnet50
  reconfigure.py --kind cpu --models models --model lenet
"""

import argparse
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from bed import (
    GPULETS,
    Bed,
    Gpulets,
    device_of,
    gpulets_of,
    on_units,
    one_gpulet,
    run_main,
)
from bed_load import BedLoad, Load, OverWire, Route, add_task
from bed_models import EmulatedModels, Models, StoredModels
from bed_processes import World, a_bed
from lines import ROOT, emit, load_average, say
from study import Study, read_study

from glet.clock import Clock, SystemClock
from glet.errors import ConfigError, DeviceError
from glet.native import core
from glet.observe.report import LoadedModel, model_report
from glet.plan.layout import PlacedGpulet
from glet.plan.problem import Task
from glet.types.plan import ModelShare
from glet.wire.messages import AddGpulet, Limits, LoadModel

FIRST_BATCH_LIMIT_S = 60.0
LOOK_S = 0.0005
LONGEST_S = 3600.0


class Move:
    """Moves one model between two places of a bed while a load runs."""

    def __init__(
        self, beds: tuple[Bed, BedLoad], share: ModelShare, places: list[PlacedGpulet]
    ) -> None:
        self._bed, self._load = beds
        self._share = share
        self._places = places
        self._next = len(places)
        self._here = places[0]
        # Nobody tells when an executor began a batch.
        self._over_wire = isinstance(self._load, OverWire)

    def once(self, clock: Clock) -> dict[str, float]:
        """Milliseconds from the decision to each point of one change."""
        target = self._places[self._next % len(self._places)]
        place = msgspec.structs.replace(target, number=self._next)
        self._next += 1
        start_ns = core.now_ns()
        self._bed.add(place)
        added_ns = core.now_ns()
        self._bed.load(place, self._share)
        loaded_ns = core.now_ns()
        route = self._bed.route(place.number, self._share.model)
        self._load.set_routes(self._share.model, [route])
        routed_ns = core.now_ns()
        first_ns = None if self._over_wire else self._first_batch_ns(route, clock)
        self._bed.remove(self._here.number)
        self._here = place
        points = {
            "added": added_ns,
            "loaded": loaded_ns,
            "routed": routed_ns,
        }
        if first_ns is not None:
            points["first_batch"] = first_ns
        return {name: (at_ns - start_ns) / 1e6 for name, at_ns in points.items()}

    def _first_batch_ns(self, route: Route, clock: Clock) -> int:
        until_s = clock.now_s() + FIRST_BATCH_LIMIT_S
        while clock.now_s() < until_s:
            found = self._load.first_batch_ns(self._share.model, route)
            if found is not None:
                return found
            clock.sleep_s(LOOK_S)
        raise DeviceError(f"no batch on gpulet {route.gpulet} within {FIRST_BATCH_LIMIT_S:g} s")


class Resize:
    """Changes a gpulet's share there and back while a load runs."""

    def __init__(self, bed: Bed, share: ModelShare, places: list[PlacedGpulet]) -> None:
        self._bed = bed
        self._share = share
        self._places = [msgspec.structs.replace(place, number=0) for place in places]
        self._next = 1

    def once(self, clock: Clock) -> dict[str, float]:
        """Milliseconds from the decision until the worker has switched: its next batch has it."""
        place = self._places[self._next % len(self._places)]
        self._next += 1
        start_ns = core.now_ns()
        self._bed.resize(place, self._share)
        return {"switched": (core.now_ns() - start_ns) / 1e6}


def places_of(gpulets: Gpulets, share_pct: int) -> list[PlacedGpulet]:
    """Two places beside each other: other cores or units where a gpulet is a set of them."""
    model = ModelShare(model="", batch=1)
    if gpulets.kind != "cpu":
        made = [one_gpulet(number, share_pct, (), model) for number in (0, 1)]
        return on_units(made, device_of(gpulets, "bench"))
    cores = core.usable_cores()
    half = max(1, len(cores) * share_pct // 100)
    return [
        one_gpulet(0, share_pct, cores[:half], model),
        one_gpulet(1, share_pct, cores[-half:], model),
    ]


def change(gpulets: Gpulets, models: Models, study: Study | None, args: Any) -> dict[str, Any]:
    """All changes, one after the other, under one load."""
    clock = SystemClock()
    places = places_of(gpulets, args.share)
    share = ModelShare(model=args.model, batch=args.batch)
    with a_bed(gpulets, models, study, margin_ms=0.5) as bed:
        bed.add(places[0])
        bed.load(places[0], share)
        points = dict(bed.latency_ms[(0, args.model)])
        batch_ms = points[min(args.batch, max(points))]
        rate_rps = 0.5 * 1000.0 * min(args.batch, max(points)) / batch_ms
        task = Task(model=args.model, rate_rps=rate_rps, slo_ms=args.slo_over_batch * batch_ms)
        made = bed.new_load()
        try:
            span = Load(1.0, min(LONGEST_S, 2e6 / rate_rps), 0.0, seed=0)
            routes = [bed.route(0, args.model)]
            add_task(made, models, routes, task, (span, np.random.default_rng(0)))
            made.start()
            one: Move | Resize = Move((bed, made), share, places)
            if args.change == "resize":
                halved = msgspec.structs.replace(places[1], share_pct=args.share // 2)
                halves = on_units([halved], device_of(gpulets, "bench"))
                one = Resize(bed, share, [places[0], *halves])
            times = []
            for _ in range(args.changes):
                # Changes without a pause would leave the load no time to run.
                clock.sleep_s(args.pause_ms / 1e3)
                times.append(one.once(clock))
            made.stop()
            if not made.wait(FIRST_BATCH_LIMIT_S):
                raise DeviceError("the load did not end")
            records = made.records()
        finally:
            made.close()
    known = LoadedModel(name=args.model, slo_ms=task.slo_ms)
    found = model_report(records, known, float(records["sent_ns"][-1]) / 1e9)
    return {
        **quantiles(times),
        "rate_rps": rate_rps,
        "requests": found["sent"],
        "in_slo": float(found["goodput_rps"] / found["offered_rps"]),
        "late": found["late"],
        "failed": found["failed"],
        "unanswered": found["unanswered"],
        "batch_ms": batch_ms,
    }


def quantiles(times: list[dict[str, float]]) -> dict[str, float]:
    """Median of every point, and the 99th percentile of the whole change."""
    figures = {
        f"{name}_p50_ms": float(np.median([time[name] for time in times])) for name in times[0]
    }
    end = list(times[0])[-1]
    last = [time[end] for time in times]
    figures[f"{end}_p99_ms"] = float(np.percentile(last, 99, method="inverted_cdf"))
    return figures


def process_ms(world: World, gpulets: Gpulets, models: Models, args: Any) -> float:
    """Milliseconds from the decision until a new executor process has the gpulet and the model."""
    place = places_of(gpulets, args.share)[0]
    source = models.source(args.model, args.share)
    start_ns = core.now_ns()
    executor = world.start((place,))
    executor.perform(
        AddGpulet(
            step=1,
            gpulet=0,
            kind=gpulets.kind,
            share_pct=args.share,
            cores=place.cores,
            units=place.units,
        )
    )
    # Any latency will do: measuring it is no part of a change.
    points = ((1, 1.0), (max(2, source.max_batch), 1.0))
    limits = Limits(batch=1, time_share=1.0, capacity=16, margin_ms=0.0)
    executor.perform(
        LoadModel(step=2, gpulet=0, model=0, source=source, limits=limits, latency_ms=points)
    )
    took_ms = (core.now_ns() - start_ns) / 1e6
    world.end(executor)
    return took_ms


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", type=Path, default=ROOT / "profiles" / "synthetic-gpu")
    parser.add_argument("--kind", default="profiled", help=f"of gpulets: {', '.join(GPULETS)}")
    parser.add_argument("--models", type=Path, help="model repository; not for --kind profiled")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--share", type=int, default=50, metavar="PCT")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--slo-over-batch", type=float, default=4.0, help="SLO over batch latency")
    parser.add_argument("--change", choices=("move", "resize"), default="move")
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--pause-ms", type=float, default=50.0, help="between two changes")
    parser.add_argument("--starts", type=int, default=5, help="of executor processes")
    args = parser.parse_args()
    clock = SystemClock()
    gpulets = gpulets_of(args.kind, None)
    study = read_study(args.profile, "none") if gpulets.emulated else None
    if args.change == "resize" and gpulets.per_gpulet:
        raise ConfigError("a gpulet of a process of its own is not resized; --change move")
    models: Models
    if gpulets.emulated and study is not None:
        models = EmulatedModels(study)
    elif args.models is not None:
        models = StoredModels(args.models, [args.model], device_of(gpulets, args.kind), clock)
    else:
        parser.error(f"--kind {args.kind} needs --models DIR")
    params = {
        "kind": args.kind,
        "emulated": gpulets.emulated,
        "launch": gpulets.launch,
        "load": gpulets.load,
        "model": args.model,
        "share_pct": args.share,
        "change": args.change,
        "changes": args.changes,
    }
    found = change(gpulets, models, study, args)
    processes = []
    with World(gpulets) as world:
        for _ in range(args.starts):
            processes.append(process_ms(world, gpulets, models, args))
            say(f"  an executor process was ready after {processes[-1]:.0f} ms")
    process = float(np.median(processes)) if processes else None
    ends = ("switched_p50_ms", "first_batch_p50_ms", "routed_p50_ms")
    change_ms = next(found[end] for end in ends if end in found)
    times = process / change_ms if process is not None else None
    emit("reconfigure", params, **found, process_p50_ms=process, process_over_change=times,
         load=load_average())  # fmt: skip


if __name__ == "__main__":
    run_main(main)
