"""Triton's perf_analyzer against glet: sweeps over HTTP and gRPC, by concurrency and by rate.

`--setup` fetches the program once, into build/peers (PyPI, Debian's archive): it is in the wheels
of old tritonclients, and needs a CUDA runtime and libb64 to start, no GPU. Prints one JSON line
per row of a sweep; a sweep that does not come to its end is said with what perf_analyzer printed,
and the exit code is 1.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

PEERS = Path(__file__).resolve().parent
sys.path[:0] = [str(PEERS.parent), str(PEERS.parents[1] / "shared")]

from result import ROOT, emit  # noqa: E402
from served_models import Served, served_models  # noqa: E402

HOME = ROOT / "build" / "peers" / "perf_analyzer"
WHEELS = ("tritonclient==2.51.0", "nvidia-cuda-runtime-cu12==12.6.77")
PROGRAM = HOME / "tritonclient-2.51.0.data" / "data" / "bin" / "perf_analyzer"
LIBRARIES = (
    HOME / "usr" / "lib" / "x86_64-linux-gnu",
    HOME / "nvidia" / "cuda_runtime" / "lib",
)
IN_MEMORY = ["--shared-memory", "system", "--output-shared-memory-size", "64"]
SWEEPS = {
    "http": ["-i", "http", "--concurrency-range", "1:4:1"],
    "http, shared memory": ["-i", "http", *IN_MEMORY, "--concurrency-range", "1:2:1"],
    "http, rate": ["-i", "http", "--request-rate-range", "100:300:100"],
    "grpc": ["-i", "grpc", "--async", "--concurrency-range", "1:16:5"],
    "grpc, shared memory": ["-i", "grpc", *IN_MEMORY, "--concurrency-range", "1:2:1"],
    "grpc, stream": ["-i", "grpc", "--streaming", "--concurrency-range", "4"],
    "grpc, rate": ["-i", "grpc", "--request-rate-range", "100:300:100"],
}
ROW = re.compile(r"^([A-Z][\w ]+): (\d+), throughput: ([\d.]+) infer/sec, latency (\d+) usec", re.M)


def set_up() -> None:
    """Raises subprocess.CalledProcessError when something cannot be fetched."""
    HOME.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--python-version", "3.10"]
    subprocess.run([*pip, "--only-binary", ":all:", *WHEELS], check=True, cwd=HOME)
    for wheel in HOME.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(HOME)
    subprocess.run(["apt-get", "download", "-qq", "libb64-0d"], check=True, cwd=HOME)
    for package in HOME.glob("libb64-0d*.deb"):
        subprocess.run(["dpkg-deb", "--extract", package, HOME], check=True)
    PROGRAM.chmod(0o755)


def sweep(served: Served, words: list[str], args: argparse.Namespace) -> str:
    """What perf_analyzer printed. Raises subprocess.CalledProcessError."""
    address = served.grpc if "grpc" in words else served.http
    window = ["--measurement-interval", str(int(args.seconds * 1000.0)), "-r", "10"]
    steady = ["-s", str(args.steady_pct)]
    return subprocess.run(
        [PROGRAM, "-m", "double", "-b", "1", "-u", address, *window, *steady, *words],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": ":".join(map(str, LIBRARIES))},
    ).stdout


def rows(printed: str) -> list[dict[str, Any]]:
    return [
        {"by": by.lower(), "at": int(at), "infer_per_s": float(rate), "latency_us": int(latency)}
        for by, at, rate, latency in ROW.findall(printed)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--setup", action="store_true", help="fetch perf_analyzer first")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a measurement window")
    parser.add_argument(
        "--steady-pct", type=int, default=50, help="by how much windows of one point may differ"
    )
    args = parser.parse_args()
    if args.setup:
        set_up()
    if not PROGRAM.exists():
        parser.error(f"{PROGRAM} is not there; run this with --setup")
    failed = False
    with tempfile.TemporaryDirectory() as folder, served_models(Path(folder)) as served:
        for name, words in SWEEPS.items():
            try:
                found = rows(sweep(served, words, args))
            except subprocess.CalledProcessError as error:
                failed = True
                print(f"{name}: exit code {error.returncode}\n{error.output}", file=sys.stderr)
                continue
            for row in found:
                emit("perf_analyzer", {"sweep": name}, **row)
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
