"""The `glet` command: subcommands, one line for an error, exit codes 0, 1 and 2."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn

import glet
from glet.config.load import nearest
from glet.errors import ConfigError, GletError

EXAMPLE = """example:
  glet demo
  glet models export lenet --to models && glet up --models models
"""
COMMANDS = {
    "demo": ("glet.cli.demo", "serve three sample models, send them real requests, report"),
    "up": ("glet.cli.up", "serve a model repository on this machine"),
    "load": ("glet.cli.load", "send requests at given rates, report goodput"),
    "top": ("glet.cli.top", "watch gpulets, rates and latencies while they serve"),
    "infer": ("glet.cli.infer", "send one request"),
    "models": ("glet.cli.models", "list, check, export and compile models"),
    "keys": ("glet.cli.keys", "make keys that encrypt ZeroMQ and say who is there"),
    "profile": ("glet.cli.profile", "measure this device, write its profile"),
    "doctor": (
        "glet.cli.doctor",
        "look at what this machine can do, and say what is wrong with it",
    ),
    "sim": ("glet.cli.sim", "run a scenario in virtual time, compare policies"),
    "replay": ("glet.cli.replay", "hold the control rounds of a record again"),
    "schedule": ("glet.cli.schedule", "plan offline: tasks and profiles in, ModelList.txt out"),
}
"""Subcommand -> its module and one line of help.

A module has `add_parser(subparsers)`, which sets `run=` a function (args) -> exit code. Only the
module of the command that was asked for is imported.
"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and that takes options between names."""

    _intermixed = False

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        # Plain argparse refuses `DIR --json NAME`. The intermixed way calls this method again, and
        # does not work above subcommands.
        if self._intermixed or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        self._intermixed = True
        try:
            known, unknown = self.parse_known_intermixed_args(args, namespace)
        finally:
            self._intermixed = False
        if unknown:
            # Said here and not by the parser above, which knows none of this command's options.
            option = unknown[0].partition("=")[0]
            hint = nearest(option, self._option_string_actions) if option.startswith("-") else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{'; ' * bool(hint)}{hint}")
        return known, unknown

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code: 0, 1 (it failed) or 2 (the user's input is wrong)."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    return run_command(_parser(arguments), lambda args: args.run(args), arguments)


def frontend(argv: Sequence[str] | None = None) -> int:
    """`glet-frontend`."""
    command = import_module("glet.cli.frontend")
    return run_command(command.parser(), command.run, argv)


def backend(argv: Sequence[str] | None = None) -> int:
    """`glet-backend`."""
    command = import_module("glet.cli.backend")
    return run_command(command.parser(), command.run, argv)


def schedule(argv: Sequence[str] | None = None) -> int:
    """`glet-schedule`."""
    command = import_module("glet.cli.schedule")
    return run_command(command.parser(), command.run, argv)


def run_command(
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], int],
    argv: Sequence[str] | None = None,
) -> int:
    """Reads the command line, runs, says errors in one line; the exit code."""
    try:
        return int(run(parser.parse_args(argv)))
    except GletError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _parser(arguments: Sequence[str]) -> Parser:
    parser = Parser(
        prog="glet",
        description="Serve many models on few devices, each within its latency objective.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"glet {glet.__version__}", help="print the version"
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (module, summary) in COMMANDS.items():
        if name in arguments:
            import_module(module).add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=summary, add_help=False)
    return parser


if __name__ == "__main__":
    sys.exit(main())
