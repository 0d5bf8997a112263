"""`glet replay`: the control rounds of a record held again."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import glet
from glet.config.cluster import ControlConfig
from glet.config.load import nearest
from glet.control.loop import ControlLoop
from glet.control.make import autoscaler_of, types_of
from glet.control.record import Header, Run, profile_used, read_record
from glet.control.replay import Pair, Summary, first_difference, replay, summary
from glet.control.round import Round
from glet.errors import ConfigError
from glet.plan.make import PLANNERS
from glet.policy.make import POLICIES

SUMMARY = "hold the control rounds of a record again"
DESCRIPTION = (
    "Run the observations of a record through a new control loop. With the recorded settings it "
    "must decide the same: the exit code is 0, or 1 with the first difference. With others it says "
    "what would have been decided instead, on the observations as they were."
)
EXAMPLE = """example:
  glet replay rounds.jsonl
  glet replay rounds.jsonl --policy published --planner elastic --set epoch_s=20
"""
COLUMNS = ("rounds", "plan changes", "moves", "device s", "unmet %", "failed")
MOST_ROWS = 200


def add_parser(subparsers: Any) -> None:
    """Adds the command."""
    made = subparsers.add_parser(
        "replay",
        help=SUMMARY,
        description=DESCRIPTION,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "record", type=Path, metavar="RECORD", help="a file that [control] record named"
    )
    made.add_argument("--planner", metavar="NAME", help=f"one of {', '.join(PLANNERS)}")
    made.add_argument("--policy", metavar="NAME", help=f"one of {', '.join(POLICIES)}")
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any key of [control], as in epoch_s=20; may be repeated",
    )
    made.add_argument("--json", action="store_true", help="one JSON object on standard output")
    made.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replays; 1 when decisions differ that must not."""
    runs = read_record(args.record)
    changes = _changes(args)
    out, notes = Console(), Console(stderr=True)
    for note in dict.fromkeys(note for one in runs for note in _notes(one.header)):
        notes.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    pairs = [replay(one.rounds, _loop(one.header, changes)) for one in runs]
    if changes:
        _tell_other(args, runs, pairs, out)
        return 0
    return _tell_same(args, runs, pairs, out)


def _changes(args: argparse.Namespace) -> dict[str, Any]:
    """What is other than recorded, by key of [control]. Raises ConfigError for what is wrong."""
    changes: dict[str, Any] = {}
    fields = {field.name: field for field in msgspec.structs.fields(ControlConfig)}
    for text in args.set:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text!r}; give KEY=VALUE, as in epoch_s=20")
        if key not in fields:
            raise ConfigError(f"--set {text!r}: unknown key {key!r}; {nearest(key, fields)}")
        try:
            changes[key] = msgspec.convert(value, fields[key].type, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(f"--set {text!r}: {error}") from error
    if args.planner is not None:
        changes["planner"] = _known(args.planner, PLANNERS, "planner")
    if args.policy is not None:
        changes["mode"] = _known(args.policy, POLICIES, "policy")
    if changes.get("mode") == "auto":
        raise ConfigError(f"--set mode=auto; {nearest('auto', POLICIES)}")
    return changes


def _known(name: str, names: Any, what: str) -> str:
    if name not in names:
        raise ConfigError(f"no {what} is called {name!r}; {nearest(name, names)}")
    return name


def _loop(header: Header, changes: dict[str, Any]) -> ControlLoop:
    control = msgspec.structs.replace(header.control, **changes)
    types = types_of({number: used.path for number, used in header.profiles.items()})
    return ControlLoop(
        control,
        types,
        plan=header.plan,
        margin_ms=header.margin_ms,
        autoscaler=autoscaler_of(control),
    )


def _notes(header: Header) -> list[str]:
    found = []
    if header.glet != glet.__version__:
        found.append(f"recorded by glet {header.glet}, this is {glet.__version__}")
    for path, sha256 in sorted({(used.path, used.sha256) for used in header.profiles.values()}):
        if profile_used(Path(path)).sha256 != sha256:
            found.append(f"profile {path} is not what it was when this was recorded")
    return found


def _tell_same(
    args: argparse.Namespace, runs: Sequence[Run], pairs: Sequence[list[Pair]], out: Console
) -> int:
    found = [first_difference(one) for one in pairs]
    different = next((text for text in found if text is not None), None)
    rounds = sum(len(one) for one in pairs)
    if args.json:
        print(json.dumps({"runs": len(runs), "rounds": rounds, "difference": different}))
    elif different is None:
        out.print(f"{rounds} rounds, the same decisions", highlight=False)
    else:
        at = found.index(different) + 1
        where = f"run {at}, " if len(runs) > 1 else ""
        out.print(f"{where}{different}", markup=False, highlight=False, soft_wrap=True)
    return 0 if different is None else 1


def _tell_other(
    args: argparse.Namespace, runs: Sequence[Run], pairs: Sequence[list[Pair]], out: Console
) -> None:
    sums = [
        (summary(one.rounds), summary([p.replayed for p in found if p.replayed is not None]))
        for one, found in zip(runs, pairs, strict=True)
    ]
    if args.json:
        print(json.dumps(_as_json(pairs, sums), allow_nan=False))
        return
    for found, (recorded, replayed) in zip(pairs, sums, strict=True):
        out.print(_round_table(found))
        out.print(_sum_table(recorded, replayed))


def _as_json(
    pairs: Sequence[list[Pair]], sums: Sequence[tuple[Summary, Summary]]
) -> dict[str, Any]:
    return {
        "runs": [
            {
                "recorded": recorded._asdict(),
                "replayed": replayed._asdict(),
                "rounds": [
                    {
                        "now_s": pair.recorded.now_s,
                        "recorded": _row(pair.recorded),
                        "replayed": None if pair.replayed is None else _row(pair.replayed),
                    }
                    for pair in found
                ],
            }
            for found, (recorded, replayed) in zip(pairs, sums, strict=True)
        ]
    }


def _row(one: Round) -> dict[str, Any]:
    return {
        "trigger": one.trigger,
        "devices": one.wanted,
        "moves": one.moves,
        "unmet": one.unmet,
        "changed": one.plan is not None,
        "why": one.why,
    }


def _round_table(pairs: Sequence[Pair]) -> Table:
    """Rounds in which one of the two changed the plan."""
    table = Table(box=SIMPLE_HEAD, padding=0)
    for heading in ("s", "devices", "moves", "unmet rps", "recorded", "devices", "moves",
                    "unmet rps", "replayed"):  # fmt: skip
        words = heading in ("recorded", "replayed")
        table.add_column(heading, justify="left" if words else "right", no_wrap=not words)
    start_s = pairs[0].recorded.now_s if pairs else 0.0
    held = [p for p in pairs if any(one is not None and one.plan is not None for one in p)]
    for pair in held[:MOST_ROWS]:
        table.add_row(f"{pair.recorded.now_s - start_s:.2f}", *_cells(pair[0]), *_cells(pair[1]))
    if len(held) > MOST_ROWS:
        table.add_row("...", *[""] * 3, f"{len(held) - MOST_ROWS} more", *[""] * 4)
    return table


def _cells(one: Round | None) -> list[str]:
    if one is None:
        return ["-", "-", "-", "no round"]
    said = one.why if one.plan is not None else ""
    return [str(one.wanted), str(one.moves), f"{sum(one.unmet.values()):.0f}", said]


def _sum_table(recorded: Summary, replayed: Summary) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=0)
    table.add_column("")
    for heading in COLUMNS:
        table.add_column(heading, justify="right")
    for name, made in (("recorded", recorded), ("replayed", replayed)):
        table.add_row(
            name,
            str(made.rounds),
            str(made.changes),
            str(made.moves),
            f"{made.device_s:.1f}",
            f"{100.0 * made.unmet_part:.2f}",
            str(made.failed),
        )
    return table
