"""All policies x sizes x seeds of a scenario: a table in a README and a picture, by one command.

    policy_table.py faro ../shared/data/faro          lost utility on Faro's evaluation day
    policy_table.py slices ../shared/data/azure-llm   rewards on the day DRAFAS was tested on
    policy_table.py chatbot ../shared/data/azure-llm  one of its services, alone on the device

Each run is a line of build/bench/policy_STUDY.jsonl; runs that are there already, with the settings
of now, are not repeated: a study that was stopped goes on (`--again POLICY,...` repeats these).
`--tables` only renders. `--day N` runs training day N instead, what settings may be chosen on;
Faro's with forecasts fitted to the other nine.
"""

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from result import ROOT, emit
from tables import markdown

from glet.cli.sim_report import spread
from glet.clock import SystemClock
from glet.control.autoscalers import autoscaler_settings
from glet.sim.many import runs
from glet.sim.plot import check_plot
from glet.sim.run import Run, simulate
from glet.sim.scenario import Scenario, find_scenario, load_scenario

README = ROOT / "python" / "glet" / "sim" / "README.md"
BUILD = ROOT / "build" / "bench"
KEPT = (
    "lost_utility",
    "cluster_violation",
    "request_violation",
    "used_replicas",
    "reward",
    "requests",
)
PUBLISHED = {
    "fair_share": "2.077 +-.021",
    "one_shot": "3.874 +-.026",
    "aiad": "1.393 +-.017",
    "mark": ".636 +-.063",
    "faro_fair": ".379 +-.017",
    "faro": ".372 +-.018",
    "faro_fair_sum": ".368 +-.014",
}
"""Lost utility, mean and standard deviation of five seeds of the published simulator (R = 36)."""

Line = dict[str, Any]


class Study(NamedTuple):
    """A scenario on its published trace; `sizes` are quotas.

    Other days are the `days`, or those of the file `history`, which forecasts are fitted to. `only`
    one model is there, if it is named.
    """

    scenario: str
    policies: tuple[str, ...]
    sizes: tuple[int, ...]
    interval_s: float
    trace: str
    history: str = ""
    days: tuple[str, ...] = ()
    only: str = ""


STUDIES = {
    "faro": Study(
        scenario="faro-day",
        policies=(
            "fair_share",
            "one_shot",
            "aiad",
            "mark",
            "faro_fair",
            "faro",
            "faro_fair_sum",
            "glet",
        ),
        sizes=(16, 20, 24, 28, 32, 36, 40, 44),
        interval_s=60.0,
        trace="evaluation_day.csv",
        history="training_days.csv",
    ),
    "slices": Study(
        scenario="gpu-slices",
        policies=("threshold_v2", "threshold_v1", "sizing", "glet"),
        sizes=(8,),
        interval_s=1.0,
        trace="test.txt",
        days=(*(f"train_{number}.txt" for number in range(1, 6)), "val_6.txt"),
    ),
}
STUDIES["chatbot"] = STUDIES["slices"]._replace(only="chatbot")


def adjusted(study: Study, folder: Path, day: int, where: Path) -> Scenario:
    """The study's scenario on its trace, or on training day `day` with the others as history."""
    scenario = load_scenario(find_scenario(study.scenario))
    trace, history = folder / study.trace, ""
    if study.history:
        history = str((folder / study.history).resolve())
    if day and study.days:
        trace = folder / study.days[day - 1]
    elif day:
        trace, history = split(folder / study.history, day, where)
    work = msgspec.structs.replace(
        scenario.workload,
        trace=str(trace.resolve()),
        history=history,
        interval_s=study.interval_s,
    )
    if study.only and scenario.fleet is not None:
        work = msgspec.structs.replace(work, models={study.only: work.models[study.only]})
        jobs = {study.only: scenario.fleet.jobs[study.only]}
        fleet = msgspec.structs.replace(scenario.fleet, jobs=jobs)
        scenario = msgspec.structs.replace(scenario, fleet=fleet)
    return msgspec.structs.replace(scenario, workload=work)


def split(path: Path, day: int, where: Path) -> tuple[Path, str]:
    """A file of that day, and one of the others."""
    head, *rows = path.read_text().splitlines()
    own = [row for row in rows if row.split(",", 1)[0] == str(day)]
    if not own:
        raise SystemExit(f"{path}: has no day {day}")
    trace, history = where / f"day{day}.csv", where / f"not{day}.csv"
    drop = head.split(",", 1)[1]
    trace.write_text("\n".join([drop, *(row.split(",", 1)[1] for row in own)]) + "\n")
    rest = [row for row in rows if row.split(",", 1)[0] != str(day)]
    history.write_text("\n".join([head, *rest]) + "\n")
    return trace, str(history)


def measured(scenario: Scenario, wanted: Sequence[Run], done: list[Line], out: Path) -> list[Line]:
    """A line per run, those of `done` first; every new one is written at once."""
    known = {key(line): line for line in done}
    for run in wanted:
        line: Line = msgspec.structs.asdict(run)
        if key(line) in known:
            continue
        began_s = time.process_time()
        result = simulate(scenario, run, SystemClock())
        line |= {name: result.report[name] for name in KEPT}
        line["cpu_s"] = time.process_time() - began_s
        line["settings"] = settings_of(scenario, run.policy)
        line["by_job"] = {
            name: {field: job[field] for field in ("reward", "violation", "used_replicas")}
            for name, job in result.report["jobs"].items()
        }
        if result.report["errors"]:
            raise SystemExit(f"{run}: {result.report['errors'][0]}")
        known[key(line)] = line
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        params = {name: line[name] for name in ("policy", "size", "seed")}
        emit("policy_table", params, lost_utility=line["lost_utility"], reward=line["reward"])
    return [known[key(line)] for line in map(msgspec.structs.asdict, wanted)]


def settings_of(scenario: Scenario, policy: str) -> str:
    """Which settings these were: the start of the hash of them."""
    own = scenario.settings.get(policy) or autoscaler_settings(policy)
    text = msgspec.json.encode(own)
    return hashlib.sha256(text).hexdigest()[:12]


def current(scenario: Scenario, lines: Iterable[Line]) -> list[Line]:
    """Those of settings that are still in force."""
    return [line for line in lines if line["settings"] == settings_of(scenario, line["policy"])]


def key(line: Mapping[str, Any]) -> tuple[str, int, int]:
    return line["policy"], line["size"], line["seed"]


def grouped(lines: Sequence[Line], field: str) -> dict[tuple[str, int], list[float]]:
    found: dict[tuple[str, int], list[float]] = {}
    for line in lines:
        found.setdefault((line["policy"], line["size"]), []).append(float(line[field]))
    return found


def by_size(lines: Sequence[Line], field: str) -> str:
    """A row per policy, a column per size: mean and half width of 95 % confidence; least bold."""
    found = grouped(lines, field)
    sizes = sorted({size for _, size in found})
    policies = list(dict.fromkeys(policy for policy, _ in found))
    least = {
        size: min((np.mean(values), policy) for (policy, n), values in found.items() if n == size)
        for size in sizes
    }
    rows = []
    for policy in policies:
        cells = []
        for size in sizes:
            cell = spread(found[policy, size]) if (policy, size) in found else ""
            cells.append(f"**{cell}**" if least[size][1] == policy else cell)
        rows.append([f"`{policy}`", *cells])
    return markdown(["policy", *(f"{size}" for size in sizes)], rows)


def at_published(lines: Sequence[Line]) -> str:
    """All measures at R = 36, beside what is published."""
    some = [line for line in lines if line["size"] == 36]
    head = ["policy", "lost utility", "published", "cluster violation", "request violation"]
    rows = []
    for policy in dict.fromkeys(line["policy"] for line in some):
        own = [line for line in some if line["policy"] == policy]
        column = {field: [float(line[field]) for line in own] for field in KEPT}
        rows.append(
            [
                f"`{policy}`",
                spread(column["lost_utility"]),
                PUBLISHED.get(policy, ""),
                spread(column["cluster_violation"]),
                spread(column["request_violation"]),
                spread(column["used_replicas"]),
            ]
        )
    return markdown([*head, "used replicas"], rows)


def by_service(lines: Sequence[Line]) -> str:
    """Rewards of the services and of all, 95 % confidence, with violations and slices."""
    services = list(lines[0]["by_job"])
    alone = len(services) == 1
    rows = []
    for policy in dict.fromkeys(line["policy"] for line in lines):
        own = [line for line in lines if line["policy"] == policy]
        cells = [
            spread([float(line["by_job"][name]["reward"]) for line in own], 5) for name in services
        ]
        violated = np.mean([[line["by_job"][n]["violation"] for n in services] for line in own])
        used = np.mean([float(line["used_replicas"]) for line in own])
        reward = spread([float(line["reward"]) for line in own], 5)
        total = [] if alone else [reward]
        rows.append([f"`{policy}`", *cells, *total, f"{violated:.4f}", f"{used:.2f}"])
    head = ["policy", *services, *([] if alone else ["all"]), "violation", "slices"]
    return markdown(head, rows)


def draw(lines: Sequence[Line], path: Path) -> None:
    """Lost utility over the quota, a line per policy, with 95 % confidence."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    found = grouped(lines, "lost_utility")
    for policy in dict.fromkeys(policy for policy, _ in found):
        sizes = sorted(size for name, size in found if name == policy)
        values = [found[policy, size] for size in sizes]
        halves = [1.96 * np.std(one, ddof=1) / len(one) ** 0.5 if one[1:] else 0 for one in values]
        own = {"linewidth": 2.2, "color": "black"} if policy == "glet" else {"linewidth": 1.0}
        axes.errorbar(
            sizes, [np.mean(one) for one in values], halves, label=policy, capsize=2, **own
        )
    axes.set_yscale("log")
    axes.set_xlabel("quota, replicas")
    axes.set_ylabel("lost utility, of 10")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=110)


def write_readme(name: str, text: str) -> None:
    """Between the markers of that study."""
    begin, end = f"<!-- policies {name} -->", f"<!-- /policies {name} -->"
    before, found, rest = README.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    if not found:
        raise SystemExit(f"{README}: has no marker {begin}")
    README.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def rendered(name: str, lines: Sequence[Line]) -> str:
    if name != "faro":
        return by_service(lines)
    return f"{by_size(lines, 'lost_utility')}\n\nAt R = 36:\n\n{at_published(lines)}"


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("folder", type=Path, help="where the traces of the study lie")
    parser.add_argument("--policies", type=lambda text: text.split(","))
    parser.add_argument("--sizes", type=numbers)
    parser.add_argument("--seeds", type=int, default=5, help="42 and so on")
    parser.add_argument("--day", type=int, default=0, metavar="N", help="a training day instead")
    parser.add_argument("--again", type=lambda text: text.split(","), default=[])
    parser.add_argument("--tables", action="store_true", help="measure nothing")
    parser.add_argument("--markdown", action="store_true", help=f"write {README.name} of glet.sim")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    args = parser.parse_args()
    if args.plot is not None:
        check_plot(args.plot)
    study = STUDIES[args.study]
    if not 0 <= args.day <= (len(study.days) or 10):
        parser.error(f"{args.study} has no day {args.day}")
    out = BUILD / f"policy_{args.study}{f'_day{args.day}' if args.day else ''}.jsonl"
    text = out.read_text(encoding="utf-8") if out.exists() else ""
    named = load_scenario(find_scenario(study.scenario))
    done = current(named, map(json.loads, text.splitlines()))
    if args.again:
        done = [line for line in done if line["policy"] not in args.again]
        out.write_text("".join(json.dumps(line) + "\n" for line in done), encoding="utf-8")
    if not args.tables:
        wanted = runs(
            args.policies or study.policies, args.sizes or study.sizes, range(42, 42 + args.seeds)
        )
        with tempfile.TemporaryDirectory() as where:
            scenario = adjusted(study, args.folder, args.day, Path(where))
            done = measured(scenario, wanted, done, out)
    if not done:
        parser.error("nothing has been measured yet")
    order = {policy: number for number, policy in enumerate(study.policies)}
    done = sorted(done, key=lambda line: (order.get(line["policy"], len(order)), *key(line)[1:]))
    table = rendered(args.study, done)
    print(table)
    if args.markdown:
        write_readme(args.study, table)
    if args.plot is not None:
        draw(done, args.plot)


if __name__ == "__main__":
    main()
