"""`glet-frontend`: accepts requests and routes them."""

import argparse
import sys

import msgspec

from glet.cli.daemon import (
    add_control_options,
    add_listen_options,
    add_options,
    cluster_config,
    run_daemon,
)
from glet.cli.main import Parser, run_command
from glet.clock import SystemClock
from glet.config.cluster import BackendConfig
from glet.serve.frontend import Frontend
from glet.serve.status import StatusPipe

EXAMPLE = """example:
  glet-frontend cluster.toml --plan ModelList.txt --listen tcp://127.0.0.1:5555
  glet-frontend --backend tcp://127.0.0.1:5601 --backend tcp://127.0.0.1:5602
"""


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        prog="glet-frontend",
        description="Accept requests and route them to the gpulets of the backends.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(made)
    add_listen_options(made)
    add_control_options(made)
    made.add_argument(
        "--no-controller",
        action="store_true",
        help="another frontend starts it: find it at [control] address, or in the run directory",
    )
    made.add_argument("--plan", metavar="FILE", help="a ModelList file (default: spread evenly)")
    made.add_argument(
        "--backend",
        action="append",
        metavar="ENDPOINT",
        help="control address of the backend of device 0, 1, ... in this order",
    )
    return made


def run(args: argparse.Namespace) -> int:
    """Serves until SIGTERM; the exit code."""
    cluster = cluster_config(args)
    if args.backend:
        backends = tuple(
            BackendConfig(device=number, control=control)
            for number, control in enumerate(args.backend)
        )
        cluster = msgspec.structs.replace(cluster, backend=backends)

    def body(status: StatusPipe) -> None:
        frontend = Frontend(cluster, status, SystemClock())
        try:
            frontend.run()
        finally:
            frontend.close()

    return run_daemon(args, "frontend", body)


if __name__ == "__main__":
    sys.exit(run_command(parser(), run))
