"""The client of the demo: waits until the models serve, sends requests, writes the results log.

The log is laid out as the published one: RESULTS/overlapped/MODEL-1-client.csv, and in it a line
for every answer, `Respond Time: MS for Request ID N`, with N counted from 0 for every request that
was sent. RESULTS/report.json and RESULTS/requests.csv are what `glet load` says of the same run.
"""

import argparse
import csv
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from glet.clock import SystemClock

FRONTEND = "10.10.0.20"
NS_PER_MS = 1e6
PAUSE_S = 0.5


def main() -> int:
    """The exit code: 0 when every request was answered."""
    args = parser().parse_args()
    if not wait_until_ready(f"http://{args.frontend}:8000", args.model, args.wait_s):
        print(
            f"client: the models do not serve within {args.wait_s:g} s; "
            "look at the logs of frontend and backends",
            file=sys.stderr,
        )
        return 1
    args.results.mkdir(parents=True, exist_ok=True)
    requests_csv = args.results / "requests.csv"
    models = [word for model in args.model for word in ("--model", f"{model}={args.rps:g}")]
    print("client: sending", flush=True)
    options = ["--seconds", f"{args.seconds:g}", "--csv", str(requests_csv), "--json"]
    words = ["load", f"tcp://{args.frontend}:8080", *models, *options]
    load = subprocess.run(
        [sys.executable, "-m", "glet.cli.main", *words], stdout=subprocess.PIPE, text=True
    )
    if not load.stdout:
        return load.returncode or 1
    (args.results / "report.json").write_text(load.stdout)
    with requests_csv.open(newline="") as file:
        write_logs(csv.DictReader(file), args.results / "overlapped")
    for model, found in json.loads(load.stdout)["models"].items():
        print(
            f"client: {model}: {found['sent']} sent, {found['ok']} ok, "
            f"{found['unanswered']} unanswered, p99 {found['p99_ms']} ms"
        )
    return load.returncode


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(description="The client of the demo.")
    made.add_argument("results", type=Path, help="folder of the results log")
    made.add_argument("--frontend", default=FRONTEND, help="default: %(default)s")
    made.add_argument("--model", nargs="+", default=["resnet50", "vgg16"], help="default: both")
    made.add_argument("--rps", type=float, default=50.0, help="of each model (default: 50)")
    made.add_argument("--seconds", type=float, default=10.0, help="how long (default: 10)")
    made.add_argument("--wait-s", type=float, default=120.0, help="for the models (default: 120)")
    return made


def wait_until_ready(door: str, models: list[str], wait_s: float) -> bool:
    """Whether all models serve within `wait_s`."""
    clock = SystemClock()
    until_s = clock.now_s() + wait_s
    while not all(is_ready(f"{door}/v2/models/{model}/ready") for model in models):
        if clock.now_s() > until_s:
            return False
        clock.sleep_s(PAUSE_S)
    return True


def is_ready(url: str) -> bool:
    """Whether the door answers with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5.0) as answer:
            return answer.status == 200
    except OSError:
        return False


def write_logs(requests: csv.DictReader, folder: Path) -> None:
    """A file per model. A request that was refused or not answered has no line."""
    folder.mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[str]] = {}
    sent: dict[str, int] = {}
    for row in requests:
        model = row["model"]
        number = sent[model] = sent.get(model, -1) + 1
        kept = lines.setdefault(model, [])
        if row["outcome"] == "ok":
            took_ms = (int(row["answered_ns"]) - int(row["sent_ns"])) / NS_PER_MS
            kept.append(f"Respond Time: {took_ms:.6f} for Request ID {number}\n")
    for model, kept in lines.items():
        (folder / f"{model}-1-client.csv").write_text("".join(kept))


if __name__ == "__main__":
    sys.exit(main())
