"""glet beside other servers: the same model, loads and machine, in turns within one run.

closed: an echo of 16 floats with dynamic batching, JSON over HTTP by wrk, gRPC by h2load.
open: an MLP (16-1024-(1024 x 11)-16, batches of at most 8) under Poisson arrivals at and beyond
what one core can do; shares of the arrivals answered within 25, 50 and 100 ms of their intended
time. Servers are set up in build/peers, each in an environment of its own, with --setup. Lines are
kept in build/peers/results.jsonl, --markdown writes the tables into README.md beside this file.
"""

import argparse
import difflib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from environments import is_set_up, set_up
from launch import Running, serve
from loads import HERE, closed_grpc, closed_http, open_http, warm_up
from result import ROOT, cpu, emit
from rig import load_average, make_models
from starts import PEERS, Setting
from tables import table

HOME = ROOT / "build" / "peers"
README = HERE / "README.md"
RESULTS = HOME / "results.jsonl"
BEGIN, END = "<!-- results -->", "<!-- /results -->"
IN_FLIGHT = (16, 64)
RATES_RPS = (800.0, 1200.0, 1600.0, 2400.0)
CLOSED = tuple(Setting(peer) for peer in PEERS)
# glet's requests carry the objective as their deadline; the others' knobs are set for 50 ms.
OPEN = (
    *(Setting("glet", f"deadline {ms} ms", {"deadline_ms": ms}) for ms in (25, 50, 100)),
    Setting("triton"),
    Setting("triton", "timeout 30 ms", {"timeout_ms": 30}),
    Setting("triton", "timeout 30 ms, queue 32", {"timeout_ms": 30, "max_queue": 32}),
    Setting("mosec"),
    Setting("mosec", "timeout 50 ms", {"timeout_ms": 50}),
    Setting("mosec", "capacity 40", {"capacity": 40}),
    Setting("litserve"),
    Setting("mlserver"),
    Setting("pytriton"),
    Setting("torchserve"),
    Setting("torchserve", "queue 32", {"queue": 32}),
    Setting("ray"),
    Setting("ray", "16 ongoing, 24 queued", {"ongoing": 16, "queued": 24}),
    Setting("bentoml"),
    Setting("bentoml", "max_latency 50 ms", {"max_latency_ms": 50}),
)

Line = dict[str, Any]
# (benchmark, its parameters) -> the figures of every round
Found = dict[tuple[str, tuple[tuple[str, Any], ...]], list[dict[str, float]]]


def closed(running: Running, setting: Setting, args: argparse.Namespace, found: Found) -> None:
    for protocol, load in (("http", closed_http), ("grpc", closed_grpc)):
        if protocol == "grpc" and running.launch.grpc is None:
            continue
        for in_flight in IN_FLIGHT:
            params = {"server": setting.peer, "protocol": protocol, "in_flight": in_flight}
            figures = load(running, in_flight, args.seconds)._asdict()
            note(found, "peers_closed", params, figures)


def opened(running: Running, setting: Setting, args: argparse.Namespace, found: Found) -> None:
    warm_up(running)
    for rate_rps in RATES_RPS:
        params = {"server": setting.peer, "setting": setting.label, "offered_rps": rate_rps}
        figures = open_http(running, rate_rps, args.seconds, args.seed)._asdict()
        note(found, "peers_open", params, figures)


def note(found: Found, bench: str, params: Line, figures: dict[str, float]) -> None:
    figures = figures | {"load": load_average()}
    found.setdefault((bench, tuple(params.items())), []).append(figures)
    shown = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
    print(f"{' '.join(str(value) for value in params.values())}: {shown}", file=sys.stderr)


def rounds(args: argparse.Namespace, peers: Sequence[str], failed: list[str]) -> Iterator[Line]:
    """Measures all servers in turns, round after round; medians over the rounds.

    One that fails is named in `failed`, and the others go on.
    """
    found: Found = {}
    parts = {"closed": ("echo", CLOSED, closed), "open": ("mlp", OPEN, opened)}
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(args.rounds):
            for name in args.parts:
                model, settings, measure = parts[name]
                for index, setting in enumerate(settings):
                    if setting.peer not in peers:
                        continue
                    work = Path(scratch) / f"{turn}-{name}-{index}"
                    try:
                        with serve(setting, model, HOME, work) as running:
                            measure(running, setting, args, found)
                    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
                        failed.append(f"{setting.peer} ({setting.label})")
                        print(f"{failed[-1]} failed: {error}", file=sys.stderr)
    for (bench, params), figures in sorted(found.items(), key=lambda item: item[0][0]):
        medians = {key: statistics.median(each[key] for each in figures) for key in figures[0]}
        said = {"seconds": args.seconds, "rounds": args.rounds}
        yield emit(bench, dict(params) | said, **medians)


def written(lines: Sequence[Line]) -> str:
    """The results as Markdown."""
    commits = ", ".join(dict.fromkeys(line["commit"] for line in lines))
    parts = [f"{cpu()}, {lines[0]['cores']} cores. Commit {commits}."]
    for bench in sorted({line["bench"] for line in lines}):
        parts.append(f"### {bench}\n\n{table([x for x in lines if x['bench'] == bench])}")
    return "\n\n".join(parts)


def stored() -> list[Line]:
    if not RESULTS.exists():
        return []
    return [json.loads(text) for text in RESULTS.read_text(encoding="utf-8").splitlines()]


def write_readme(text: str) -> None:
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def names_of(
    text: str, valid: Sequence[str], what: str, parser: argparse.ArgumentParser
) -> list[str]:
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in valid:
            near = difflib.get_close_matches(name, valid, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            parser.error(f"no {what} {name!r}{hint} There are {', '.join(valid)}")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    peers = ",".join(PEERS)
    parser.add_argument("--setup", metavar="PEER,...", help=f"set up and end; of {peers}")
    parser.add_argument("--peers", metavar="PEER,...", help="default: glet and what is set up")
    parser.add_argument("--parts", default="closed,open", help="default: %(default)s")
    parser.add_argument("--seconds", type=int, default=3, help="of each load (default: 3)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the arrivals (default: 0)")
    parser.add_argument("--markdown", action="store_true", help="write the tables to README.md")
    args = parser.parse_args()
    if args.seconds < 1 or args.rounds < 1:
        parser.error("give --seconds and --rounds of at least 1")
    if args.setup is not None:
        for peer in names_of(args.setup, tuple(PEERS), "peer", parser):
            set_up(peer, HOME)
        return
    args.parts = names_of(args.parts, ("closed", "open"), "part", parser)
    known = [peer for peer in PEERS if is_set_up(peer, HOME)]
    chosen = known if args.peers is None else names_of(args.peers, tuple(PEERS), "peer", parser)
    for peer in chosen:
        if peer not in known:
            parser.error(f"{peer} is not set up; run with --setup {peer}")
    make_models()
    start = time.monotonic()
    failed: list[str] = []
    lines = list(rounds(args, chosen, failed))
    print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)
    if not lines:
        sys.exit("nothing was measured")
    kept = [line for line in stored() if line["bench"] not in {new["bench"] for new in lines}]
    lines += kept
    RESULTS.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    print(written(lines))
    if args.markdown:
        write_readme(written(lines))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
