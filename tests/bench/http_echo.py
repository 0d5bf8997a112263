"""Requests/s and CPU time of 16-float inferences in JSON over HTTP, by `wrk`.

CPU time is that of frontend, executor and backend with all their threads, from /proc, per request;
wrk's own is not in it. On a busy machine it is the number to compare.
"""

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path

import psutil
from result import emit
from rig import SAMPLES, SHARE_PCT, load_average, serve

CONNECTIONS = (1, 16, 64)
MODEL = "echo"
SCRIPT = """
wrk.method = "POST"
wrk.path = "/v2/models/{model}/infer"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{body}'
"""
MICROS = {"us": 1.0, "ms": 1e3, "s": 1e6}


def body() -> str:
    values = (SAMPLES[MODEL] / 8).reshape(1, -1)
    one = {"name": "x", "datatype": "FP32", "shape": list(values.shape), "data": values.tolist()}
    return json.dumps({"inputs": [one]})


def cpu_s(pids: dict[str, int]) -> dict[str, float]:
    found = {}
    for role, pid in pids.items():
        times = psutil.Process(pid).cpu_times()
        found[role] = times.user + times.system
    return found


def wrk(address: str, script: Path, connections: int, seconds: int) -> tuple[int, float, float]:
    """Requests answered with 2xx, per second, and the median latency in ms."""
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script,
         f"http://{address}"],
        check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", done)
    assert refused is None, done
    total = re.search(r"(\d+) requests in", done)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done)
    median = re.search(r"50%\s+([\d.]+)(us|ms|s)", done)
    assert total is not None, done
    assert rate is not None, done
    assert median is not None, done
    return int(total[1]), float(rate[1]), float(median[1]) * MICROS[median[2]] / 1e3


def emit_run(
    bench: str, params: dict[str, float], total: int, spent: dict[str, float], **rates: float
) -> None:
    """`spent` is CPU time in s by role, over `total` requests."""
    emit(
        bench,
        {**params, "share_pct": SHARE_PCT},
        **rates,
        cpu_us=sum(spent.values()) / total * 1e6,
        **{f"{role}_cpu_us": s / total * 1e6 for role, s in spent.items()},
        load=load_average(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=5, help="of each run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serve(MODEL, http="127.0.0.1:*") as served:
        script = Path(folder) / "echo.lua"
        script.write_text(SCRIPT.format(model=MODEL, body=body()))
        wrk(served.doors["http"], script, 16, 1)
        for connections in CONNECTIONS:
            before = cpu_s(served.pids)
            total, rate, p50_ms = wrk(served.doors["http"], script, connections, args.seconds)
            spent = {role: s - before[role] for role, s in cpu_s(served.pids).items()}
            params = {"connections": connections, "seconds": args.seconds}
            emit_run("http_echo", params, total, spent, requests_per_s=rate, p50_ms=p50_ms)


if __name__ == "__main__":
    main()
