"""Requests/s and latency with CURVE beside the same without, from the core's closed loop.

ipc     executors in the run directory: what goes between client and frontend is encrypted
tcp     executors over tcp, as on other hosts: both hops are encrypted
"""

import argparse
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from result import emit, quantiles_ms
from rig import closed_loop, load_average, serve

from glet.config.cluster import BackendConfig
from glet.config.security import SecurityConfig
from glet.wire.keys import PLAIN, client_keys, new_pair

IN_FLIGHT = {"echo": (1, 16, 64), "image": (16,)}
DATA = {"ipc": "", "tcp": "tcp://127.0.0.1:*"}


def compare(model: str, data: str, seconds: float, rounds: int) -> None:
    """Sides take turns, so that what else the machine does falls on both."""
    with ExitStack() as stack:
        secret, public = new_pair(Path(stack.enter_context(tempfile.TemporaryDirectory())), "bench")
        backend = (BackendConfig(data=DATA[data]),)
        keyed = SecurityConfig(server_key=str(secret))
        plain = stack.enter_context(serve(model, backend=backend))
        curve = stack.enter_context(serve(model, backend=backend, security=keyed))
        sides = {
            "plain": (plain.endpoint, PLAIN),
            "curve": (curve.endpoint, client_keys(public, "")),
        }
        for endpoint, keys in sides.values():
            closed_loop(endpoint, model, 16, min(seconds, 0.5), keys)
        for in_flight in IN_FLIGHT[model]:
            measured: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
            for _ in range(rounds):
                for side, (endpoint, keys) in sides.items():
                    rate, latencies = closed_loop(endpoint, model, in_flight, seconds, keys)
                    measured[side].append({"requests_per_s": rate, **quantiles_ms(latencies)})
            ratios = [
                one["requests_per_s"] / other["requests_per_s"]
                for one, other in zip(measured["curve"], measured["plain"], strict=True)
            ]
            for side, found in measured.items():
                emit(
                    "curve",
                    {
                        "model": model,
                        "data": data,
                        "in_flight": in_flight,
                        "side": side,
                        "rounds": rounds,
                        "seconds": seconds,
                    },
                    **{key: statistics.median(one[key] for one in found) for key in found[0]},
                    of_plain=statistics.median(ratios) if side == "curve" else 1.0,
                    load=load_average(),
                )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    for data in DATA:
        for model in IN_FLIGHT:
            compare(model, data, args.seconds, args.rounds)


if __name__ == "__main__":
    main()
