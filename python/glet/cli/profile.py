"""`glet profile`: measures a device through the engine that serves, and writes its profile."""

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from glet.cli.profile_fit import Fit, fit_folder, fit_pairs
from glet.cli.profile_progress import ProfileProgress
from glet.cli.profile_report import as_json, show_fit, show_points
from glet.clock import Clock, SystemClock
from glet.config.cluster import ClusterConfig
from glet.errors import ConfigError, ProfileError
from glet.profiles import latency_csv
from glet.profiles.files import DeviceFacts
from glet.serve.backend import device_info
from glet.serve.compile_cache import Cache, default_cache
from glet.serve.partition_choice import resolve
from glet.serve.profiler import Profiler, Wish, check_wish
from glet.serve.profiler_device import CpuTarget, EmulatedTarget, GpuTarget, Target
from glet.serve.profiler_machine import load_average, machine_of, now, versions
from glet.serve.profiler_pairs import splits
from glet.serve.profiler_rule import StopRule
from glet.serve.profiler_store import ProfileStore, RunRecord
from glet.serve.repository import Entry, Repository
from glet.types.device import PARTITION_CHOICES

EXAMPLE = """example:
  glet profile models --out profiles/my-machine
  glet profile models --models lenet,bert_tiny --batches 1,8 --pairs none --out profiles/small
  glet profile --fit profiles/my-machine
"""
BATCHES = (1, 2, 4, 8, 16, 32)
PAIRS = 60
MEASURED = ("green", "cpu", "profiled")
_LIST = re.compile(r"\d{1,6}(,\d{1,6})*")


def add_parser(subparsers: Any) -> None:
    """Adds the command; `args.run` is set to the function that does it."""
    parser = subparsers.add_parser(
        "profile",
        help="measure a device: latency by model, share and batch, and interference",
        description="Measure the models of a repository on every share of this device, and pairs\n"
        "of gpulets beside each other. What is in the folder already is not measured again:\n"
        "a run that was stopped goes on where it was.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path("models"),
        metavar="MODELS_DIR",
        help="model repository (default: models)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the profile is written")
    parser.add_argument(
        "--device-type", metavar="NAME", help="how plans call the device (default: --out's name)"
    )
    _add_wishes(parser)
    _add_device(parser)
    parser.add_argument(
        "--fit", type=Path, metavar="DIR", help="only fit interference again to a profile's pairs"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(run=run)


def _add_wishes(parser: argparse.ArgumentParser) -> None:
    rule = StopRule()
    parser.add_argument("--models", metavar="A,B", help="only these (default: all)")
    parser.add_argument(
        "--shares", metavar="P,P", help="percent of the device (default: all that it can give)"
    )
    parser.add_argument(
        "--batches",
        metavar="N,N",
        help="batch sizes (default: 1, 2, 4, ..., 32 up to each model's max_batch, and that)",
    )
    parser.add_argument(
        "--pairs",
        default=str(PAIRS),
        metavar="N|none|all",
        help="pairs of gpulets to measure beside each other (default: %(default)s)",
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=rule.most,
        metavar="N",
        help="most samples of a point (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds-per-point",
        type=float,
        default=rule.limit_s,
        metavar="S",
        help=f"after that a point ends, when it has {rule.least} samples (default: %(default)s)",
    )
    parser.add_argument(
        "--again", action="store_true", help="measure also what is in the folder already"
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--partition",
        choices=PARTITION_CHOICES,
        default="auto",
        help="what a gpulet is: SMs of a GPU (green), a process under a GPU's MPS daemon (mps), "
        "CPU cores, or emulated by a profile (default: auto, the first that can be measured here)",
    )
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="latency.csv or a profile folder, for --partition profiled",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=default_cache(),
        metavar="DIR",
        help="where compiled models are kept (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Measures; 0, or 1 when a model could not be measured."""
    if args.fit is not None:
        return _fit_again(args)
    return _measure(args, SystemClock(), Console(stderr=True))


def _fit_again(args: argparse.Namespace) -> int:
    fit = fit_folder(args.fit)
    if args.json:
        print(msgspec.json.encode(fit).decode())
    else:
        show_fit(fit)
    return 0


def _measure(args: argparse.Namespace, clock: Clock, console: Console) -> int:
    entries = _entries(args)
    target = _target(args, clock)
    wish = _wish(args, entries, target)
    check_wish(target, entries, wish)
    store = _store(args, target)

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    if target.info.left_out:
        say(target.info.left_out)
    if wish.pairs != 0 and not splits(wish.shares_pct):
        shares = ", ".join(str(share) for share in wish.shares_pct)
        say(f"no pairs: of the shares {shares} % no two fit on the device at the same time")
    profiler = Profiler(target, entries, wish, store)
    needed = [entries[name] for name in profiler.models()]
    failed = target.prepare(needed, lambda progress: say(progress.line()))
    with ProfileProgress(profiler.total_s, console, clock) as progress:
        try:
            failed = profiler.run(failed, progress.show, lambda: store.save(now(), load_average()))
        except KeyboardInterrupt:
            say(f"stopped; what was measured is in {store.folder}: the same command goes on")
            raise
    for reason in failed.values():
        say(reason)
    if store.run.unsteady_pairs:
        say(f"{store.run.unsteady_pairs} of {store.run.pairs} new pairs did not settle")
    fit = _fit(store, say)
    if args.json:
        print(msgspec.json.encode(as_json(store, fit, failed)).decode())
    else:
        show_points(store, wish.batches)
        if fit is not None:
            show_fit(fit)
    return 1 if failed else 0


def _fit(store: ProfileStore, say: Callable[[str], None]) -> Fit | None:
    """None, and a sentence, while there are too few pairs."""
    if not store.pairs():
        return None
    try:
        return fit_pairs(store.folder, store.data())
    except ProfileError as error:
        say(f"interference is not fitted: {error}")
        return None


def _entries(args: argparse.Namespace) -> dict[str, Entry]:
    repository = Repository(args.folder)
    names = args.models.split(",") if args.models is not None else repository.names()
    if not names:
        raise ConfigError(
            f"{args.folder}: holds no models; "
            f"glet models export lenet --to {args.folder} makes a first one"
        )
    return {name: repository.entry(name) for name in names}


def _target(args: argparse.Namespace, clock: Clock) -> Target:
    cluster, choice = resolve(ClusterConfig(partition=args.partition))
    if choice.kind not in MEASURED:
        if args.partition != "auto":
            raise ConfigError(
                f"partition {choice.kind}: glet profile cannot measure it; "
                f"valid are {', '.join(MEASURED)}"
            )
        cluster = ClusterConfig(partition="cpu")
    info = device_info(cluster, cluster.backend[0])
    if cluster.partition == "green":
        return GpuTarget(info, Cache(args.cache, clock), clock)
    if cluster.partition == "cpu":
        return CpuTarget(info, Cache(args.cache, clock), clock)
    if args.profile is None:
        raise ConfigError(
            "partition profiled needs --profile FILE, a latency.csv or a profile folder"
        )
    return EmulatedTarget(info, latency_csv.read(args.profile))


def _wish(args: argparse.Namespace, entries: dict[str, Entry], target: Target) -> Wish:
    shares = _numbers("--shares", args.shares) or target.shares(list(entries))
    if not shares:
        raise ConfigError("the models have no share in common; say --shares, or --models")
    batches = _numbers("--batches", args.batches)
    rule = StopRule()
    if not rule.least <= args.repeats <= 1_000_000:
        raise ConfigError(f"--repeats {args.repeats}; give a number from {rule.least} to 1000000")
    if not 0.0 < args.seconds_per_point <= 3600.0:
        raise ConfigError(
            f"--seconds-per-point {args.seconds_per_point}; give seconds above 0, up to 3600"
        )
    limit_s = args.seconds_per_point
    return Wish(
        batches={name: batches or _usual_batches(entry) for name, entry in entries.items()},
        shares_pct=shares,
        pairs=_pairs(args.pairs),
        rule=msgspec.structs.replace(
            rule, most=args.repeats, limit_s=limit_s, least_s=min(rule.least_s, limit_s)
        ),
        again=args.again,
    )


def _usual_batches(entry: Entry) -> tuple[int, ...]:
    largest = entry.config.max_batch
    return tuple(sorted({*(batch for batch in BATCHES if batch < largest), largest}))


def _numbers(option: str, text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    if _LIST.fullmatch(text) is None:
        raise ConfigError(f"{option} {text!r}; give whole numbers, as in 1,2,4")
    return tuple(sorted({int(number) for number in text.split(",")}))


def _pairs(text: str) -> int | None:
    if text == "all":
        return None
    if text != "none" and re.fullmatch(r"\d{1,6}", text) is None:
        raise ConfigError(f"--pairs {text!r}; give a whole number, none or all")
    return 0 if text == "none" else int(text)


def _store(args: argparse.Namespace, target: Target) -> ProfileStore:
    if args.out is None:
        raise ConfigError("where to? say --out profiles/NAME")
    info = target.info
    try:
        facts = DeviceFacts(
            type=args.device_type or args.out.resolve().name,
            kind="gpu" if info.kind == "green" or info.kind == "mps" else info.kind,
            memory_mb=float(info.memory_mb),
        )
    except ValueError as error:
        raise ConfigError(f"--device-type {args.device_type!r}; valid is {error}") from error
    record = RunRecord(
        command=_command(sys.argv),
        started=now(),
        machine=machine_of(info),
        versions=versions(),
        load_at_start=load_average(),
    )
    return ProfileStore(args.out, facts, record)


def _command(argv: Sequence[str]) -> str:
    return shlex.join(["glet", *argv[1:]])
