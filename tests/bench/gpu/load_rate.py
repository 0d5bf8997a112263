"""What the load generator itself can do: requests/s into null models, in process.

Poisson arrivals of --models models, a gpulet each, batches of at most 32, through router, queues
and workers. It keeps up where `sent_rps` is what was offered and the send lag is small; every
request has to be answered ok.
"""

import argparse
from typing import Any

import numpy as np
from lines import emit, load_average

from glet.native import core
from glet.observe.report import lag_ms
from glet.workload.arrivals import PoissonArrivals

MAX_BATCH = 32
FLOATS = 4
LIMIT_S = 120.0


def null_engine(models: int) -> Any:
    """A gpulet with a null model each; they take as long as serving takes."""
    spec = core.TensorSpec("x", "float32", [FLOATS])
    signature = core.Signature([spec], [spec])
    table = core.LatencyTable([(1, 2000), (MAX_BATCH, 10_000)])
    limits = core.QueueLimits(capacity=65536, max_batch=MAX_BATCH)
    engine = core.Engine()
    for number in range(models):
        engine.add_gpulet(number, "profiled")
        plan = core.ModelPlan(table, limits)
        engine.load_null(number, number, signature, MAX_BATCH, plan)
    return engine


def offer(models: int, rate_rps: float, seconds: float) -> dict[str, Any]:
    """One run at one rate."""
    sample = [np.zeros(FLOATS, dtype=np.float32)]
    load: Any = core.EngineLoad()
    with null_engine(models) as engine:
        try:
            for number, rng in enumerate(np.random.default_rng(0).spawn(models)):
                times_s = PoissonArrivals().times_s(rate_rps / models, seconds, rng)
                load.add_model(
                    [sample], (times_s * 1e9).astype(np.int64), [(engine, number, number, 1.0)]
                )
            load.start()
            if not load.wait(seconds + LIMIT_S):
                raise SystemExit("the load did not end")
            records = load.records()
        finally:
            load.close()
    ok = records[records["outcome"] == 0]
    sent_s = float(records["sent_ns"].max()) / 1e9
    latency_us = (ok["answered_ns"] - ok["sent_ns"]) / 1e3
    return {
        "sent_rps": len(records) / sent_s,
        "ok": len(ok) / len(records),
        **lag_ms(records),
        "p50_us": float(np.median(latency_us)),
        "p99_us": float(np.percentile(latency_us, 99)),
        "mean_batch": float(len(ok) / np.sum(1.0 / ok["batch"])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", type=float, nargs="+", default=[50e3, 100e3, 200e3, 400e3])
    parser.add_argument("--models", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    for rate_rps in args.rates:
        params = {"offered_rps": rate_rps, "models": args.models, "seconds": args.seconds}
        emit("load_rate", params, **offer(args.models, rate_rps, args.seconds), load=load_average())


if __name__ == "__main__":
    main()
