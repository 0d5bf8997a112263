"""The loads: closed loops by wrk and h2load, an open loop by glet's own generator."""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from launch import Running, ask

from glet.native import core
from glet.observe.report import Outcome, Records
from glet.wire.zmq_path import libzmq_path
from glet.workload.arrivals import parse_arrivals

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]
from grpc_echo import check, grpc_frame, h2load  # noqa: E402
from http_echo import wrk  # noqa: E402

SLOS_MS = (25.0, 50.0, 100.0)
# Ahead of every open loop, and not looked at: connections are opened in it.
SETTLE_S = 0.5
# Ahead of the first open loop of a server.
WARM_UP_S = 2.0
# A client gives up then; beyond every objective that is looked at.
TIMEOUT_S = 2.0
SCRIPT = """
wrk.method = "POST"
wrk.path = "{path}"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{body}'
"""


class Closed(NamedTuple):
    """A closed loop; CPU time is that of all the server's processes, per request."""

    requests_per_s: float
    p50_ms: float
    cpu_us: float


class Open(NamedTuple):
    """Shares of the arrivals answered within 25, 50 and 100 ms, or at all; p99 of the answers."""

    good_25ms: float
    good_50ms: float
    good_100ms: float
    answered: float
    p99_ms: float
    behind_p99_ms: float  # of the load itself: a run with a large one says little


def closed_http(running: Running, connections: int, seconds: int) -> Closed:
    script = running.site.work / "wrk.lua"
    text = SCRIPT.format(path=running.launch.path, body=running.body())
    script.write_text(text, encoding="utf-8")
    address = f"127.0.0.1:{running.site.http}"
    wrk(address, script, connections, 1)
    before = running.cpu_s()
    total, rate, p50_ms = wrk(address, script, connections, seconds)
    return Closed(rate, p50_ms, (running.cpu_s() - before) / total * 1e6)


def closed_grpc(running: Running, in_flight: int, seconds: int) -> Closed:
    """One message over and over, `in_flight` over 4 connections."""
    call = running.launch.grpc
    if call is None:
        raise ValueError("this server is not measured over gRPC")
    address = f"127.0.0.1:{running.site.grpc}"
    check(address, call.method, call.message, call.answer)
    data = running.site.work / "grpc.bin"
    data.write_bytes(grpc_frame(call.message))
    h2load(address, call.method, data, in_flight, 1)
    before = running.cpu_s()
    total, rate, mean_ms = h2load(address, call.method, data, in_flight, seconds)
    return Closed(rate, mean_ms, (running.cpu_s() - before) / total * 1e6)


def open_http(running: Running, rate_rps: float, seconds: float, seed: int) -> Open:
    """A Poisson load; afterwards waits until the server is through with what it was left."""
    poisson = parse_arrivals("poisson")
    times_s = poisson.times_s(rate_rps, SETTLE_S + seconds, np.random.default_rng(seed))
    address = f"http://127.0.0.1:{running.site.http}"
    loop = core.LoadLoop(libzmq_path(), address, give_up_s=TIMEOUT_S, drain_s=2 * TIMEOUT_S)
    try:
        arrivals_ns = (times_s * 1e9).astype(np.int64)
        loop.add_http_model(running.site.model, [request_of(running)], arrivals_ns=arrivals_ns)
        loop.start_open()
        while not loop.wait(1.0):
            pass
        records = loop.records()
    finally:
        loop.close()
    wait_until_idle(running)
    return became(records)


def warm_up(running: Running) -> None:
    """Eight requests in flight for a while, whatever becomes of them: Java compiles what is hot."""
    loop = core.LoadLoop(libzmq_path(), f"http://127.0.0.1:{running.site.http}")
    try:
        loop.add_http_model(running.site.model, [request_of(running)])
        loop.start_closed(8, duration_s=WARM_UP_S)
        while not loop.wait(1.0):
            pass
    finally:
        loop.close()
    wait_until_idle(running)


def request_of(running: Running) -> bytes:
    body = running.body().encode()
    return (
        f"POST {running.launch.path} HTTP/1.1\r\nHost: 127.0.0.1:{running.site.http}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def became(records: Records) -> Open:
    """What became of the requests that were due after the first SETTLE_S."""
    sent = records[records["intended_ns"] >= SETTLE_S * 1e9]
    ok = sent[sent["outcome"] == Outcome.OK]
    latency_ms = (ok["answered_ns"] - ok["intended_ns"]) / 1e6
    good = (np.count_nonzero(latency_ms <= slo_ms) / len(sent) for slo_ms in SLOS_MS)
    p99_ms = float(np.quantile(latency_ms, 0.99)) if len(ok) else float("nan")
    behind_ms = (sent["sent_ns"] - sent["intended_ns"]) / 1e6
    return Open(*good, len(ok) / len(sent), p99_ms, float(np.quantile(behind_ms, 0.99)))


def wait_until_idle(running: Running) -> None:
    """A server that answers in order answers this one after all that it still holds."""
    for _ in range(60):
        if ask(running, timeout_s=60.0) is not None:
            return
    raise RuntimeError(f"{running.site.work}: no answer after a load")
