"""The loads: closed loops by wrk and h2load, an open loop by glet's own generator."""

import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from launch import Running, ask
from starts import Call

from glet.native import core
from glet.observe.report import Outcome, Records
from glet.wire.zmq_path import libzmq_path
from glet.workload.arrivals import parse_arrivals

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "shared")]
from http_echo import MICROS, wrk  # noqa: E402

SLOS_MS = (25.0, 50.0, 100.0)
# Ahead of every open loop, and not looked at: connections are opened in it.
SETTLE_S = 0.5
# A client gives up then; beyond every objective that is looked at.
TIMEOUT_S = 2.0
GRPC_CONNECTIONS = 4
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
    data = running.site.work / "grpc.bin"
    data.write_bytes(grpc_frame(call_of(running).message))
    check_grpc(running)
    h2load(running, data, in_flight, 1)
    before = running.cpu_s()
    total, rate, p50_ms = h2load(running, data, in_flight, seconds)
    return Closed(rate, p50_ms, (running.cpu_s() - before) / total * 1e6)


def call_of(running: Running) -> Call:
    if running.launch.grpc is None:
        raise ValueError("this server is not measured over gRPC")
    return running.launch.grpc


def grpc_frame(message: bytes) -> bytes:
    """A request as it follows the headers: not compressed, its length, the message."""
    return struct.pack(">BI", 0, len(message)) + message


def check_grpc(running: Running) -> None:
    """An answer with the numbers that belong to it: h2load sees statuses of HTTP only."""
    import grpc

    call = call_of(running)
    with grpc.insecure_channel(f"127.0.0.1:{running.site.grpc}") as channel:
        answer = channel.unary_unary(call.method)(call.message, timeout=30, wait_for_ready=True)
    if running.site.model == "echo" and call.answer not in answer:
        raise RuntimeError(f"the echo's answer over gRPC lacks its numbers: {answer!r}")


def h2load(running: Running, data: Path, in_flight: int, seconds: int) -> tuple[int, float, float]:
    """Requests, requests per second, and the mean latency in ms (h2load has no median)."""
    done = subprocess.run(
        ["h2load", "-D", str(seconds), "-c", str(GRPC_CONNECTIONS),
         "-m", str(in_flight // GRPC_CONNECTIONS), "-d", data,
         "-H", "content-type: application/grpc", "-H", "te: trailers",
         f"http://127.0.0.1:{running.site.grpc}{call_of(running).method}"],
        check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip
    rate = re.search(r"finished in [\d.]+s, ([\d.]+) req/s", done)
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", done)
    time = re.search(r"time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)", done)
    if rate is None or counts is None or time is None or (counts[2], counts[3]) != ("0", "0"):
        raise RuntimeError(f"h2load: {done}")
    return int(counts[1]), float(rate[1]), float(time[1]) * MICROS[time[2]] / 1e3


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
