"""`glet top`: what a cluster does right now."""

import argparse
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.live import Live

from glet.cli.key_options import add_key_options, keys
from glet.cli.top_view import frame
from glet.client import Client
from glet.clock import Clock, SystemClock
from glet.errors import ConfigError, RequestError

EXAMPLE = """example:
  glet top
  glet top tcp://10.0.0.2:5555 --interval 2
  glet top --once --json
"""
DEFAULT_ADDRESS = "tcp://127.0.0.1:5555"
ASK_LIMIT_S = 5.0
LEAST_INTERVAL_S = 0.2


def add_parser(subparsers: Any) -> None:
    """Adds the command; `args.run` is set to the function that does it."""
    parser = subparsers.add_parser(
        "top",
        help="watch gpulets, rates and latencies while they serve",
        description="Show what the controller of a frontend sees: devices with their gpulets, "
        "their width the share\nand their filling how busy they are, what models are asked and "
        "how they answer, and how the plan changed.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "address",
        nargs="?",
        default=DEFAULT_ADDRESS,
        help=f"of the frontend (default: {DEFAULT_ADDRESS})",
    )
    parser.add_argument(
        "--interval", type=float, default=1.0, metavar="S", help="default: %(default)s"
    )
    parser.add_argument("--once", action="store_true", help="one frame, then end")
    parser.add_argument(
        "--json", action="store_true", help="one JSON object on standard output, then end"
    )
    add_key_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Until Ctrl-C, or once; the exit code."""
    if not LEAST_INTERVAL_S <= args.interval <= 3600.0:
        raise ConfigError(f"--interval {args.interval}; valid are {LEAST_INTERVAL_S} to 3600 s")
    with Client(args.address, timeout_s=ASK_LIMIT_S, **keys(args)) as client:
        if args.json:
            print(json.dumps({"address": args.address, **client.observation()}))
            return 0
        console = Console()
        if args.once:
            console.print(frame(args.address, client.observation(), console.width))
            return 0
        top = Top(args.address, client.observation, console, SystemClock())
        with suppress(KeyboardInterrupt):
            top.watch(args.interval)
    return 0


class Top:
    """Asks again and again. While the frontend is gone the last frame stays, and says so."""

    def __init__(
        self, address: str, ask: Callable[[], dict[str, Any]], console: Console, clock: Clock
    ) -> None:
        self._address = address
        self._ask = ask
        self._console = console
        self._clock = clock
        self._last: dict[str, Any] | None = None
        self._heard_s = clock.now_s()

    def watch(self, interval_s: float) -> None:
        """Never returns; Ctrl-C ends it."""
        if not self._console.is_terminal:
            while True:
                self._console.print(self.look())
                self._clock.sleep_s(interval_s)
        with Live(console=self._console, auto_refresh=False, screen=True) as live:
            while True:
                live.update(self.look(), refresh=True)
                self._clock.sleep_s(interval_s)

    def look(self) -> Any:
        """The next frame."""
        gone = ""
        try:
            self._last = self._ask()
            self._heard_s = self._clock.now_s()
        except RequestError as error:
            silent_s = self._clock.now_s() - self._heard_s
            gone = f"not reached for {silent_s:.0f} s, trying again: {error}"
        return frame(self._address, self._last, self._console.width, gone=gone)
