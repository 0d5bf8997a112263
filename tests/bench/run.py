"""All benchmarks, one after the other: JSON lines as they come, a table per benchmark at the end.

The lines are kept in build/bench/results.jsonl; `--markdown` writes the tables into README.md
beside this file, `--only-tables` without measuring again.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from result import ROOT, cpu, emit
from rig import load_average
from tables import CORE_NULL, tables, targets

HERE = Path(__file__).resolve().parent
BUILD = ROOT / "build" / "bench"
RESULTS = BUILD / "results.jsonl"
README = HERE / "README.md"
BEGIN, END = "<!-- results -->", "<!-- /results -->"
SCRIPTS = (
    "end_to_end",
    "http_echo",
    "grpc_echo",
    "planning",
    "added_latency",
    "app_cost",
    "overload",
    "idle_memory",
    "cpu_profile",
    "schedulable",
    "peak_rate",
    "devices_used",
    "plan_time",
    "control_round",
    "reorganise",
)
HAVE_NO_LENGTH = (
    "idle_memory",
    "schedulable",
    "peak_rate",
    "devices_used",
    "plan_time",
    "control_round",
    "reorganise",
)

Line = dict[str, Any]


def core_null() -> list[Line]:
    """Builds and runs the core's own benchmark."""
    build = BUILD / "core"
    configure = ["cmake", "-S", str(ROOT), "-B", str(build), "-DGLET_BENCH=ON"]
    for command in (configure, ["cmake", "--build", str(build), "--target", CORE_NULL, "-j2"]):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            print(done.stdout, file=sys.stderr)
            done.check_returncode()
    program = next(path for path in build.rglob(CORE_NULL) if path.is_file())
    done = subprocess.run([program], check=True, stdout=subprocess.PIPE, text=True)
    lines = []
    for text in done.stdout.splitlines():
        figures = json.loads(text)
        named = ("result", "caller", "bursts_in_flight")
        params = {key: figures.pop(key) for key in named if key in figures}
        lines.append(emit(CORE_NULL, params, **figures, load=load_average()))
    return lines


def script(name: str, options: list[str]) -> list[Line]:
    command = [sys.executable, str(HERE / f"{name}.py")]
    if name not in HAVE_NO_LENGTH:
        command += options
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for text in running.stdout:
            print(text, end="", flush=True)
            lines.append(json.loads(text))
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, command)
    return lines


def written(lines: list[Line]) -> str:
    """The results as Markdown."""
    commits: dict[str, list[str]] = {}
    for bench, commit in dict.fromkeys((line["bench"], line["commit"]) for line in lines):
        commits.setdefault(commit, []).append(bench)
    measured = "; ".join(f"{commit}: {', '.join(names)}" for commit, names in commits.items())
    parts = [
        f"{cpu()}, {lines[-1]['cores']} cores, shared with others. Commits: {measured}. "
        "`load` is the load average of the minute in which the row was measured, the benchmark's "
        "own included.",
        targets(lines),
        *(f"### {name}\n\n{table}" for name, table in tables(lines).items()),
    ]
    return "\n\n".join(parts)


def write_readme(text: str) -> None:
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def measure(names: list[str], options: list[str]) -> list[str]:
    """Which failed. The lines of what is not measured now, or fails, stay as they were."""
    BUILD.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in names:
        start = time.monotonic()
        try:
            lines = core_null() if name == CORE_NULL else script(name, options)
        except subprocess.CalledProcessError as error:
            print(f"{name} failed: {error}", file=sys.stderr)
            failed.append(name)
            continue
        lines = [line for line in stored() if line["bench"] != name] + lines
        RESULTS.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    return failed


def stored() -> list[Line]:
    if not RESULTS.exists():
        return []
    return [json.loads(text) for text in RESULTS.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choices = (CORE_NULL, *SCRIPTS)
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"of: {', '.join(choices)}")
    parser.add_argument("--seconds", type=float, help="of each run (default: the script's)")
    parser.add_argument("--rounds", type=int, help="default: the script's")
    parser.add_argument("--markdown", action="store_true", help="write the tables to README.md")
    parser.add_argument("--only-tables", action="store_true", help="of the last run")
    args = parser.parse_args()
    unknown = set(args.only) - set(choices)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(choices)}")
    failed = []
    if not args.only_tables:
        given = {"--seconds": args.seconds, "--rounds": args.rounds}
        options = [text for key, value in given.items() if value for text in (key, str(value))]
        failed = measure(args.only or list(choices), options)
    lines = stored()
    if not lines:
        parser.error("nothing has been measured yet")
    order = {name: index for index, name in enumerate(choices)}
    text = written(sorted(lines, key=lambda line: order[line["bench"]]))
    print(text)
    if args.markdown:
        write_readme(text)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
