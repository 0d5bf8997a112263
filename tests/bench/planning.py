"""p99 of the 16-float echo with and without a process that plans beside it.

The planner is a pure-Python loop; it shares the machine, not the GIL. At the same priority as the
daemons (nice 0) and at a lower one (nice 10).
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
from result import emit
from rig import SHARE_PCT, Poisson, answered_ok, latencies_ms, load_average, open_loop, serve

PLAN = """
import os, sys
os.nice(int(sys.argv[1]))
x = 1
while True:
    x = x * 31 % 1000003
"""
PLANNERS: dict[str, int | None] = {"none": None, "nice 0": 0, "nice 10": 10}


@contextmanager
def planning(nice: int) -> Iterator[None]:
    planner = subprocess.Popen([sys.executable, "-c", PLAN, str(nice)])
    try:
        yield
    finally:
        planner.kill()
        planner.wait()


def quantiles(endpoint: str, load: Poisson) -> dict[str, float]:
    records = answered_ok(open_loop(endpoint, "echo", load))
    p50, p99 = np.quantile(latencies_ms(records), [0.5, 0.99])
    return {"p50_ms": float(p50), "p99_ms": float(p99)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rps", type=float, default=2000.0)
    args = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in PLANNERS}
    with serve("echo") as served:
        for seed in range(args.rounds):
            for name, nice in PLANNERS.items():
                with nullcontext() if nice is None else planning(nice):
                    load = Poisson(args.rps, args.seconds, seed)
                    found[name].append(quantiles(served.endpoint, load))
    for name, runs in found.items():
        figures = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        figures["p99_ratio"] = statistics.median(
            run["p99_ms"] / without["p99_ms"]
            for run, without in zip(runs, found["none"], strict=True)
        )
        emit(
            "planning",
            {
                "planner": name,
                "rps": args.rps,
                "rounds": args.rounds,
                "seconds": args.seconds,
                "share_pct": SHARE_PCT,
            },
            **figures,
            load=load_average(),
        )


if __name__ == "__main__":
    main()
