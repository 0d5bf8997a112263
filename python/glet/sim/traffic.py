"""A scenario's traffic: files and formulas -> requests per interval, or their times, by model."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

from glet.config.load import nearest
from glet.config.resource import resource
from glet.errors import ArgumentError, ConfigError
from glet.policy.forecast.nhits import Nhits
from glet.sim.scenario import Formula, Scenario, WorkloadConfig
from glet.workload import generate
from glet.workload.arrivals import TimesS
from glet.workload.generate import Counts
from glet.workload.times import read_times
from glet.workload.trace import ANY_MODEL, read_days, read_trace


class Traffic(NamedTuple):
    """`counts` are requests per interval by model, shape (intervals,), all equally long.

    `times_s` are the very times of those models that have them, shape (requests,).
    """

    counts: dict[str, Counts]
    times_s: dict[str, TimesS]

    @property
    def intervals(self) -> int:
        """How many there are."""
        return len(next(iter(self.counts.values())))


def traffic(scenario: Scenario) -> Traffic:
    """Raises ConfigError for files, columns and formulas that are wrong."""
    work = scenario.workload
    found = _of_trace(scenario, work) if work.trace else {}
    found |= {name: _by_formula(name, one, work) for name, one in work.formulas.items()}
    times_s = _given_times(scenario, work, found) if work.times else {}
    timed = {name: _counted(times, work.interval_s) for name, times in times_s.items()}
    if not found and not timed:
        raise ConfigError("[workload]: there is no traffic; give a trace, formulas or times")
    longest = max(len(counts) for counts in (*found.values(), *timed.values()))
    if work.intervals:
        longest = min(longest, work.intervals)
    end_s = longest * work.interval_s
    padded = {name: np.zeros(longest) for name in (*found, *timed)}
    for name, counts in (found | timed).items():
        padded[name][: len(counts)] = counts[:longest]
    if work.spacing != "poisson":
        whole = {name: generate.whole(padded[name], work.rounding) for name in found}
        padded |= whole
    return Traffic(padded, {name: times[times < end_s] for name, times in times_s.items()})


def _given_times(
    scenario: Scenario, work: WorkloadConfig, counted: Mapping[str, Counts]
) -> dict[str, TimesS]:
    path = _file(scenario, work.times)
    times_s = read_times(path)
    for name in times_s:
        if name in counted:
            raise ConfigError(
                f"{path}: gives times of {name!r}, whose requests a trace or formula counts already"
            )
    return times_s


def _counted(times_s: TimesS, interval_s: float) -> Counts:
    """Requests per interval, up to the last one's."""
    numbers = (times_s // interval_s).astype(np.int64)
    return np.bincount(numbers, minlength=1).astype(np.float64)


def history(scenario: Scenario) -> dict[str, Counts]:
    """Other days by model, shape (days, intervals); empty where the scenario names none."""
    work = scenario.workload
    if not work.history:
        return {}
    days = read_days(_file(scenario, work.history), work.interval_s)
    return {model: np.asarray(counts) for model, counts in days.items()}


def forecasters(scenario: Scenario, days: dict[str, Counts]) -> dict[str, Nhits]:
    """Of the scenario's weights, by model of `days`; empty where it names none.

    Raises ConfigError for files that hold no such weights, and without days.
    """
    name = scenario.workload.forecast
    if not name:
        return {}
    if not days:
        raise ConfigError(f"{name}: forecasts by weights need other days; give a history")
    path = Path(scenario.folder, name)
    try:
        with np.load(path, allow_pickle=False) as file:
            weights = dict(file)
        return {model: Nhits(weights, one) for model, one in days.items()}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, TypeError, BadZipFile):
        raise ConfigError(f"{path}: holds no weights; give what --forecast nhits keeps") from None
    except ArgumentError as error:
        raise ConfigError(f"{path}: {error}") from None


def _file(scenario: Scenario, name: str) -> Path:
    beside = Path(scenario.folder, name)
    return beside if beside.exists() or "/" in name else resource("traces", name)


def _of_trace(scenario: Scenario, work: WorkloadConfig) -> dict[str, Counts]:
    path = _file(scenario, work.trace)
    columns = read_trace(path, work.interval_s)
    if not work.models:
        if ANY_MODEL in columns:
            raise ConfigError(f"{path}: names no models; give [workload.models]")
        return {name: np.asarray(trace.counts) for name, trace in columns.items()}
    found = {}
    for name, model in work.models.items():
        column = ANY_MODEL if ANY_MODEL in columns else model.column or name
        if column not in columns:
            raise ConfigError(f"{path}: has no column {column!r}; {nearest(column, columns)}")
        counts = np.asarray(columns[column].counts)
        later = round(model.shift_s / work.interval_s)
        found[name] = generate.shifted(generate.scaled(counts, model.scale), later)
    return found


def _by_formula(name: str, one: Formula, work: WorkloadConfig) -> Counts:
    count, interval_s = work.intervals, work.interval_s
    if count < 1:
        raise ConfigError("[workload] intervals: formulas need how many; give 1 or more")
    make: dict[str, Callable[[], Counts]] = {
        "constant": lambda: generate.constant(one.rate_rps, count, interval_s),
        "sinusoid": lambda: generate.sinusoid(
            one.rate_rps, count, interval_s, depth=one.depth, period_s=one.period_s
        ),
        "spike": lambda: generate.spike(
            one.rate_rps, count, interval_s, factor=one.factor, span_s=one.span_s
        ),
        "markov": lambda: generate.markov(
            one.rates_rps,
            count,
            interval_s,
            stay_s=one.stay_s,
            rng=np.random.default_rng(one.seed),
        ),
        "flux": lambda: generate.flux(one.rate_rps, count, interval_s, phase_s=one.phase_s),
    }
    try:
        return make[one.kind]()
    except ConfigError as error:
        raise ConfigError(f"[workload.formulas.{name}] {error}") from None
