"""Requests/s and CPU time of 16-float inferences over gRPC (ModelInfer, raw contents), by `h2load`.

CPU time is that of frontend, executor and backend with all their threads, from /proc, per request;
h2load's own is not in it. h2load has no median: `mean_ms`.
"""

import argparse
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from http_echo import MICROS, MODEL, cpu_s, emit_run
from rig import SAMPLES, serve

import glet

IN_FLIGHT = (1, 16, 64)
CONNECTIONS = 4
METHOD = "/inference.GRPCInferenceService/ModelInfer"


def infer_message(model: str, raw: bytes) -> bytes:
    """A ModelInferRequest with 16 floats `x`."""
    sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "shared")]
    from oip_messages import message

    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 16]}
    request = message(
        "ModelInferRequest", model_name=model, inputs=[tensor], raw_input_contents=[raw]
    )
    return bytes(request.SerializeToString())


def grpc_frame(message: bytes) -> bytes:
    """A request as it follows the headers: not compressed, its length, the message."""
    return struct.pack(">BI", 0, len(message)) + message


def check(address: str, method: str, message: bytes, wanted: bytes) -> None:
    """Raises RuntimeError unless `wanted` is in the answer: h2load sees statuses of HTTP only."""
    import grpc

    with grpc.insecure_channel(address) as channel:
        answer = channel.unary_unary(method)(message, timeout=30, wait_for_ready=True)
    if wanted not in answer:
        raise RuntimeError(f"the answer over gRPC lacks its numbers: {answer!r}")


def h2load(
    address: str, method: str, data: Path, in_flight: int, seconds: int
) -> tuple[int, float, float]:
    """Requests, requests per second, and the mean latency in ms; `in_flight` over 4 connections."""
    connections = min(CONNECTIONS, in_flight)
    done = subprocess.run(
        ["h2load", "-D", str(seconds), "-c", str(connections), "-m", str(in_flight // connections),
         "-d", data, "-H", "content-type: application/grpc", "-H", "te: trailers",
         f"http://{address}{method}"],
        check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip
    rate = re.search(r"finished in [\d.]+s, ([\d.]+) req/s", done)
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", done)
    time = re.search(r"time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)", done)
    if rate is None or counts is None or time is None or (counts[2], counts[3]) != ("0", "0"):
        raise RuntimeError(f"h2load: {done}")
    return int(counts[1]), float(rate[1]), float(time[1]) * MICROS[time[2]] / 1e3


def ok_answers(endpoint: str) -> int:
    """Of the frontend so far: a refusal over gRPC is a success to HTTP, and to h2load."""
    with glet.Client(endpoint) as client:
        return int(client.stats()["models"][MODEL]["ok"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=5, help="of each run")
    args = parser.parse_args()
    raw = (SAMPLES[MODEL] / 8).astype("<f4").tobytes()
    message = infer_message(MODEL, raw)
    with tempfile.TemporaryDirectory() as folder, serve(MODEL, grpc="127.0.0.1:*") as served:
        address = served.doors["grpc"]
        check(address, METHOD, message, raw)
        data = Path(folder) / "echo.bin"
        data.write_bytes(grpc_frame(message))
        h2load(address, METHOD, data, 16, 1)
        for in_flight in IN_FLIGHT:
            before = cpu_s(served.pids)
            ok_before = ok_answers(served.endpoint)
            total, rate, mean_ms = h2load(address, METHOD, data, in_flight, args.seconds)
            ok = ok_answers(served.endpoint) - ok_before
            if ok < total:
                raise RuntimeError(f"of {total} answers that h2load counts {ok} have a result")
            spent = {role: s - before[role] for role, s in cpu_s(served.pids).items()}
            params = {"in_flight": in_flight, "seconds": args.seconds}
            emit_run("grpc_echo", params, total, spent, requests_per_s=rate, mean_ms=mean_ms)


if __name__ == "__main__":
    main()
