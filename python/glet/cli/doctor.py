"""`glet doctor`: what this machine can do, a plain sentence per check, and what to do about it."""

import argparse
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from rich.console import Console
from rich.text import Text

import glet
from glet.clock import SystemClock
from glet.serve.doctor import CHECKS, examine, is_well, wanted_checks
from glet.serve.doctor_finding import Check, Finding, State, Wish
from glet.serve.repository import Repository

EXAMPLE = """example:
  glet doctor
  glet doctor --quick --json
  glet doctor --models models

of what it says:
  machine
    ok       memory       23.1 of 25.3 GB free
    warning  load         load average 1.62 on 2 cores: something else is working here, and
                          what is measured now will be too slow
                          -> look with top; measure profiles on an idle machine

The exit code is 0 when nothing failed, 1 when a check failed.
"""
COLOURS: dict[State, str] = {
    "ok": "green",
    "warning": "yellow",
    "failed": "bold red",
    "skipped": "dim",
}
STATES: tuple[State, ...] = ("ok", "warning", "failed", "skipped")
GROUPS = {
    "software": "software",
    "machine": "machine",
    "serving": "serving",
    "gpu": "GPU",
}
STATE_WIDTH = max(len(state) for state in STATES)
NAME_WIDTH = max(len(check.name) for check in CHECKS)
INDENT = 2 + STATE_WIDTH + 2 + NAME_WIDTH + 2
WIDEST = 120
NARROWEST = 60


def add_parser(subparsers: Any) -> None:
    """Adds the command; `args.run` is set to the function that does it."""
    parser = subparsers.add_parser(
        "doctor",
        help="look at what this machine can do, and say what is wrong with it",
        description="Look at what this machine can do: one sentence per check, and what to do.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument(
        "--models", type=Path, metavar="DIR", help="look at the models of this repository, too"
    )
    parser.add_argument(
        "--quick", action="store_true", help="leave out what takes seconds: compiling, torch"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Looks at everything; the exit code is 1 when a check failed. Raises ConfigError."""
    models = str(Repository(args.models).folder) if args.models is not None else ""
    wish = Wish(models=models, quick=args.quick)
    clock = SystemClock()
    start_s = clock.now_s()
    if args.json:
        findings = examine(wanted_checks(wish), wish, clock)
        print(json.dumps(as_json(findings)))
        return 0 if is_well(findings) else 1
    show = _Show(Console(highlight=False))
    with show:
        findings = examine(wanted_checks(wish), wish, clock, before=show.before, after=show.after)
    print(f"\n{summary(findings)} ({clock.now_s() - start_s:.0f} s)")
    return 0 if is_well(findings) else 1


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """The object that `--json` prints."""
    return {
        "ok": is_well(findings),
        "glet": glet.__version__,
        "checks": [
            {
                "name": finding.check,
                "state": finding.state,
                "says": finding.says,
                "do": finding.do,
                "facts": finding.facts,
            }
            for finding in findings
        ],
    }


def summary(findings: Sequence[Finding]) -> str:
    """How many of each, and what that means."""
    counts = Counter(finding.state for finding in findings)
    parts = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    if counts["failed"]:
        return f"{parts}: look at what failed first"
    return f"{parts}: {'glet can serve here' if counts['ok'] else 'nothing was looked at'}"


def lines_of(finding: Finding, width: int) -> list[str]:
    """A finding as it is shown, at most `width` wide: sentence, then what to do, indented."""
    head = f"  {finding.state:{STATE_WIDTH}}  {finding.check:{NAME_WIDTH}}  "
    room = max(NARROWEST, width) - INDENT
    says = wrap(finding.says, room, break_long_words=False, break_on_hyphens=False) or [""]
    do = wrap(finding.do, room - 3, break_long_words=False, break_on_hyphens=False)
    lines = [*says, *(("-> " if i == 0 else "   ") + line for i, line in enumerate(do))]
    return [(head if i == 0 else " " * INDENT) + line for i, line in enumerate(lines)]


class _Show:
    """Prints findings as they come; on a terminal also what is being looked at."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("")
        self._group = ""
        self._width = min(WIDEST, shutil.get_terminal_size((100, 24)).columns)

    def __enter__(self) -> None:
        if self._console.is_terminal:
            self._status.start()

    def __exit__(self, *unused: object) -> None:
        self._status.stop()

    def before(self, check: Check) -> None:
        again = " (the first time, a minute)" if check.name == "compiled" else ""
        self._status.update(f"looking at {check.name}{again}...")

    def after(self, check: Check, finding: Finding) -> None:
        if check.group != self._group:
            blank = "\n" if self._group else ""
            self._console.print(Text(f"{blank}{GROUPS[check.group]}", "bold"))
            self._group = check.group
        text = Text("\n".join(lines_of(finding, self._width)))
        text.stylize(COLOURS[finding.state], 2, 2 + STATE_WIDTH)
        self._console.print(text, soft_wrap=True)
