"""`glet sim`: a scenario in virtual time."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from glet.cli.sim_report import job_table, policy_table, write_csv
from glet.clock import SystemClock
from glet.errors import ConfigError
from glet.learn.nhits import trained_file
from glet.serve.compile_cache import default_cache
from glet.sim.many import runs, simulate_all, simulate_on_ray
from glet.sim.plot import check_plot, plot
from glet.sim.run import Result, Run, simulate
from glet.sim.scenario import Scenario, find_scenario, load_scenario
from glet.sim.traffic import history

WIDTH = 145
SUMMARY = "run a scenario in virtual time, compare policies"
DESCRIPTION = (
    "Simulate hours of traffic in seconds: jobs with replicas under a quota, or gpulets under the "
    "control loop, queues and router that serve live. SCENARIO is a TOML file, or the name of one "
    "that comes with glet: faro-day, gpu-slices, gpulets-day. The same seed gives the same result."
)
EXAMPLE = """example:
  glet sim faro-day --policy aiad
  glet sim faro-day --compare --seeds 5 --sizes 16,32,36 --plot policies.png
  glet sim gpu-slices --trace day.txt --trace-interval 1 --compare --csv minutes.csv
"""


def add_parser(subparsers: Any) -> None:
    """Adds the command."""
    made = subparsers.add_parser(
        "sim",
        help=SUMMARY,
        description=DESCRIPTION,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("scenario", metavar="SCENARIO", help="a TOML file, or a scenario's name")
    made.add_argument("--policy", metavar="NAME", help="instead of the scenario's")
    made.add_argument("--compare", action="store_true", help="all policies the scenario compares")
    made.add_argument("--policies", metavar="A,B", help="compare these instead")
    made.add_argument("--seed", type=int, metavar="S", help="the first seed")
    made.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="that many seeds, counted up"
    )
    made.add_argument("--sizes", metavar="N,N", help="quotas, or devices of the first group")
    made.add_argument("--trace", metavar="FILE", help="requests per interval, instead of its own")
    made.add_argument("--trace-interval", type=float, metavar="S", help="seconds of an interval")
    made.add_argument("--history", metavar="FILE", help="other days, for policies that forecast")
    made.add_argument(
        "--forecast", choices=("nhits",), help="train this on the history first (extra forecast)"
    )
    made.add_argument("--intervals", type=int, metavar="N", help="only the first N of the trace")
    made.add_argument("--processes", type=int, default=0, metavar="N", help="default: the cores")
    made.add_argument("--ray", metavar="ADDRESS", help="run on this Ray cluster (extra ray)")
    made.add_argument("--json", action="store_true", help="one JSON object, or a list of them")
    made.add_argument("--csv", type=Path, metavar="FILE", help="every interval of every job")
    made.add_argument("--plot", type=Path, metavar="FILE.png", help="draw it (extra plot)")
    made.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """The exit code."""
    scenario = _adjusted(load_scenario(find_scenario(args.scenario)), args)
    if args.plot is not None:
        check_plot(args.plot)
    wanted = _wanted(scenario, args)
    console = Console(stderr=True)
    if args.forecast is not None:
        scenario = _trained(scenario, console)
    results = _simulate(scenario, wanted, args, console)
    if args.csv is not None:
        write_csv(args.csv, results, scenario.report.interval_s)
    if args.plot is not None:
        plot(results, scenario.report.interval_s, args.plot)
    several = args.compare or args.policies or len(results) > 1
    if args.json:
        reports = [result.report for result in results]
        json.dump(reports if several else reports[0], sys.stdout)
        print()
        return 0
    # Numbers are never cut: a narrow terminal wraps.
    out = Console(width=max(Console().width, WIDTH))
    if not several:
        out.print(job_table(results[0]))
    out.print(policy_table(results, rewarded=scenario.fleet is not None))
    for line in dict.fromkeys(e for result in results for e in result.report["errors"]):
        console.print(f"fallback: {line}", highlight=False)
    return 0


def _adjusted(scenario: Scenario, args: argparse.Namespace) -> Scenario:
    """The scenario with what the command line says instead."""
    changes: dict[str, Any] = {}
    if args.trace is not None:
        changes["trace"] = str(Path(args.trace).resolve())
    if args.history is not None:
        changes["history"] = str(Path(args.history).resolve())
    if args.trace_interval is not None:
        if not args.trace_interval > 0.0:
            raise ConfigError(f"--trace-interval {args.trace_interval:g}; valid is above 0")
        changes["interval_s"] = args.trace_interval
    if args.intervals is not None:
        if args.intervals < 1:
            raise ConfigError(f"--intervals {args.intervals}; valid is 1 or more")
        changes["intervals"] = args.intervals
        # The published number of bins belongs to the whole day.
        report = msgspec.structs.replace(scenario.report, bins=0)
        scenario = msgspec.structs.replace(scenario, report=report)
    work = msgspec.structs.replace(scenario.workload, **changes)
    return msgspec.structs.replace(scenario, workload=work)


def _trained(scenario: Scenario, console: Console) -> Scenario:
    """The scenario with weights that were trained on its history, now or at an earlier time."""
    if scenario.fleet is None:
        raise ConfigError("--forecast is for scenarios with a [fleet]; [gpulets] do not forecast")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("training N-HiTS", total=None)

        def said(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of)

        path = trained_file(history(scenario), default_cache(), progress=said)
    work = msgspec.structs.replace(scenario.workload, forecast=str(path))
    return msgspec.structs.replace(scenario, workload=work)


def _wanted(scenario: Scenario, args: argparse.Namespace) -> tuple[Run, ...]:
    first = scenario.seed if args.seed is None else args.seed
    if args.seeds < 1 or first < 0 or args.processes < 0:
        raise ConfigError("--seeds is 1 or more, --seed and --processes are 0 or more")
    policies = _policies(scenario, args)
    for name in policies:
        scenario.checked_policy(name)
    return runs(policies, _sizes(args.sizes), range(first, first + args.seeds))


def _policies(scenario: Scenario, args: argparse.Namespace) -> Sequence[str]:
    if args.policies is not None:
        return [name.strip() for name in args.policies.split(",")]
    if args.compare:
        return scenario.compare or scenario.policies()
    name = args.policy or scenario.policy
    if not name:
        raise ConfigError(f"give --policy, one of {', '.join(scenario.policies())}")
    return [name]


def _sizes(text: str | None) -> Sequence[int]:
    if text is None:
        return [0]
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        sizes = [0]
    if min(sizes) < 1:
        raise ConfigError(f"--sizes {text}; give whole numbers above 0, as in 16,32,36")
    return sizes


def _simulate(
    scenario: Scenario, wanted: Sequence[Run], args: argparse.Namespace, console: Console
) -> list[Result]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
    with bar:
        if len(wanted) == 1 and args.ray is None:
            task = bar.add_task("simulating, %", total=100)

            def part(done: float) -> None:
                bar.update(task, completed=int(100 * done))

            return [simulate(scenario, wanted[0], SystemClock(), part)]
        task = bar.add_task("runs", total=len(wanted))

        def said(number: int) -> None:
            bar.update(task, completed=number)

        if args.ray is not None:
            return simulate_on_ray(scenario, wanted, args.ray, ended=said)
        return simulate_all(scenario, wanted, processes=args.processes, ended=said)
