"""`glet models`: what is in a model repository, whether it is sound, samples, compiling."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from glet.cli.models_apps import list_apps, show_apps
from glet.cli.models_cost import add_cost
from glet.cli.models_load import add_load
from glet.clock import SystemClock
from glet.config.load import nearest
from glet.config.zoo import zoo, zoo_apps
from glet.errors import ConfigError
from glet.serve.compile import Progress, compile_entries
from glet.serve.compile_cache import Cache, default_cache
from glet.serve.compile_target import gpu_target
from glet.serve.repository import Repository

EXAMPLE = """example:
  glet models export lenet resnet18 --to models
  glet models check models
  glet models compile models
  glet models cost
  glet models load resnet18
"""


def add_parser(subparsers: Any) -> None:
    """Adds the command; `args.run` is set to the function that does it."""
    parser = subparsers.add_parser(
        "models",
        help="list, check, export, compile, load and unload models; what each one costs",
        description="A model repository is a folder with one folder per model or app.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add(
        commands,
        "list",
        "show the models and apps of a repository, their signatures and objectives",
        run_list,
    )
    check = _add(commands, "check", "say in one line per entry what is wrong with it", run_check)
    compile_ = _add(
        commands, "compile", "compile for this machine what is not compiled yet", run_compile
    )
    for command in (check, compile_):
        what = "a model or app" if command is check else "a model"
        command.add_argument("names", nargs="*", metavar="NAME", help=f"{what} (default: all)")
    _cache_option(compile_)
    compile_.add_argument(
        "--gpu",
        action="store_true",
        help="for the first GPU: models whose model.toml says compile = 'aoti'",
    )
    _add_export(commands)
    add_cost(commands)
    add_load(commands)


def _add(commands: Any, name: str, summary: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[:1].upper()}{summary[1:]}.",
        epilog=f"example: glet models {name} models",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the model repository")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(run=run)
    return parser


def _cache_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache",
        type=Path,
        default=default_cache(),
        metavar="DIR",
        help="where compiled models are kept (default: %(default)s)",
    )


def _add_export(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="make entries of sample models and apps",
        description="Make entries of the sample models and apps; an app brings the models that it "
        "needs. NEW=NAME stores one under another name.",
        epilog="example: glet models export lenet lenet2=lenet resnet18 --to models\n"
        "         glet models export game traffic --to models\n\n"
        + fill(f"sample models: {', '.join(zoo())}", 78)
        + f"\nsample apps: {', '.join(zoo_apps())}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a sample model or app")
    parser.add_argument("--all", action="store_true", help="every sample model and app")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="model repository")
    parser.add_argument(
        "--seed", type=int, default=0, help="of weights and samples (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(run=run_export)


def run_list(args: argparse.Namespace) -> int:
    """Prints every sound entry; a broken one is named with its fault, and the exit code is 1."""
    repository = Repository(args.folder)
    models: dict[str, dict[str, Any]] = {}
    broken: dict[str, str] = {}
    for name in repository.names():
        try:
            entry = repository.entry(name)
        except ConfigError as error:
            broken[name] = str(error).removeprefix(f"model {name!r}: ")
            continue
        models[name] = {
            "file": entry.form.value,
            "slo_ms": entry.config.slo_ms,
            "max_batch": entry.config.max_batch,
            "inputs": [str(spec) for spec in entry.config.input],
            "outputs": [str(spec) for spec in entry.config.output],
            "description": entry.config.description,
        }
    apps, broken_apps = list_apps(repository)
    broken |= broken_apps
    if args.json:
        print(json.dumps({"models": models, "apps": apps, "broken": broken}))
        return 1 if broken else 0
    if not models and not broken:
        print(f"no models in {args.folder}")
    _show_table(models)
    show_apps(apps)
    for name, problem in broken.items():
        print(f"{name}: {problem}")
    return 1 if broken else 0


def _show_table(models: Mapping[str, Mapping[str, Any]]) -> None:
    rows = [("model", "file", "SLO ms", "batch", "inputs -> outputs")]
    for name, model in models.items():
        signature = f"{', '.join(model['inputs'])} -> {', '.join(model['outputs'])}"
        limits = f"{model['slo_ms']:g}", str(model["max_batch"])
        rows.append((name, model["file"], *limits, signature))
    name_width = max(len(row[0]) for row in rows)
    for name, file, slo_ms, batch, signature in rows[: len(rows) if models else 0]:
        print(f"{name:{name_width}}  {file:9}  {slo_ms:>6}  {batch:>5}  {signature}")


def run_check(args: argparse.Namespace) -> int:
    """Prints one line per entry; the exit code is 1 when one of them is wrong."""
    repository = Repository(args.folder)
    models, apps = repository.names(), repository.app_names()
    names = args.names or [*models, *apps]
    for name in names:
        if name not in (*models, *apps):
            raise ConfigError(
                f"model {name!r} is not in {args.folder}; {nearest(name, [*models, *apps])}"
            )
    if not names and not args.json:
        print(f"no models in {args.folder}")
    problems = {
        name: repository.check_app(name) if name in apps else repository.check(name)
        for name in names
    }
    if args.json:
        print(json.dumps({"models": problems}))
    else:
        for name, problem in problems.items():
            print(f"{name:18} {problem or 'ok'}")
    return 1 if any(problems.values()) else 0


def run_compile(args: argparse.Namespace) -> int:
    """Compiles with progress on standard error; the exit code is 1 when a model is refused."""
    repository = Repository(args.folder)
    entries = [repository.entry(name) for name in args.names or repository.names()]
    clock = SystemClock()

    def report(progress: Progress) -> None:
        print(progress.line(), file=sys.stderr if args.json else sys.stdout, flush=True)

    target = gpu_target() if args.gpu else None
    results = compile_entries(entries, Cache(args.cache, clock), clock, report, target)
    if args.json:
        models = {
            result.model: {
                "runner": result.runner,
                "reason": result.reason,
                "library": result.library,
                "compile_s": result.compile_s,
                "library_bytes": result.library_bytes,
            }
            for result in results
        }
        print(json.dumps({"cache": str(args.cache), "models": models}))
    return 1 if any(result.runner == "refused" for result in results) else 0


def run_export(args: argparse.Namespace) -> int:
    """Exports samples; the exit code is 2 when a name is unknown or an entry exists."""
    from glet.serve.export import export_model
    from glet.serve.export_app import export_app

    if bool(args.names) == args.all:
        raise ConfigError("glet models export: give the names of sample models, or --all")
    models, apps = zoo(), zoo_apps()
    # Models first: an app brings those that are not there.
    wanted = sorted(
        (_new_and_sample(name) for name in args.names or (*models, *apps)),
        key=lambda pair: pair[1] in apps,
    )
    for name, sample in wanted:
        if sample not in models and sample not in apps:
            raise ConfigError(
                f"no sample model is called {sample!r}; {nearest(sample, [*models, *apps])}"
            )
        if (args.to / name).exists():
            raise ConfigError(f"{args.to / name}: exists already; remove it to export it again")
    written = {}
    for index, (name, sample) in enumerate(wanted, start=1):
        if not args.json:
            print(f"exporting {name} ({index} of {len(wanted)})...", flush=True)
        if sample in apps:
            say = _quiet if args.json else print
            for path in export_app(sample, args.to, name, say, args.seed):
                written[path.name] = str(path)
        else:
            written[name] = str(export_model(sample, args.to, name, args.seed))
    if args.json:
        print(json.dumps({"models": written}))
    return 0


def _quiet(_: str) -> None:
    """Nothing is said beside JSON."""


def _new_and_sample(text: str) -> tuple[str, str]:
    new, separator, sample = text.partition("=")
    return (new, sample) if separator else (text, text)
