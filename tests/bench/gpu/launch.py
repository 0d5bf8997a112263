"""What a batch costs beside its computing: the engine on top of a runner, and eager launches.

overhead  submit to answer less the runner's own time, of one batch at a time: on a null runner, so
          that the engine (admission, batching, copying, waking up, completion) is all there is
eager     a batch through torch's own call of the exported program, beside the same batch through
          the engine's runner (compiled on a CPU, on a GPU a replayed graph or, with --ways aoti,
          what AOTInductor compiled for it); needs --models

  launch.py
  launch.py --kind cpu --models models --names lenet mobilenet_v2
  launch.py --kind green --models models --names resnet50 --ways graph aoti
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bed import (
    GPULETS,
    Bed,
    device_of,
    gpulets_of,
    on_units,
    one_gpulet,
    run_main,
)
from bed_load import staged
from bed_models import StoredModels
from lines import emit, load_average, say
from load_rate import FLOATS, MAX_BATCH, null_engine

from glet.clock import Clock, SystemClock
from glet.config.model import CompileChoice
from glet.native import core
from glet.serve.network import load_network
from glet.serve.repository import Entry, Repository
from glet.types.plan import ModelShare

BATCHES = (1, 8, 32)
GAP_NS = 2_000_000
LIMIT_S = 120.0


def overhead(batch: int, batches: int) -> dict[str, Any]:
    """Microseconds from submission to the answer of whole batches, one at a time, less the run."""
    load: Any = core.EngineLoad()
    with null_engine(1) as engine:
        try:
            arrivals_ns = np.repeat(np.arange(batches, dtype=np.int64) * GAP_NS, batch)
            sample = [np.zeros(FLOATS, dtype=np.float32)]
            load.add_model([sample], arrivals_ns, [(engine, 0, 0, 1.0)])
            load.start()
            if not load.wait(batches * GAP_NS / 1e9 + LIMIT_S):
                raise SystemExit("the load did not end")
            records = load.records()
        finally:
            load.close()
    # A batch that was joined by another's requests, or torn, is no batch of its own.
    whole = records[(records["outcome"] == 0) & (records["batch"] == batch)]
    took_us = (whole["answered_ns"] - whole["sent_ns"]) / 1e3 - whole["execute_us"]
    return {
        "whole": len(whole) / len(records),
        "p50_us": float(np.median(took_us)),
        "p99_us": float(np.percentile(took_us, 99)),
    }


def eager_ms(entry: Entry, arrays: list[Any], batch: int, timed: tuple[int, Clock]) -> float:
    """Median of torch's own call of the program, one thread as a gpulet of one core has it."""
    import torch

    repeats, clock = timed
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    stacked = [np.repeat(array[None], batch, axis=0) for array in arrays]
    inputs = [torch.from_numpy(array).to(device) for array in stacked]
    call = eager_call(entry, device)

    def once() -> None:
        call(inputs)
        if device == "cuda":
            torch.cuda.synchronize()

    with torch.inference_mode():
        return timed_ms(once, repeats, clock)


def eager_call(entry: Entry, device: str) -> Callable[[list[Any]], object]:
    """On a GPU in the precision that model.toml says, on a CPU as the model was saved."""
    import torch

    network = load_network(entry) if device == "cuda" else None
    if network is not None:
        network.move(device)
        return network
    module = torch.export.load(str(entry.path)).module()
    return lambda inputs: module(*inputs)


def timed_ms(once: Callable[[], None], repeats: int, clock: Clock) -> float:
    """Median milliseconds of a call, after a few that are not looked at."""
    for _ in range(3):
        once()
    took_ms = []
    for _ in range(repeats):
        start_s = clock.now_s()
        once()
        took_ms.append((clock.now_s() - start_s) * 1e3)
    return float(np.median(took_ms))


def compare(args: Any) -> None:
    """A line per way, model and batch."""
    for way in args.ways:
        compare_way(way, args)


def compare_way(way: CompileChoice, args: Any) -> None:
    """What models are to be is not what they are where that fails: `launch` says what ran."""
    gpulets = gpulets_of(args.kind, None)
    clock = SystemClock()
    device = device_of(gpulets, args.kind)
    models = StoredModels(args.models, args.names, device, clock, way)
    cores = core.usable_cores()[:1] if args.kind == "cpu" else []
    for name in args.names:
        entry = Repository(args.models).entry(name)
        arrays = staged(models, name, np.random.default_rng(0))
        with Bed(gpulets, models, None, margin_ms=0.0) as bed:
            lone = one_gpulet(0, args.share, cores, ModelShare(model=name, batch=1))
            (place,) = on_units([lone], device)
            bed.add(place)
            bed.load(place, place.models[0])
            runner, note = bed.runners[(0, name)]
            if note:
                say(f"  {name} runs as {runner}: {note}")
            for batch in [b for b in BATCHES if b <= entry.config.max_batch]:
                took_ns = bed.measure_ns(0, name, batch, args.repeats)
                engine_ms = float(np.median(took_ns)) / 1e6
                eager = eager_ms(entry, arrays, batch, (args.repeats, clock))
                params = {"what": "eager", "kind": args.kind, "model": name, "batch": batch,
                          "share_pct": args.share, "way": way, "launch": runner}  # fmt: skip
                emit("launch", params, eager_ms=eager, engine_ms=engine_ms,
                     eager_over_engine=eager / engine_ms, load=load_average())  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batches", type=int, default=1000, help="of each size, for the overhead")
    parser.add_argument("--kind", default="cpu", help=f"of gpulets: {', '.join(GPULETS)}")
    parser.add_argument("--models", type=Path, help="model repository; without it no eager rows")
    parser.add_argument("--names", nargs="+", default=["lenet"], metavar="NAME")
    parser.add_argument("--ways", nargs="+", default=["graph"], choices=["graph", "aoti"],
                        help="of a GPU: as `compile` in model.toml")  # fmt: skip
    parser.add_argument("--share", type=int, default=50, metavar="PCT", help="of the device")
    parser.add_argument("--repeats", type=int, default=30)
    args = parser.parse_args()
    for batch in (b for b in BATCHES if b <= MAX_BATCH):
        params = {"what": "overhead", "runner": "null", "batch": batch}
        emit("launch", params, **overhead(batch, args.batches), load=load_average())
    if args.models is not None:
        compare(args)


if __name__ == "__main__":
    run_main(main)
