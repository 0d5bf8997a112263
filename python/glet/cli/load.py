"""`glet load`: an open-loop load generator with a report per model."""

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from glet.cli.generate import Generated, ModelLoad, Reached, generate
from glet.cli.key_options import add_key_options, client_keys_of, keys
from glet.cli.load_http import SCHEME, HttpServer
from glet.cli.table import report_tables
from glet.client import Client
from glet.clock import Clock, SystemClock
from glet.config.load import nearest
from glet.errors import ConfigError, ModelNotFoundError, UnavailableError, WireError
from glet.observe.report import records_csv, report
from glet.serve.repository import Repository, read_samples
from glet.workload.arrivals import Arrivals, parse_arrivals
from glet.workload.sample import random_inputs
from glet.workload.trace import ANY_MODEL, read_trace

EXAMPLE = """example:
  glet load tcp://127.0.0.1:5555 --model lenet=200 --model resnet18=5 --seconds 30
  glet load tcp://127.0.0.1:5555 --model lenet=200 --arrivals gamma:3 --models models --json
  glet load http://127.0.0.1:8000 --model resnet50=40 --slo-ms 100
"""
SCHEMES = ("tcp://", "ipc://", "inproc://", SCHEME)
MADE_UP_SAMPLES = 16
MAX_SAMPLES = 4096
BEHIND_MS = 5.0
CONNECT_TIMEOUT_S = 10.0


def add_parser(subparsers: Any) -> None:
    """Adds the command; `args.run` is set to the function that does it."""
    parser = subparsers.add_parser(
        "load",
        help="send requests at given rates, report goodput",
        description="Send every request at its intended time, however slow the answers are.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "address",
        metavar="ADDRESS",
        help="of the frontend: tcp://HOST:PORT; or http://HOST:PORT of any server of the Open "
        "Inference Protocol (KServe, Triton)",
    )
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="NAME=RPS",
        help="a model and its mean rate in requests/s; may be repeated",
    )
    parser.add_argument(
        "--arrivals",
        default="poisson",
        metavar="KIND",
        help="constant, poisson, gamma[:CV] or trace:FILE (default: %(default)s)",
    )
    parser.add_argument(
        "--interval",
        type=float,
        default=1.0,
        metavar="S",
        help="seconds per line of the trace (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="how long (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of arrivals and inputs (default: %(default)s)"
    )
    parser.add_argument(
        "--deadline-ms", type=float, metavar="X", help="of every request (default: the model's SLO)"
    )
    parser.add_argument(
        "--slo-ms",
        type=float,
        metavar="X",
        help="what counts as goodput (default: the model's SLO; of a server that knows none "
        "--deadline-ms)",
    )
    parser.add_argument(
        "--models", type=Path, metavar="DIR", help="model repository, for samples and labels"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write every request there")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    add_key_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the load; 0 when every request was answered, else 1."""
    return load(args, SystemClock(), Console(stderr=True))


def load(args: argparse.Namespace, clock: Clock, console: Console) -> int:
    """The same with its clock and the console for progress and warnings."""
    if not args.address.startswith(SCHEMES):
        valid = "tcp://HOST:PORT, ipc://PATH and http://HOST:PORT"
        raise ConfigError(f"address {args.address!r}; valid are {valid}")
    rates = parse_rates(args.model)
    check_times(args)
    arrivals = arrivals_of(args.arrivals, args.interval, list(rates))
    samples = Repository(args.models) if args.models else None
    rng = np.random.default_rng(args.seed)

    def loads_of(served: Mapping[str, Any]) -> list[ModelLoad]:
        return [
            model_load(
                name,
                served,
                samples,
                arrivals[name].times_s(rate, args.seconds, rng),
                (args.deadline_ms, rng),
            )
            for name, rate in rates.items()
        ]

    if args.address.startswith(SCHEME):
        if args.server_key or args.client_key:
            raise ConfigError(f"keys are of tcp:// addresses; {args.address} takes none")
        server = Reached(args.address)
        served, stats, loads = over_http(args, list(rates), loads_of)
    else:
        server = Reached(args.address, client_keys_of(args))
        with Client(args.address, timeout_s=CONNECT_TIMEOUT_S, **keys(args)) as client:
            served, stats = client.models(), client.stats()
        if args.slo_ms is not None:
            served = {name: each | {"slo_ms": args.slo_ms} for name, each in served.items()}
        loads = loads_of(served)
    done = generate(server, loads, args.seconds, clock, console)
    found = report_of(done, loads, served, stats)
    if args.csv:
        write_csv(args.csv, records_csv(done.records, [each.loaded() for each in loads]))
    warn(found, done, console)
    return show(found, as_json=args.json)


def over_http(
    args: argparse.Namespace,
    names: Sequence[str],
    loads_of: Callable[[Mapping[str, Any]], list[ModelLoad]],
) -> tuple[dict[str, Any], dict[str, Any], list[ModelLoad]]:
    """What a server of the Open Inference Protocol serves, what it is, and what it is sent.

    Raises ConfigError when nobody says what counts as goodput.
    """
    server = HttpServer(args.address)
    product, binary = server.metadata()
    models = {name: server.model(name) for name in names}
    served = {}
    for name, model in models.items():
        slo_ms = args.slo_ms or model.slo_ms or args.deadline_ms
        if slo_ms is None:
            raise ConfigError(f"{args.address} knows no SLO of model {name!r}; give --slo-ms")
        served[name] = model.as_wire(slo_ms)
    loads = [
        server.with_requests(load, models[load.name], binary=binary) for load in loads_of(served)
    ]
    return served, {"backends": [{"type": product}]}, loads


def report_of(
    done: Generated, loads: Sequence[ModelLoad], served: Mapping[str, Any], stats: Mapping[str, Any]
) -> dict[str, Any]:
    """The report of a run, with the device that the frontend speaks of."""
    return report(
        done.records,
        [each.loaded() for each in loads],
        done.seconds,
        device=device_of(stats),
        emulated=any(bool(served[each.name].get("emulated")) for each in loads),
    )


def show(found: Mapping[str, Any], *, as_json: bool) -> int:
    """Prints a report; the exit code: 0 when every request was answered, else 1."""
    if as_json:
        print(json.dumps(found))
    else:
        out = Console()
        for table in report_tables(found, out.width):
            out.print(table)
    return 1 if any(model["unanswered"] for model in found["models"].values()) else 0


def check_times(args: argparse.Namespace) -> None:
    """Raises ConfigError unless --seconds, --deadline-ms and --slo-ms, where there are such
    options, are above 0.
    """
    options = ("seconds", "deadline_ms", "slo_ms")
    given = ((f"--{key.replace('_', '-')}", vars(args).get(key)) for key in options)
    for option, value in given:
        if value is not None and not (math.isfinite(value) and value > 0.0):
            raise ConfigError(f"{option} {value}; give a number above 0")


def parse_rates(texts: Sequence[str]) -> dict[str, float]:
    """`NAME=RPS` of every --model; raises ConfigError for what is not that."""
    rates: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            rate_rps = float(number)
        except ValueError:
            rate_rps = math.nan
        if not name or not (math.isfinite(rate_rps) and rate_rps >= 0.0):
            raise ConfigError(f"--model {text!r}; give NAME=RPS, as in lenet=200")
        if name in rates:
            raise ConfigError(f"--model {name!r} is given twice")
        rates[name] = rate_rps
    return rates


def arrivals_of(text: str, interval_s: float, names: Sequence[str]) -> dict[str, Arrivals]:
    """The arrival process of every model."""
    kind, _, path = text.partition(":")
    if kind != "trace":
        return dict.fromkeys(names, parse_arrivals(text))
    traces = read_trace(Path(path), interval_s)
    found: dict[str, Arrivals] = {}
    for name in names:
        trace = traces.get(name, traces.get(ANY_MODEL))
        if trace is None:
            raise ConfigError(f"{path}: has no column {name!r}; it has {', '.join(traces)}")
        found[name] = trace
    return found


def model_load(
    name: str,
    served: Mapping[str, Any],
    repository: Repository | None,
    times_s: NDArray[np.float64],
    options: tuple[float | None, np.random.Generator],
) -> ModelLoad:
    """What the model is sent. Raises ModelNotFoundError when the frontend does not serve it."""
    deadline_ms, rng = options
    if name not in served:
        raise ModelNotFoundError(f"no model {name!r}; {nearest(name, served)}")
    if not served[name].get("inputs"):
        state = served[name].get("state", "not ready")
        raise UnavailableError(f"model {name!r} is {state}: what it takes is not known yet")
    try:
        specs = [(str(n), str(d), [int(size) for size in s]) for n, d, s in served[name]["inputs"]]
        slo_ms = float(served[name]["slo_ms"])
    except (KeyError, TypeError, ValueError):
        raise WireError(f"the frontend does not say what model {name!r} takes") from None
    stored = stored_samples(name, repository)
    if stored is None:
        made_up = [random_inputs(specs, rng) for _ in range(MADE_UP_SAMPLES)]
        stored = made_up, None
    dtypes = {tensor: dtype for tensor, dtype, _ in specs}
    return ModelLoad(
        name=name,
        slo_ms=slo_ms,
        samples=[[(n, array, dtypes.get(n)) for n, array in row] for row in stored[0]],
        # What an emulated device answers is no answer.
        labels=None if served[name].get("emulated") else stored[1],
        times_s=times_s,
        deadline_ms=deadline_ms,
    )


def stored_samples(
    name: str, repository: Repository | None
) -> tuple[list[list[tuple[str, NDArray[Any]]]], NDArray[np.int64] | None] | None:
    """The repository's samples and labels of a model, if it has some."""
    if repository is None or name not in repository.names():
        return None
    samples = read_samples(repository.entry(name))
    if samples is None:
        return None
    count = min(MAX_SAMPLES, len(next(iter(samples.inputs.values()))))
    rows = [[(n, array[i]) for n, array in samples.inputs.items()] for i in range(count)]
    return rows, samples.labels


def device_of(stats: Mapping[str, Any]) -> str:
    """The devices behind a frontend: types, or a GPU's name and its SMs."""
    return ", ".join(sorted({_device(row) for row in stats.get("backends", [])})) or "unknown"


def _device(backend: Mapping[str, Any]) -> str:
    product = backend.get("product")
    return f"{product}, {backend['sms']} SMs" if product else str(backend["type"])


def write_csv(path: Path, text: str) -> None:
    """Raises ConfigError when the file cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


def warn(found: Mapping[str, Any], done: Generated, console: Console) -> None:
    """Says what makes the numbers doubtful."""
    lag_ms = found["send_lag_p99_ms"]
    if lag_ms is not None and lag_ms > BEHIND_MS:
        console.print(
            f"warning: the generator was behind its own schedule: p99 {lag_ms:.1f} ms; "
            "latencies count from the intended times all the same",
            soft_wrap=True,
        )
    for name, text in done.first_errors.items():
        console.print(f"warning: {name}: first failure: {text}", markup=False, soft_wrap=True)
