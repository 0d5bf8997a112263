"""Requests/s over TLS and without, HTTP by `wrk` and gRPC by `h2load`, in one run and alternating.

Echo of 4 floats by a frontend's loop and an engine in this process; connections are kept. CPU time
is this process's, per request: on a busy machine it is the number to compare. The certificate is
EC P-256, the client takes TLS 1.3 with AES-GCM.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from result import emit
from rig import load_average

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shared"))
from echo_loop import echo_loop
from oip_messages import message
from tls_parts import BODY, INFER, Authority

from glet.config.security import SecurityConfig
from glet.native import core
from glet.serve.nghttp2_path import nghttp2_path
from glet.serve.web_guard import WebGuard

IN_FLIGHT = (16, 64)
RPC = "/inference.GRPCInferenceService/ModelInfer"
SCRIPT = f"wrk.method = 'POST'\nwrk.path = '{INFER}'\nwrk.body = '{BODY.decode()}'\n"


def rate_of(command: list[str], pattern: str) -> float:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = re.search(pattern, done)
    assert found is not None, done
    assert "Non-2xx" not in done, done
    assert " 0 failed, 0 errored" in done or "wrk" in command[0], done
    return float(found[1])


def measure(protocol: str, url: str, folder: Path, in_flight: int, seconds: int) -> list[float]:
    """Requests per second, and the CPU time of each in us."""
    before_s = time.process_time()
    per_s = rate(protocol, url, folder, in_flight, seconds)
    return [per_s, (time.process_time() - before_s) / (per_s * seconds) * 1e6]


def rate(protocol: str, url: str, folder: Path, in_flight: int, seconds: int) -> float:
    if protocol == "http":
        script = str(folder / "echo.lua")
        words = ["wrk", "-t1", f"-c{in_flight}", f"-d{seconds}s", "-s", script, url]
        return rate_of(words, r"Requests/sec:\s+([\d.]+)")
    words = [
        "h2load", f"-D{seconds}", "-c4", f"-m{in_flight // 4}", "-d", str(folder / "request"),
        "-H", "content-type: application/grpc", "-H", "te: trailers", url + RPC,
    ]  # fmt: skip
    return rate_of(words, r"finished in [\d.]+s, ([\d.]+) req/s")


def grpc_request() -> bytes:
    x = np.arange(4, dtype=np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4]}
    asked: Any = message(
        "ModelInferRequest", model_name="echo", inputs=[tensor], raw_input_contents=[x.tobytes()]
    )
    data: bytes = asked.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=3, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    at = SimpleNamespace(plain={}, tls={})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "echo.lua").write_text(SCRIPT)
        (folder / "request").write_bytes(grpc_request())
        pair = Authority(folder).sign("server")
        guard = WebGuard(SecurityConfig(tls_cert=pair.cert, tls_key=pair.key))

        def add_doors(loop: Any) -> None:
            for found, scheme, of in ((at.plain, "http", None), (at.tls, "https", guard.core)):
                http = core.add_http_door(loop, "127.0.0.1:0", 64, 100, guard=of)
                grpc = core.add_grpc_door(loop, "127.0.0.1:0", nghttp2_path(), 64, 100, guard=of)
                found.update(http=f"{scheme}://{http}", grpc=f"{scheme}://{grpc}")

        with echo_loop(add_doors) as rig:
            rig.echo("echo", [("x", "float32", [4])], 60_000.0)
            for protocol in ("http", "grpc"):
                rate(protocol, at.plain[protocol], folder, 16, 1)
                for in_flight in IN_FLIGHT:
                    rounds = [
                        [
                            measure(protocol, found[protocol], folder, in_flight, args.seconds)
                            for found in (at.plain, at.tls)
                        ]
                        for _ in range(args.rounds)
                    ]
                    plain, tls = np.median(np.array(rounds), axis=0)
                    emit(
                        "tls_echo",
                        {"protocol": protocol, "in_flight": in_flight, "seconds": args.seconds},
                        plain_per_s=float(plain[0]),
                        tls_per_s=float(tls[0]),
                        ratio=float(tls[0] / plain[0]),
                        plain_cpu_us=float(plain[1]),
                        tls_cpu_us=float(tls[1]),
                        cpu_ratio=float(tls[1] / plain[1]),
                        load=load_average(),
                    )


if __name__ == "__main__":
    main()
