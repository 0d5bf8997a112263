"""The process of `glet up --ray` that keeps backends on the nodes of a Ray cluster."""

import argparse
import sys
from pathlib import Path

from glet import log
from glet.cli.daemon import run_daemon
from glet.cli.main import Parser, run_command
from glet.clock import SystemClock
from glet.config.cluster import load_cluster
from glet.serve.ray_backends import serve


def parser() -> Parser:
    """Its options: nobody but `glet up` starts it."""
    made = Parser(prog="glet-ray", description="Backends on the nodes of a Ray cluster.")
    made.add_argument("cluster", type=Path, help="the cluster.json of glet up")
    made.add_argument("--log-level", choices=log.LEVELS, default="warning")
    made.add_argument("--status-fd", type=int, metavar="N")
    made.add_argument("--parent-pid", type=int, metavar="PID")
    return made


def run(args: argparse.Namespace) -> int:
    """Until SIGTERM; the exit code."""
    cluster = load_cluster(args.cluster)
    return run_daemon(
        args, "ray", lambda status: serve(cluster, status, SystemClock(), args.log_level)
    )


if __name__ == "__main__":
    sys.exit(run_command(parser(), run))
