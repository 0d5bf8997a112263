"""Tables of results: JSON lines in, Markdown out.

table.py build/bench/gpu/*.jsonl
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lines import Line, cell, markdown, read_lines
from study import SCENARIOS, SYSTEMS, TEMPORAL

KEY = ("profile", "kind", "launch", "slo", "interference", "scenario")
HEAD = (
    "device",
    "SLO",
    "interference",
    "scenario",
    "system",
    "goodput/s",
    "x timeshare",
    "x best temporal",
    "of fluid",
    "predicted/s",
    "worst p99/SLO",
    "gpulets",
    "ratio",
    "note",
)
NO_COLUMNS = ("bench", "params", "commit", "cores", "cpu")


def goodput(lines: Iterable[Line]) -> str:
    """A row per workload, SLO rule, interference and system, with ratios to the baselines.

    Where a system was measured with several latency ratios (how much longer batches are planned
    than profiled), its best one counts, for every system alike.

    A system with `lagged` has a step that failed while the generator itself was late: what it
    reached is a lower bound, and so are its ratios; as a baseline it gives none.
    """
    groups: dict[tuple[Any, ...], dict[str, Line]] = {}
    for line in lines:
        params = line["params"]
        key = tuple(
            params[k] for k in ("profile", "kind", "launch", "slo", "interference", "scenario")
        )
        best = groups.setdefault(key, {}).setdefault(params["system"], line)
        if line["rate_rps"] > best["rate_rps"]:
            groups[key][params["system"]] = line
    rows = []
    for key in sorted(groups, key=_place):
        group = _alone(groups, key) | groups[key]
        for system in sorted(groups[key], key=list(SYSTEMS).index):
            rows.append(_row(key, system, group))
    return markdown(list(HEAD), rows)


def _alone(groups: dict[tuple[Any, ...], dict[str, Line]], key: tuple[Any, ...]) -> dict[str, Line]:
    """Temporal baselines as measured without interference: one gpulet has no neighbours."""
    without = tuple(
        "none" if name == "interference" else value for name, value in zip(KEY, key, strict=True)
    )
    found = groups.get(without, {})
    return {name: found[name] for name in TEMPORAL if name in found and found[name]["gpulets"] <= 1}


def _place(key: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*key[:-1], SCENARIOS.index(key[-1]))


def _row(key: tuple[Any, ...], system: str, group: dict[str, Line]) -> list[str]:
    line = group[system]
    profile, kind, launch, slo, interference, scenario = key
    device = f"{profile}, {kind}" + (" (emulated)" if line["params"]["emulated"] else f", {launch}")
    return [
        device,
        slo,
        interference,
        scenario,
        system,
        cell(line["rate_rps"]),
        _ratio(line, [group["timeshare"]] if "timeshare" in group else []),
        _ratio(line, [group[name] for name in TEMPORAL if name in group]),
        cell(line["of_fluid"]),
        cell(line["predicted_rps"]),
        cell(line.get("worst_p99_of_slo")),
        str(line["gpulets"]),
        cell(line["params"].get("latency_ratio", 1.1)),
        "lagged" if line["lagged"] else "",
    ]


def _ratio(line: Line, baselines: list[Line]) -> str:
    if not baselines or any(base["lagged"] for base in baselines):
        return ""
    best = max(base["rate_rps"] for base in baselines)
    if best <= 0.0:
        return "they serve none" if line["rate_rps"] > 0.0 else ""
    return ">= " * line["lagged"] + cell(line["rate_rps"] / best)


def plain(lines: list[Line]) -> str:
    """Every parameter and figure as a column."""
    params = list(dict.fromkeys(key for line in lines for key in line["params"]))
    figures = list(dict.fromkeys(key for line in lines for key in line if key not in NO_COLUMNS))
    rows = [
        [cell(line["params"].get(key)) for key in params] + [cell(line.get(key)) for key in figures]
        for line in lines
    ]
    return markdown([*params, *figures], rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    lines = read_lines(parser.parse_args().files)
    for bench in dict.fromkeys(line["bench"] for line in lines):
        mine = [line for line in lines if line["bench"] == bench]
        print(f"### {bench}\n\n{goodput(mine) if bench == 'goodput' else plain(mine)}\n")


if __name__ == "__main__":
    main()
