"""`glet demo`: the main job on whatever this machine has, with real models and real requests."""

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
from rich.console import Console

from glet.cli.daemon import add_partition_options
from glet.cli.generate import Reached, generate
from glet.cli.load import check_times, model_load, report_of, show, warn
from glet.client import Client
from glet.clock import Clock, SystemClock
from glet.config.cluster import BackendConfig, ClusterConfig, ControlConfig, ControlMode
from glet.errors import ConfigError, ModelError
from glet.serve.compile_cache import default_cache
from glet.serve.export import export_model
from glet.serve.repository import Repository
from glet.serve.up import LocalCluster
from glet.workload.arrivals import PoissonArrivals

EXAMPLE = """example:
  glet demo --seconds 20
  glet demo --load 0.9 --json
"""
MODELS = ("lenet", "bert_tiny", "mobilenet_v2")
DEMO_FOLDER = "demo-models"
# Above this the generator and the daemons, not the models, are what a small machine is busy with.
MAX_RATE_RPS = 300.0
SEED = 0


def add_parser(subparsers: Any) -> None:
    """Adds the command; `args.run` is set to the function that does it."""
    parser = subparsers.add_parser(
        "demo",
        help="serve three sample models, send them real requests, report",
        description="Prepare three sample models, serve them on gpulets of this machine, send "
        "real\nrequests to all of them, report.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seconds", type=float, default=20.0, metavar="S", help="how long (default: %(default)s)"
    )
    parser.add_argument(
        "--load",
        type=float,
        default=0.5,
        metavar="FRACTION",
        help="offered rate as a fraction of what the gpulets carry (default: %(default)s)",
    )
    parser.add_argument(
        "--models",
        type=Path,
        metavar="DIR",
        help="where the sample models are kept (default: in the cache)",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=default_cache(),
        metavar="DIR",
        help="where compiled models are kept (default: %(default)s)",
    )
    add_partition_options(parser, default="auto")
    parser.add_argument(
        "--control",
        choices=get_args(ControlMode),
        default="auto",
        help="static serves one plan, follow re-plans from measured rates (default: %(default)s: "
        "follow with a profile)",
    )
    parser.add_argument(
        "--seed", type=int, default=SEED, help="of arrivals and inputs (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(run=run, deadline_ms=None)


def run(args: argparse.Namespace) -> int:
    """Runs the demo; 0 when every request was answered, else 1."""
    return demo(args, SystemClock(), Console(stderr=True))


def demo(args: argparse.Namespace, clock: Clock, console: Console) -> int:
    """The same with its clock and the console for progress."""
    check_times(args)
    if not 0.0 < args.load <= 10.0:
        raise ConfigError(f"--load {args.load}; give a fraction above 0 and up to 10")

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    folder = args.models or args.cache / DEMO_FOLDER
    prepare(folder, say)
    config = ClusterConfig(
        listen="tcp://127.0.0.1:*",
        models=str(folder.resolve()),
        cache=str(args.cache.resolve()),
        partition=args.partition,
        control=ControlConfig(mode=args.control),
        backend=(BackendConfig(profile=os.path.abspath(args.profile) if args.profile else ""),),
    )
    with LocalCluster(config, clock, report=say) as cluster:
        found = measure(args, cluster, Repository(folder), clock, console)
    code = show(found, as_json=args.json)
    if not args.json:
        show_accuracy(found)
    return code


def prepare(folder: Path, say: Callable[[str], None]) -> None:
    """Exports the sample models that are not there yet."""
    for name in MODELS:
        if (folder / name / "model.toml").exists():
            continue
        trained = " (and training it on handwritten digits)" if name == "lenet" else ""
        say(f"exporting {name}{trained}")
        export_model(name, folder)


def measure(
    args: argparse.Namespace,
    cluster: LocalCluster,
    repository: Repository,
    clock: Clock,
    console: Console,
) -> dict[str, Any]:
    """Sends the load and returns its report, with the gpulets that carried it."""
    address = cluster.endpoint
    # Its own frontend has no keys, whatever the environment says of others.
    with Client(address, server_key="") as client:
        served, stats = client.models(), client.stats()
        rng = np.random.default_rng(args.seed)
        loads = []
        for name in MODELS:
            rate_rps = min(MAX_RATE_RPS, args.load * capacity_rps(name, served, stats))
            times_s = PoissonArrivals().times_s(rate_rps, args.seconds, rng)
            loads.append(model_load(name, served, repository, times_s, (None, rng)))
        show_gpulets(stats, console)
        done = generate(
            Reached(address), loads, args.seconds, clock, console, lambda: cluster.poll(0.0)
        )
    found = report_of(done, loads, served, stats)
    warn(found, done, console)
    return found


def capacity_rps(name: str, served: Mapping[str, Any], stats: Mapping[str, Any]) -> float:
    """What the model's gpulets carry at most, when its neighbours take their part of the time.

    Raises ModelError when the model is not served.
    """
    total_rps = 0.0
    for gpulet in stats["gpulets"]:
        sharing = len(gpulet["models"])
        total_rps += sum(row["weight"] / sharing for row in gpulet["models"] if row["name"] == name)
    if not total_rps:
        raise ModelError(
            f"{name} is not served: {served.get(name, {}).get('error') or 'no gpulet'}"
        )
    return total_rps


def show_gpulets(stats: Mapping[str, Any], console: Console) -> None:
    """One line per gpulet: its share, its cores or SMs, its models."""
    for gpulet in stats["gpulets"]:
        names = ", ".join(row["name"] for row in gpulet["models"]) or "idle"
        console.print(
            f"gpulet {gpulet['gpulet']}: {gpulet['share_pct']} % of {gpulet['backend']}"
            f"{_place(gpulet)}: {names}",
            markup=False,
            highlight=False,
        )


def _place(gpulet: Mapping[str, Any]) -> str:
    if gpulet["cores"]:
        return f", core {','.join(str(core) for core in gpulet['cores'])}"
    if gpulet["units"] is not None:
        first, count = gpulet["units"]["first"], gpulet["units"]["count"]
        return f", units {first}..{first + count - 1}, {gpulet['sms']} SMs"
    return f", at most {gpulet['sms']} SMs" if gpulet["sms"] else ""


def show_accuracy(found: Mapping[str, Any]) -> None:
    """Says what the report means for the handwritten digits."""
    accuracy = found["models"]["lenet"].get("accuracy")
    if accuracy is not None:
        print(f"lenet read {accuracy:.1%} of the held-out handwritten digits it was sent.")
