"""`glet models load` and `unload`: what a running glet serves, changed."""

import argparse
import json
import math
from typing import Any

from glet.cli.key_options import add_key_options, keys
from glet.cli.models_cost import ADDRESS
from glet.client import Client
from glet.errors import ConfigError

# As long as the frontend itself waits for a model to be compiled and loaded.
LIMIT_S = 960.0


def add_load(commands: Any) -> None:
    """Adds both commands; `args.run` is set to the function that does it."""
    load = _add(
        commands,
        "load",
        "have a running glet serve a model or app, or its entry as it is now",
        "Reads the entry NAME of the repository again and waits until it serves. A new folder is\n"
        "found; an entry that changed is unloaded first.",
        run_load,
    )
    load.add_argument(
        "--slo-ms", type=float, metavar="X", help="in place of the entry's, until the next load"
    )
    load.add_argument(
        "--max-batch", type=int, metavar="N", help="in place of the entry's, until the next load"
    )
    unload = _add(
        commands,
        "unload",
        "have a running glet serve a model or app no more",
        "Requests in flight are answered, new ones refused. It is served again after\n"
        "`glet models load NAME`, or when all of glet starts anew.",
        run_unload,
    )
    unload.add_argument(
        "--dependents", action="store_true", help="of an app: its models, which no other needs, too"
    )


def run_load(args: argparse.Namespace) -> int:
    """Returns when it serves. Raises ConfigError, and what Client.load() raises."""
    if args.slo_ms is not None and not (math.isfinite(args.slo_ms) and args.slo_ms > 0.0):
        raise ConfigError(f"--slo-ms {args.slo_ms:g}; give milliseconds, above 0")
    if args.max_batch is not None and args.max_batch < 1:
        raise ConfigError(f"--max-batch {args.max_batch}; valid is 1 or more")
    with Client(args.address, timeout_s=LIMIT_S, **keys(args)) as client:
        client.load(args.name, slo_ms=args.slo_ms, max_batch=args.max_batch)
    _tell(args, "loaded", f"{args.name} serves")
    return 0


def run_unload(args: argparse.Namespace) -> int:
    """Returns when nobody hosts it. Raises what Client.unload() raises."""
    with Client(args.address, timeout_s=LIMIT_S, **keys(args)) as client:
        client.unload(args.name, dependents=args.dependents)
    _tell(args, "unloaded", f"{args.name} is unloaded")
    return 0


def _add(
    commands: Any, name: str, summary: str, description: str, run: Any
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"example: glet models {name} lenet",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="of the model or app")
    parser.add_argument(
        "--address",
        default=ADDRESS,
        metavar="ENDPOINT",
        help="of a frontend (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    add_key_options(parser)
    parser.set_defaults(run=run)
    return parser


def _tell(args: argparse.Namespace, key: str, line: str) -> None:
    print(json.dumps({key: args.name}) if args.json else line)
