"""`glet-schedule`: plans offline, from tasks and device profiles to a ModelList.txt."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from glet.cli.main import Parser, run_command
from glet.cli.schedule_compare import Asking
from glet.cli.schedule_generate import FORM, generate
from glet.cli.schedule_inputs import MEMORIES, read_inputs
from glet.cli.schedule_picture import MOST_SINGLE, bars, colours, picture, spans, unused
from glet.cli.schedule_report import (
    Planned,
    as_json,
    compare_table,
    gpulet_table,
    summary,
    unmet_table,
    with_reserves,
)
from glet.cli.schedule_svg import svg
from glet.clock import Clock, SystemClock
from glet.errors import ConfigError, ModelError
from glet.plan import model_list
from glet.plan.make import PLANNERS
from glet.plan.problem import Problem
from glet.profiles.csv_table import write_text

SUMMARY = "plan offline: tasks and device profiles in, ModelList.txt out"
DESCRIPTION = (
    "Plan which models run on which part of which device, so that each keeps its SLO. "
    "The exit code is 0 when everything is placed, 1 when not, 2 when the input is wrong."
)
EXAMPLE = """example:
  glet-schedule --tasks resource/scheduler/tasks.csv --device synthetic-gpu=4 --output ModelList.txt
  glet-schedule --tasks resource/scheduler/tasks.csv --compare \\
    --sched-config resource/scheduler/sched-config.json \\
    --device-config resource/scheduler/device-config.json \\
    --mem-config resource/scheduler/mem-config.json
  glet-schedule --app game=5 --device cpu-2core=2
  glet-schedule --generate scen1 --rate 100 --output tasks.csv
  glet-schedule --generate combinations:0,100,200,400:lenet1,resnet50,vgg16 --output cases
"""
MOST_SVG = 64
MOST_EFFORT = 1000.0


def add_parser(subparsers: Any) -> None:
    """Adds the command as `glet schedule`."""
    made = subparsers.add_parser(
        "schedule",
        help=SUMMARY,
        description=DESCRIPTION,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_options(made)
    made.set_defaults(run=run)


def parser() -> Parser:
    """The options of `glet-schedule`."""
    made = Parser(
        prog="glet-schedule",
        description=DESCRIPTION,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_options(made)
    return made


def _add_options(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--tasks",
        type=Path,
        metavar="FILE",
        help="models or apps with rates and SLOs: model,rate,slo,",
    )
    made.add_argument(
        "--app",
        action="append",
        default=[],
        metavar="FILE=RPS",
        help="an app.toml beside its models, or the name of a sample app; may be repeated",
    )
    made.add_argument(
        "--models", type=Path, metavar="DIR", help="model repository whose apps --tasks may name"
    )
    made.add_argument("--output", type=Path, metavar="FILE", help="write the ModelList.txt there")
    _add_device_options(made)
    made.add_argument(
        "--planner", metavar="NAME", help=f"one of {', '.join(PLANNERS)} (default: glet)"
    )
    made.add_argument(
        "--headroom",
        type=float,
        default=1.0,
        metavar="X",
        help="plan for rates X times as high (default: %(default)s)",
    )
    made.add_argument(
        "--current", type=Path, metavar="FILE", help="the ModelList.txt that serves now"
    )
    made.add_argument(
        "--move-cost",
        type=float,
        default=0.0,
        metavar="X",
        help="devices that one newly loaded model has to save (default: %(default)s)",
    )
    made.add_argument(
        "--effort",
        type=float,
        default=1.0,
        metavar="X",
        help="how many times longer than usual glet searches, 0 to 1000 (default: %(default)s)",
    )
    made.add_argument("--compare", action="store_true", help="ask all planners, side by side")
    made.add_argument(
        "--peak", action="store_true", help="by which factor all rates can grow and still fit"
    )
    made.add_argument("--svg", type=Path, metavar="FILE", help="draw the devices there")
    made.add_argument("--json", action="store_true", help="one JSON object on standard output")
    made.add_argument(
        "--generate",
        metavar="WHAT",
        help=f"write a published workload to --output: scen1..scen5, game, traffic, or {FORM}",
    )
    made.add_argument(
        "--rate", type=float, metavar="RPS", help="of each model of the generated workload"
    )


def _add_device_options(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--device",
        action="append",
        metavar="TYPE=COUNT",
        help="a shipped profile or a profile folder, and how many; may be repeated",
    )
    made.add_argument(
        "--sched-config", type=Path, metavar="FILE", help="instead: devices and rules, as published"
    )
    made.add_argument(
        "--device-config", type=Path, metavar="FILE", help="what its device types are"
    )
    made.add_argument("--mem-config", type=Path, metavar="FILE", help="memory of the models")
    made.add_argument(
        "--shares",
        metavar="LIST",
        help="percentages that a gpulet can have, 20,40,...; or any (default: the profile's)",
    )
    made.add_argument(
        "--memory",
        choices=MEMORIES,
        default=MEMORIES[0],
        help="a process per gpulet, or one per device with shared weights (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Plans; 0 when everything is placed, else 1."""
    return schedule(args, SystemClock(), Console(), Console(stderr=True))


def schedule(args: argparse.Namespace, clock: Clock, out: Console, progress: Console) -> int:
    """The same with its clock and consoles."""
    check_targets(args)
    if args.generate is not None:
        return generate(args)
    inputs = read_inputs(args)
    for note in inputs.notes:
        progress.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    asking = Asking(inputs.problem, clock, progress, args.effort)
    answers: dict[str, Planned | None] = {}
    if args.compare:
        answers = asking.all(peak=args.peak)
    chosen = answers.get(inputs.planner) or asking.one(inputs.planner, peak=args.peak)
    if chosen.found.faults:
        raise ModelError(
            f"planner {chosen.planner!r} made a plan that does not hold: {chosen.found.faults[0]}"
        )
    _write(args, inputs.problem, chosen)
    if args.json:
        _print_json(inputs.problem, chosen, answers)
    else:
        show(inputs.problem, chosen, out)
        if answers:
            out.print(compare_table(answers))
    return 0 if chosen.found.feasible else 1


def check_targets(args: argparse.Namespace) -> None:
    """Raises ConfigError for files that cannot be written, and for options that do not go along."""
    for option, path in (("--output", args.output), ("--svg", args.svg)):
        if path is not None and not path.parent.is_dir():
            raise ConfigError(f"{option} {path}: there is no folder {path.parent}")
        if path is not None and path.is_dir():
            raise ConfigError(f"{option} {path}: is a folder; name a file")
    if args.generate is not None:
        return
    if args.tasks is None and not args.app:
        raise ConfigError("no tasks; say --tasks FILE (or --generate to make one)")
    if not 0.0 <= args.effort <= MOST_EFFORT:
        raise ConfigError(f"--effort {args.effort:g}; give a number from 0 to {MOST_EFFORT:g}")
    if args.rate is not None:
        raise ConfigError("--rate goes with --generate; rates to plan for are in --tasks")
    published = (args.sched_config, args.device_config, args.mem_config)
    if args.device and any(path is not None for path in published):
        raise ConfigError(
            "--device cannot be combined with --sched-config, --device-config or --mem-config; "
            "give one or the other"
        )
    if not args.device and None in published:
        raise ConfigError(
            "no devices; say --device TYPE=COUNT, "
            "or all of --sched-config, --device-config and --mem-config"
        )


def show(problem: Problem, planned: Planned, out: Console) -> None:
    """The table, the picture, what is unmet, and a line that sums it up."""
    out.print(gpulet_table(problem, planned.found))
    drawn = bars(problem.devices, planned.found, MOST_SINGLE)
    paint = colours(name for bar in drawn for piece in bar.pieces for name in piece.names)
    ascii_only = not out.encoding.lower().startswith("utf")
    for line in picture(drawn, out.width, paint, ascii_only=ascii_only):
        out.print(line)
    idle = unused(problem.devices, drawn)
    if idle:
        out.print(f"unused: device{'s' * (len(idle) > 1)} {spans(idle)}", highlight=False)
    if planned.plan.unmet:
        out.print(unmet_table(problem, planned))
    said = f"\n{summary(problem, planned)}"
    out.print(said, highlight=False, markup=False, soft_wrap=not out.is_terminal)


def _write(args: argparse.Namespace, problem: Problem, planned: Planned) -> None:
    texts: list[tuple[Path, str]] = []
    if args.svg is not None:
        drawn = bars(problem.devices, planned.found, MOST_SVG)
        paint = colours(name for bar in drawn for piece in bar.pieces for name in piece.names)
        texts.append((args.svg, svg(drawn, paint, summary(problem, planned))))
    if args.output is not None:
        texts.append((args.output, model_list.render(with_reserves(problem, planned.plan))))
    for path, text in texts:
        write_text(path, text)


def _print_json(problem: Problem, chosen: Planned, answers: dict[str, Planned | None]) -> None:
    if not answers:
        print(json.dumps(as_json(problem, chosen), allow_nan=False))
        return
    asked = [planned for planned in answers.values() if planned is not None]
    print(json.dumps([as_json(problem, planned) for planned in asked], allow_nan=False))


if __name__ == "__main__":
    sys.exit(run_command(parser(), run))
