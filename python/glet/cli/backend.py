"""`glet-backend`: owns one device and makes plans true on it."""

import argparse
import sys

import msgspec

from glet.cli.daemon import add_device_options, add_options, cluster_config, run_daemon
from glet.cli.main import Parser, run_command
from glet.clock import SystemClock
from glet.config.cluster import BackendConfig, ClusterConfig, backend_name
from glet.config.load import nearest
from glet.errors import ConfigError
from glet.serve.backend import Backend
from glet.serve.compile_cache import default_cache
from glet.serve.partition_choice import resolve

EXAMPLE = """example:
  glet-backend --models models --control tcp://127.0.0.1:5601
  glet-backend cluster.toml --name device1
"""


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        prog="glet-backend",
        description="Own one device: start executors, load models, change gpulets, report.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(made)
    made.add_argument("--name", help="which [[backend]] of the file (default: its only one)")
    made.add_argument("--models", metavar="DIR", help="model repository (default: models)")
    made.add_argument(
        "--cache",
        metavar="DIR",
        help=f"where compiled models are kept (default: {default_cache()})",
    )
    made.add_argument("--control", metavar="ENDPOINT", help="where frontends connect")
    made.add_argument("--data", metavar="ENDPOINT", help="where executors bind: tcp://HOST:*")
    add_device_options(made)
    return made


def run(args: argparse.Namespace) -> int:
    """Serves until SIGTERM; the exit code."""
    cluster, choice = resolve(cluster_config(args))
    if choice.says and args.status_fd is None:
        print(choice.says, flush=True)
    config = _backend(cluster, args)
    name = backend_name(config)
    return run_daemon(
        args,
        f"backend {name}",
        lambda status: Backend(cluster, config, status, SystemClock()).run(args.log_level),
    )


def _backend(cluster: ClusterConfig, args: argparse.Namespace) -> BackendConfig:
    named = {backend_name(backend): backend for backend in cluster.backend}
    if args.name is None and len(named) > 1:
        raise ConfigError(f"which backend? say --name; valid are {', '.join(sorted(named))}")
    if args.name is not None and args.name not in named:
        raise ConfigError(f"no backend is called {args.name!r}; {nearest(args.name, named)}")
    config = named[args.name] if args.name is not None else cluster.backend[0]
    given = {key: getattr(args, key) for key in ("control", "data", "profile")}
    config = msgspec.structs.replace(config, **{k: v for k, v in given.items() if v is not None})
    if cluster.partition == "profiled" and not config.profile:
        raise ConfigError(
            "partition profiled needs --profile FILE, a latency.csv or a profile folder"
        )
    if not config.control and not cluster.run_dir:
        raise ConfigError("no control address; say --control tcp://127.0.0.1:PORT, or --run-dir")
    return config


if __name__ == "__main__":
    sys.exit(run_command(parser(), run))
