"""What the commands of both daemons share: their options, and the line to whoever started them."""

import argparse
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import msgspec

from glet import log
from glet.config.cluster import ClusterConfig, ControlMode, anchored, load_cluster
from glet.errors import GletError
from glet.serve.child import end_with_parent
from glet.serve.status import Event, StatusPipe
from glet.types.device import PARTITION_CHOICES, PartitionChoice

OVERRIDES = (
    "listen",
    "http",
    "grpc",
    "models",
    "plan",
    "partition",
    "isolation",
    "run_dir",
    "cache",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of every daemon."""
    parser.add_argument(
        "cluster",
        nargs="?",
        type=Path,
        help="cluster.toml (default: the GPUs of this machine, or its CPU)",
    )
    parser.add_argument(
        "--run-dir", metavar="DIR", help="where ipc sockets lie (default: a new one)"
    )
    parser.add_argument(
        "--insecure", action="store_true", default=None, help="allow addresses beyond this machine"
    )
    parser.add_argument(
        "--log-level", choices=log.LEVELS, default="info", help="default: %(default)s"
    )
    parser.add_argument(
        "--status-fd", type=int, metavar="N", help="write events there, as JSON lines"
    )
    parser.add_argument("--parent-pid", type=int, metavar="PID", help="end when that process ends")


def add_listen_options(parser: argparse.ArgumentParser) -> None:
    """Where a frontend listens, and in which protocols."""
    parser.add_argument(
        "--listen", metavar="ENDPOINT", help="for clients (default: tcp://127.0.0.1:5555)"
    )
    parser.add_argument(
        "--http",
        metavar="HOST:PORT",
        help="also speak the Open Inference Protocol over HTTP there (default: no)",
    )
    parser.add_argument(
        "--grpc",
        metavar="HOST:PORT",
        help="also speak the Open Inference Protocol over gRPC there (default: no)",
    )


def add_control_options(parser: argparse.ArgumentParser) -> None:
    """How the plan follows the traffic: for every command that starts a controller."""
    parser.add_argument(
        "--control",
        choices=get_args(ControlMode),
        help="static serves the plan as it is, follow re-plans from measured rates; auto follows "
        "where every device has a profile and no plan was given; fleet shares devices out as an "
        "autoscaler says (default: auto)",
    )
    parser.add_argument(
        "--record", metavar="FILE", help="append every control round to this JSONL file"
    )


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """How a device is cut and who hosts it: for every command that owns one."""
    add_partition_options(parser)
    parser.add_argument(
        "--isolation",
        choices=("device", "gpulet"),
        help="one executor process per device or per gpulet (default: device; mps: always gpulet)",
    )


def add_partition_options(
    parser: argparse.ArgumentParser, default: PartitionChoice | None = None
) -> None:
    """How a device is cut: for every command that owns one, or measures it."""
    parser.add_argument(
        "--partition",
        choices=PARTITION_CHOICES,
        default=default,
        help="what a gpulet is: SMs of a GPU (green), a process under a GPU's MPS daemon (mps), "
        "CPU cores, or emulated by a profile (default: auto, the first of green, mps and cpu that "
        "this machine has)",
    )
    parser.add_argument(
        "--profile",
        metavar="FILE",
        help="latency.csv or a profile folder: as long as --partition profiled takes, and what "
        "plans that follow the traffic are made with",
    )


def cluster_config(args: argparse.Namespace) -> ClusterConfig:
    """The file with the options laid over it. Raises ConfigError."""
    config = load_cluster(args.cluster) if args.cluster is not None else None
    given = {
        name: getattr(args, name) for name in OVERRIDES if getattr(args, name, None) is not None
    }
    if getattr(args, "insecure", None):
        given["insecure"] = True
    given |= _given_control(args, config or ClusterConfig())
    if getattr(args, "plan", None) is not None:
        given["gpulet"] = ()
    laid = anchored(msgspec.structs.replace(ClusterConfig(), **given), Path.cwd())
    if config is None:
        return laid
    return msgspec.structs.replace(config, **{name: getattr(laid, name) for name in given})


def _given_control(args: argparse.Namespace, config: ClusterConfig) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if getattr(args, "control", None) is not None:
        changes["mode"] = args.control
    if getattr(args, "record", None) is not None:
        changes["record"] = args.record
    if getattr(args, "no_controller", False):
        changes["start"] = False
    if not changes:
        return {}
    return {"control": msgspec.structs.replace(config.control, **changes)}


def run_daemon(args: argparse.Namespace, role: str, body: Callable[[StatusPipe], None]) -> int:
    """Runs a daemon to its end; what it raises is told to its parent, or to the user."""
    log.setup(role, args.log_level)
    status = StatusPipe(args.status_fd)
    try:
        if args.parent_pid is not None:
            end_with_parent(args.parent_pid, signal.SIGTERM)
        body(status)
    except GletError as error:
        if args.status_fd is None:
            raise
        status.tell(Event(event="failed", message=str(error), exit_code=error.exit_code))
        return error.exit_code
    return 0
