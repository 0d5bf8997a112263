"""Share of arrivals answered within the SLO when more comes than the gpulet can carry.

The mlp at batches of at most 8, open loop, Poisson. `capacity_rps` is what a closed loop gets out
of the same gpulet right before and after, the mean of both; `ideal` is min(1, capacity / offered).
"""

import argparse
import itertools
import statistics
from typing import NamedTuple

import numpy as np
from result import emit
from rig import SHARE_PCT, Poisson, closed_loop, latencies_ms, load_average, open_loop, serve

IN_FLIGHT = 32  # four batches: the gpulet never waits for the client
RATES_RPS = (800.0, 1200.0, 1600.0, 2400.0)
TIMES_CAPACITY = (1.0, 3.0)
SLOS_MS = (50.0, 25.0)


class Run(NamedTuple):
    """What became of one load."""

    capacity_rps: float
    offered_rps: float
    good: float
    late: float
    full: float
    mean_batch: float
    p99_ms: float

    @property
    def ideal(self) -> float:
        return min(1.0, self.capacity_rps / self.offered_rps)


def became(records: np.ndarray, capacity_rps: float, offered_rps: float, slo_ms: float) -> Run:
    ok = records[records["outcome"] == 0]
    latency_ms = latencies_ms(ok)
    arrivals = len(records)
    # The mean over requests of the size of their batch overstates large ones.
    mean_batch = len(ok) / max(1e-9, float(np.sum(1.0 / ok["batch"])))
    return Run(
        capacity_rps,
        offered_rps,
        good=np.count_nonzero(latency_ms <= slo_ms) / arrivals,
        late=np.count_nonzero(records["outcome"] == 1) / arrivals,
        full=np.count_nonzero(records["outcome"] == 2) / arrivals,
        mean_batch=mean_batch,
        p99_ms=float(np.quantile(latency_ms, 0.99)) if len(ok) else float("nan"),
    )


def report(runs: list[Run], params: dict[str, object]) -> None:
    figures = {key: statistics.median(getattr(run, key) for run in runs) for key in Run._fields}
    figures["ideal"] = statistics.median(run.ideal for run in runs)
    figures["of_ideal"] = statistics.median(run.good / run.ideal for run in runs)
    emit("overload", params, **figures, load=load_average())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    loads = [(f"{times:g}x", times) for times in TIMES_CAPACITY]
    loads += [(f"{rate:g} rps", rate) for rate in RATES_RPS]
    found: dict[tuple[float, str], list[Run]] = {}
    with serve("mlp") as served:

        def capacity_rps() -> float:
            return closed_loop(served.endpoint, "mlp", IN_FLIGHT, args.seconds / 4)[0]

        capacity_rps()
        before = capacity_rps()
        for seed in range(args.rounds):
            for slo_ms, (name, number) in itertools.product(SLOS_MS, loads):
                rate = number * before if name.endswith("x") else number
                load = Poisson(rate, args.seconds, seed)
                records = open_loop(served.endpoint, "mlp", load, slo_ms)
                after = capacity_rps()
                run = became(records, (before + after) / 2, rate, slo_ms)
                found.setdefault((slo_ms, name), []).append(run)
                before = after
    for (slo_ms, name), runs in found.items():
        report(
            runs,
            {
                "offered": name,
                "slo_ms": slo_ms,
                "rounds": args.rounds,
                "seconds": args.seconds,
                "share_pct": SHARE_PCT,
            },
        )


if __name__ == "__main__":
    main()
