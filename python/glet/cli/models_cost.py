"""`glet models cost`: what the models of a running glet need of their devices' memory."""

import argparse
import json
from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from glet.cli.key_options import add_key_options, keys
from glet.client import Client

ADDRESS = "tcp://127.0.0.1:5555"
PARTS = ("weights_mb", "graphs_mb", "staging_mb", "memory_mb")
# A file or a pipe has no width, and nothing is to be cut there.
PLAIN_WIDTH = 150
EXAMPLE = f"example: glet models cost {ADDRESS}"


def add_cost(commands: Any) -> None:
    """Adds the command; `args.run` is set to the function that does it."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "cost",
        help="show what each model of a running glet needs of its device's memory",
        description="Show what each model that is loaded needs of its device's memory, in MB: its\n"
        "weights, which all gpulets of a device share, its CUDA graphs with their inputs\n"
        "and outputs, the staging of its batches, and all of it together. On a CPU `all`\n"
        "also has what loading it added to the process.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "address", nargs="?", default=ADDRESS, help=f"of a frontend (default: {ADDRESS})"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    add_key_options(parser)
    parser.set_defaults(run=run_cost)


def run_cost(args: argparse.Namespace) -> int:
    """Prints a line per model and gpulet. Raises UnavailableError without a frontend there."""
    with Client(args.address, **keys(args)) as client:
        costs = costs_of(client.models())
    if args.json:
        print(json.dumps({"models": costs}))
    else:
        _show(costs)
    return 0


def costs_of(models: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A line per model and gpulet that has it, of what a frontend answers to `models`."""
    return [
        {
            "model": name,
            **{key: place[key] for key in ("backend", "device", "gpulet", "given_pct", "runner")},
            **{key: place.get(key, 0.0) for key in PARTS},
            "note": place.get("note", ""),
        }
        for name, model in models.items()
        for place in model["gpulets"]
        if place["state"] in ("ready", "draining")
    ]


def device_totals(costs: list[dict[str, Any]]) -> dict[str, float]:
    """Backend -> MB of all its models together: shared weights count once."""
    totals: dict[str, float] = {}
    seen: set[tuple[str, str]] = set()
    for line in costs:
        key = (line["backend"], line["model"])
        shared_mb = line["weights_mb"] if key in seen else 0.0
        seen.add(key)
        totals[line["backend"]] = totals.get(line["backend"], 0.0) + line["memory_mb"] - shared_mb
    return totals


def _show(costs: list[dict[str, Any]]) -> None:
    if not costs:
        print("no model is loaded")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("model", "device", "gpulet", "share %", "runner"):
        table.add_column(column, no_wrap=True)
    for column in ("weights", "graphs", "staging", "all MB"):
        table.add_column(column, justify="right", no_wrap=True)
    for line in costs:
        table.add_row(
            line["model"],
            line["backend"],
            str(line["gpulet"]),
            f"{line['given_pct']:.0f}",
            line["runner"],
            *(f"{line[part]:.1f}" for part in PARTS),
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    console.print(table)
    for backend, total_mb in device_totals(costs).items():
        console.print(f"{backend}: {total_mb:.1f} MB, weights that gpulets share once")
    for line in costs:
        if line["note"]:
            console.print(
                f"{line['model']} on gpulet {line['gpulet']}: {line['note']}", markup=False
            )
