"""What frontend and wire add at half load: the client's latency less queue and execution.

Half of what one gpulet carries: of the mlp a closed loop's rate, and of the 16-float echo too,
where that is what client, frontend and executor carry together.
"""

import argparse
import statistics

import numpy as np
from result import emit
from rig import (
    DEADLINE_MS,
    SHARE_PCT,
    Poisson,
    answered_ok,
    closed_loop,
    latencies_ms,
    load_average,
    open_loop,
    serve,
)

IN_FLIGHT = {"mlp": 16, "echo": 64}
LOAD = 0.5


def added_ms(endpoint: str, model: str, load: Poisson) -> dict[str, float]:
    records = answered_ok(open_loop(endpoint, model, load, DEADLINE_MS))
    inside_ms = (records["queue_us"] + records["execute_us"]) / 1e3
    latency_ms = latencies_ms(records)
    added = latency_ms - inside_ms
    return {
        "added_p50_ms": float(np.median(added)),
        "added_p99_ms": float(np.quantile(added, 0.99)),
        "latency_p50_ms": float(np.median(latency_ms)),
        "inside_p50_ms": float(np.median(inside_ms)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with serve("echo", "mlp") as served:
        for model, in_flight in IN_FLIGHT.items():
            full, runs = [], []
            for seed in range(args.rounds):
                rate, _ = closed_loop(served.endpoint, model, in_flight, args.seconds)
                full.append(rate)
                load = Poisson(LOAD * rate, args.seconds, seed)
                runs.append(added_ms(served.endpoint, model, load))
            emit(
                "added_latency",
                {
                    "model": model,
                    "rounds": args.rounds,
                    "seconds": args.seconds,
                    "share_pct": SHARE_PCT,
                },
                capacity_rps=statistics.median(full),
                offered_rps=LOAD * statistics.median(full),
                **{key: statistics.median(run[key] for run in runs) for key in runs[0]},
                load=load_average(),
            )


if __name__ == "__main__":
    main()
