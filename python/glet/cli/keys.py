"""`glet keys`: CURVE keys of a cluster and of its clients."""

import argparse
import os
from pathlib import Path
from typing import Any

from glet.wire.keys import new_pair, read_public

EXAMPLE = """example:
  glet keys new keys
  glet keys new ~/.glet --name anna
  glet infer lenet --input x.npy --server-key cluster.pub --client-key ~/.glet/anna.key

The first makes a cluster's pair: cluster.key for [security] server_key, cluster.pub for all. The
second is a client's own; its anna.pub goes into the folder [security] client_keys.
"""


def add_parser(subparsers: Any) -> None:
    """Adds the command; `args.run` is set to the function that does it."""
    parser = subparsers.add_parser(
        "keys",
        help="make and show keys that encrypt ZeroMQ and say who is there",
        description="Make and show CURVE keys, as certificates of ZeroMQ.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    new = commands.add_parser(
        "new",
        help="make a pair of keys",
        description="Make DIR/NAME.key, the secret one, for its owner alone, and DIR/NAME.pub.\n"
        "Nothing is ever overwritten.",
        epilog="example: glet keys new keys --name anna",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    new.add_argument("folder", metavar="DIR", help="made if it is not there")
    new.add_argument("--name", default="cluster", help="of both files (default: %(default)s)")
    new.set_defaults(run=run_new)
    show = commands.add_parser(
        "show",
        help="print the public key in a file",
        description="Print the public key (Z85) of a .pub or .key file.",
        epilog="example: glet keys show keys/cluster.pub",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    show.add_argument("file", metavar="FILE", help="NAME.pub or NAME.key")
    show.set_defaults(run=run_show)


def run_new(args: argparse.Namespace) -> int:
    """Raises ConfigError for a name that is in use."""
    secret, public = new_pair(_path(args.folder), args.name)
    print(f"{secret}: the secret key; keep it to its owner")
    print(f"{public}: the public key {read_public(public)}")
    return 0


def run_show(args: argparse.Namespace) -> int:
    """Never prints a secret key. Raises ConfigError for what is no key file."""
    print(read_public(_path(args.file)))
    return 0


def _path(given: str) -> Path:
    return Path(os.path.expanduser(given))
