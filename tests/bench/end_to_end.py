"""Requests/s and latency over ZeroMQ on one machine, beside a bare one-hop echo in the same run.

bare    Python client and Python echo server, one hop, the same frames
raw     the same Python client speaking glet's wire to frontend and executor
native  the core's closed loop
async   glet.AsyncClient: a coroutine per request in flight
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack

import msgpack
from bare_echo import bare_echo, closed_loop, greeted, infer_requests
from result import emit, quantiles_ms
from rig import SAMPLES, SHARE_PCT, free_port, load_average, serve
from rig import closed_loop as native_loop

from glet import AsyncClient

HELLO = msgpack.packb({"op": "hello", "version": 1, "role": "client"})
IN_FLIGHT = {"echo": (1, 16, 64, 256), "image": (1, 16, 64)}

Run = Callable[[int, float], tuple[float, list[float]]]


def python_client(endpoint: str, model: str) -> Run:
    requests = infer_requests(model, SAMPLES[model])

    def run(in_flight: int, seconds: float) -> tuple[float, list[float]]:
        with greeted(endpoint, HELLO) as socket:
            return closed_loop(socket, requests, in_flight, seconds)

    return run


def native_client(endpoint: str, model: str) -> Run:
    return lambda in_flight, seconds: native_loop(endpoint, model, in_flight, seconds)


def async_client(endpoint: str, model: str) -> Run:
    return lambda in_flight, seconds: asyncio.run(awaited(endpoint, model, in_flight, seconds))


async def awaited(
    endpoint: str, model: str, in_flight: int, seconds: float
) -> tuple[float, list[float]]:
    clock, latencies, inputs = time.perf_counter, [], {"x": SAMPLES[model]}

    async def one_at_a_time(client: AsyncClient, end: float) -> None:
        while (start := clock()) < end:
            await client.infer(model, inputs)
            latencies.append(clock() - start)

    async with AsyncClient(endpoint) as client:
        await client.infer(model, inputs)
        start = clock()
        await asyncio.gather(*(one_at_a_time(client, start + seconds) for _ in range(in_flight)))
        return len(latencies) / (clock() - start), latencies


def compare(model: str, transport: str, seconds: float, rounds: int) -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        bare = f"ipc://{folder}/bare" if transport == "ipc" else f"tcp://127.0.0.1:{free_port()}"
        stack.enter_context(bare_echo(bare, short=model == "image"))
        served = stack.enter_context(serve(model, transport=transport))
        sides = {
            "bare": python_client(bare, model),
            "raw": python_client(served.endpoint, model),
            "native": native_client(served.endpoint, model),
            "async": async_client(served.endpoint, model),
        }
        for run in sides.values():
            run(16, min(seconds, 0.5))
        for in_flight in IN_FLIGHT[model]:
            report(
                sides,
                {"model": model, "transport": transport, "in_flight": in_flight},
                seconds,
                rounds,
            )


def report(sides: dict[str, Run], params: dict[str, object], seconds: float, rounds: int) -> None:
    """Sides take turns, so that what else the machine does falls on all of them."""
    measured: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, run in sides.items():
            rate, latencies = run(int(str(params["in_flight"])), seconds)
            measured[side].append({"requests_per_s": rate, **quantiles_ms(latencies)})
    for side, found in measured.items():
        ratios = [
            one["requests_per_s"] / bare["requests_per_s"]
            for one, bare in zip(found, measured["bare"], strict=True)
        ]
        medians = {key: statistics.median(one[key] for one in found) for key in found[0]}
        emit(
            "end_to_end",
            {**params, "side": side, "share_pct": SHARE_PCT, "rounds": rounds, "seconds": seconds},
            **medians,
            of_bare=statistics.median(ratios),
            load=load_average(),
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", choices=tuple(IN_FLIGHT), help="default: both")
    parser.add_argument("--transport", choices=("tcp", "ipc"), help="default: both")
    args = parser.parse_args()
    for model in [args.model] if args.model else IN_FLIGHT:
        for transport in [args.transport] if args.transport else ("tcp", "ipc"):
            compare(model, transport, args.seconds, args.rounds)


if __name__ == "__main__":
    main()
