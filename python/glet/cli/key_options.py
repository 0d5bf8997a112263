"""Keys of commands that connect to a frontend."""

import argparse
from typing import TypedDict

from glet.wire.keys import CLIENT_KEY_VARIABLE, SERVER_KEY_VARIABLE, ClientKeys, Key, client_keys


def add_key_options(parser: argparse.ArgumentParser) -> None:
    """The options; keys() and client_keys_of() read them."""
    parser.add_argument(
        "--server-key",
        metavar="KEY",
        help="the public key of glet there, where it has one: a file or the key itself "
        f"(default: ${SERVER_KEY_VARIABLE})",
    )
    parser.add_argument(
        "--client-key",
        metavar="FILE",
        help=f"your secret key, where glet asks who is there (default: ${CLIENT_KEY_VARIABLE})",
    )


class KeyArguments(TypedDict):
    """Those of a Client that are keys."""

    server_key: Key
    client_key: Key


def keys(args: argparse.Namespace) -> KeyArguments:
    """Arguments of a Client."""
    return {"server_key": args.server_key, "client_key": args.client_key}


def client_keys_of(args: argparse.Namespace) -> ClientKeys:
    """What a loop of the core is given. Raises ConfigError."""
    return client_keys(args.server_key, args.client_key)
