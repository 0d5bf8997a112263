"""What an app costs beyond its model requests: the 16-float echo alone, and as an app's stages.

`six` is an app that splits six rows into six requests of the echo and gathers them; `one` is an app
of a single stage. Both loads keep as many model requests in flight. `model_rps` counts requests of
the echo, whoever asked; `cost` is the echo's rate over that: 1 when the app costs nothing, below 1
where one message in place of six saves more than the app costs.
"""

import argparse
import statistics

import numpy as np
import rig
from result import emit, quantiles_ms
from rig import MODELS, SHARE_PCT, closed_loop, load_average, make_models, serve

IN_FLIGHT = (1, 10)  # app requests
ROWS = {"one": 1, "six": 6}
APP = """slo_ms = 1000.0
[[input]]
name = "x"
dtype = "float32"
shape = {shape}
[[stage]]
name = "echo"
model = "echo"
each = {each}
inputs = {{ x = "x" }}
[[output]]
name = "y"
from = "echo.y"
"""


def make_apps() -> None:
    make_models()
    for name, rows in ROWS.items():
        shape = [16] if rows == 1 else [rows, 16]
        rig.SAMPLES[name] = np.zeros(shape, dtype=np.float32)
        (MODELS / name).mkdir(exist_ok=True)
        text = APP.format(shape=shape, each=str(rows > 1).lower())
        (MODELS / name / "app.toml").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    make_apps()
    with serve("echo") as served:
        for app, rows in ROWS.items():
            for in_flight in IN_FLIGHT:
                alone, inside, latencies_s = [], [], []
                for _ in range(args.rounds):
                    rate, _ = closed_loop(served.endpoint, "echo", rows * in_flight, args.seconds)
                    alone.append(rate)
                    rate, found_s = closed_loop(served.endpoint, app, in_flight, args.seconds)
                    inside.append(rows * rate)
                    latencies_s += found_s
                ratios = [a / b for a, b in zip(alone, inside, strict=True)]
                emit(
                    "app_cost",
                    {"app": app, "in_flight": in_flight, "rounds": args.rounds,
                     "seconds": args.seconds, "share_pct": SHARE_PCT},
                    echo_rps=statistics.median(alone),
                    model_rps=statistics.median(inside),
                    cost=statistics.median(ratios),
                    **quantiles_ms(latencies_s),
                    load=load_average(),
                )  # fmt: skip


if __name__ == "__main__":
    main()
