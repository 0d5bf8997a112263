"""`glet up`: all daemons of a cluster on this machine, until stopped."""

import argparse
from pathlib import Path
from typing import Any

import msgspec

from glet import log
from glet.cli.daemon import (
    add_control_options,
    add_device_options,
    add_listen_options,
    cluster_config,
)
from glet.clock import SystemClock
from glet.config.cluster import ClusterConfig
from glet.errors import ConfigError
from glet.serve.compile_cache import default_cache
from glet.serve.poll_loop import PollLoop
from glet.serve.up import LocalCluster

EXAMPLE = """example:
  glet up --models models
  glet up --models models --http 127.0.0.1:8000
  glet up cluster.toml --plan ModelList.txt
  glet up --models models --partition profiled --profile profiles/synthetic-gpu
  glet up --models models --ray 10.0.0.1:6379 --insecure
"""


def add_parser(subparsers: Any) -> None:
    """Adds the command; `args.run` is set to the function that does it."""
    made = subparsers.add_parser(
        "up",
        help="serve a model repository on this machine",
        description="Start a frontend and a backend per device, watch them, stop them on Ctrl-C.\n"
        "Options hold against the file; what neither says has the default.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_cluster_options(made)
    made.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="backends on the nodes of this Ray cluster, HOST:PORT or auto, instead of on this "
        "machine (extra ray): one per GPU, or see --ray-cpus",
    )
    made.add_argument(
        "--ray-cpus", type=int, metavar="N", help="one backend for every N CPUs of a node"
    )
    made.set_defaults(run=run)


def add_cluster_options(parser: argparse.ArgumentParser) -> None:
    """Options of every command that starts a cluster; cluster() reads them."""
    made = parser
    made.add_argument(
        "cluster",
        nargs="?",
        type=Path,
        help="cluster.toml; without, the GPUs of this machine or its CPU",
    )
    made.add_argument("--models", metavar="DIR", help="model repository (default: models)")
    made.add_argument("--plan", metavar="FILE", help="a ModelList file (default: spread evenly)")
    add_listen_options(made)
    add_device_options(made)
    add_control_options(made)
    made.add_argument(
        "--cache",
        metavar="DIR",
        help=f"where compiled models are kept (default: {default_cache()})",
    )
    made.add_argument(
        "--insecure", action="store_true", default=None, help="allow addresses beyond this machine"
    )
    made.add_argument(
        "--log-level",
        choices=log.LEVELS,
        default="warning",
        help="of the daemons (default: %(default)s)",
    )


def cluster(args: argparse.Namespace) -> ClusterConfig:
    """The cluster of the options. Raises ConfigError."""
    config = cluster_config(args)
    if args.profile is not None:
        backends = tuple(
            msgspec.structs.replace(backend, profile=args.profile) for backend in config.backend
        )
        config = msgspec.structs.replace(config, backend=backends)
    return config


def _on_ray(config: ClusterConfig, args: argparse.Namespace) -> ClusterConfig:
    """With the options --ray laid over the file."""
    given: dict[str, Any] = {}
    if args.ray is not None:
        given["address"] = args.ray
    if args.ray_cpus is not None:
        if args.ray_cpus < 1:
            raise ConfigError(f"--ray-cpus {args.ray_cpus}; valid is 1 or more")
        given["cpus_per_backend"] = args.ray_cpus
    ray = msgspec.structs.replace(config.ray, **given)
    if ray.cpus_per_backend and not ray.address:
        raise ConfigError("--ray-cpus is for backends on Ray; say --ray ADDRESS too")
    return msgspec.structs.replace(config, ray=ray)


def run(args: argparse.Namespace) -> int:
    """Serves until SIGTERM or Ctrl-C; the exit code."""
    clock = SystemClock()
    config = _on_ray(cluster(args), args)

    def report(line: str) -> None:
        print(line, flush=True)

    with (
        PollLoop(clock) as poll,
        LocalCluster(config, clock, report=report, log_level=args.log_level, poll=poll) as started,
    ):
        while not poll.stopping:
            started.poll()
    return 0
