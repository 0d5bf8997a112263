"""p99 of the 16-float echo with and without a process that plans beside it.

The planner is a pure-Python loop at the same priority; it shares the machine, not the GIL.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from result import emit
from rig import SHARE_PCT, Poisson, answered_ok, latencies_ms, load_average, open_loop, serve

PLAN = "x = 1\nwhile True:\n    x = x * 31 % 1000003"


@contextmanager
def planning() -> Iterator[None]:
    planner = subprocess.Popen([sys.executable, "-c", PLAN])
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
    without, beside = [], []
    with serve("echo") as served:
        for seed in range(args.rounds):
            load = Poisson(args.rps, args.seconds, seed)
            without.append(quantiles(served.endpoint, load))
            with planning():
                beside.append(quantiles(served.endpoint, load))
    figures = {}
    for key in ("p50_ms", "p99_ms"):
        figures[f"{key}_without"] = statistics.median(one[key] for one in without)
        figures[f"{key}_planning"] = statistics.median(one[key] for one in beside)
        figures[f"{key}_ratio"] = statistics.median(
            two[key] / one[key] for one, two in zip(without, beside, strict=True)
        )
    emit(
        "planning",
        {"rps": args.rps, "rounds": args.rounds, "seconds": args.seconds, "share_pct": SHARE_PCT},
        **figures,
        load=load_average(),
    )


if __name__ == "__main__":
    main()
