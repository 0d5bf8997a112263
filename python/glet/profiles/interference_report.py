"""How wrong each model of interference is on what it was not fitted on.

A model that beats no constant is no model: every error stands beside the constant's, on the very
same held-out slowdowns.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from glet.errors import ArgumentError, ProfileError
from glet.profiles.device_profile import DeviceProfile
from glet.profiles.interference import Interference
from glet.profiles.interference_files import make_interference
from glet.profiles.interference_fit import FEWEST_PAIRS, FITS, samples_of
from glet.profiles.pairs import MeasuredPair

TRAINED = 0.7
# The fewest of which the trained part is enough for every fit.
FEWEST_COMBINATIONS = 8
REPEATS = 20

Fitter = Callable[[Sequence[MeasuredPair], DeviceProfile], Interference]


class ErrorRow(msgspec.Struct, frozen=True, kw_only=True):
    """Relative errors of one model of interference in percent of the measured latency.

    `held_out` pairs: a random 30 % of the combinations, repeated. `held_out` models: one model at
    a time, with every pair that it is in. `slowdowns` is how many were predicted.
    """

    model: str
    held_out: Literal["pairs", "models"]
    mean_pct: float
    p90_pct: float
    p95_pct: float
    slowdowns: int


def _fitter(kind: str) -> Fitter:
    def fitter(pairs: Sequence[MeasuredPair], profile: DeviceProfile) -> Interference:
        return make_interference(FITS[kind](pairs, profile), profile)

    return fitter


FITTERS: Mapping[str, Fitter] = {kind: _fitter(kind) for kind in FITS}


def error_report(
    pairs: Sequence[MeasuredPair],
    profile: DeviceProfile,
    rng: np.random.Generator,
    *,
    repeats: int = REPEATS,
    fitters: Mapping[str, Fitter] = FITTERS,
) -> tuple[ErrorRow, ...]:
    """A row per model and way of holding out, constant first; same pairs and seed, same report.

    A combination that was measured several times is held out with all its measurements. A fitter
    that refuses all pairs together (the bandwidth model where nobody has a demand) has no row. A
    model is not held out when too few pairs are left without it; if that is so for each, the
    report has no rows of held-out models. Raises ProfileError for fewer than FEWEST_COMBINATIONS
    different pairs.
    """
    groups = _combinations(pairs)
    if len(groups) < FEWEST_COMBINATIONS:
        raise ProfileError(
            f"{len(groups)} different pairs are too few to hold some out; "
            f"{FEWEST_COMBINATIONS} are needed"
        )
    usable = {kind: fitter for kind, fitter in fitters.items() if _fits(fitter, pairs, profile)}
    rows = []
    folds = list(_random_folds(groups, rng, repeats))
    rows += _rows("pairs", usable, folds, profile)
    rows += _rows("models", usable, list(_model_folds(pairs)), profile)
    return tuple(rows)


def choose(report: Sequence[ErrorRow]) -> str:
    """The model with the least mean error on held-out pairs; the constant where none beats it.

    Raises ArgumentError for a report without the constant.
    """
    means = {row.model: row.mean_pct for row in report if row.held_out == "pairs"}
    if "constant" not in means:
        raise ArgumentError("the report has no constant to compare with")
    # Equal errors: the constant, whatever else there is.
    return min(means, key=lambda model: (means[model], model != "constant"))


_Fold = tuple[list[MeasuredPair], list[MeasuredPair]]


def _combinations(pairs: Iterable[MeasuredPair]) -> list[list[MeasuredPair]]:
    """Pairs of the same two tenants together, sorted by tenants."""
    groups: dict[tuple[tuple[str, int, int], ...], list[MeasuredPair]] = {}
    for pair in pairs:
        a = (pair.model_a, pair.share_a_pct, pair.batch_a)
        b = (pair.model_b, pair.share_b_pct, pair.batch_b)
        groups.setdefault(tuple(sorted((a, b))), []).append(pair)
    return [groups[key] for key in sorted(groups)]


def _random_folds(
    groups: Sequence[Sequence[MeasuredPair]], rng: np.random.Generator, repeats: int
) -> Iterable[_Fold]:
    trained = round(TRAINED * len(groups))
    for _ in range(repeats):
        order = rng.permutation(len(groups)).tolist()
        yield (
            [pair for i in order[:trained] for pair in groups[i]],
            [pair for i in order[trained:] for pair in groups[i]],
        )


def _model_folds(pairs: Sequence[MeasuredPair]) -> Iterable[_Fold]:
    for model in sorted({name for pair in pairs for name in (pair.model_a, pair.model_b)}):
        held = [pair for pair in pairs if model in (pair.model_a, pair.model_b)]
        rest = [pair for pair in pairs if model not in (pair.model_a, pair.model_b)]
        if len(rest) >= FEWEST_PAIRS:
            yield rest, held


def _rows(
    held_out: Literal["pairs", "models"],
    fitters: Mapping[str, Fitter],
    folds: Sequence[_Fold],
    profile: DeviceProfile,
) -> list[ErrorRow]:
    errors: dict[str, list[NDArray[np.float64]]] = {kind: [] for kind in fitters}
    for trained, held in folds:
        try:
            fitted = {kind: fitter(trained, profile) for kind, fitter in fitters.items()}
        except ProfileError:
            # All or none: errors are comparable on the same slowdowns only.
            continue
        for kind, interference in fitted.items():
            errors[kind].append(_errors_pct(interference, held))
    return [_row(kind, held_out, np.concatenate(found)) for kind, found in errors.items() if found]


def _row(
    kind: str, held_out: Literal["pairs", "models"], errors_pct: NDArray[np.float64]
) -> ErrorRow:
    p90, p95 = np.quantile(errors_pct, (0.9, 0.95)).tolist()
    return ErrorRow(
        model=kind,
        held_out=held_out,
        mean_pct=float(errors_pct.mean()),
        p90_pct=p90,
        p95_pct=p95,
        slowdowns=len(errors_pct),
    )


def _errors_pct(interference: Interference, held: Sequence[MeasuredPair]) -> NDArray[np.float64]:
    return np.array(
        [
            100.0 * abs(interference.slowdown(victim, (other,)) / slowdown - 1.0)
            for victim, other, slowdown in samples_of(held)
        ]
    )


def _fits(fitter: Fitter, pairs: Sequence[MeasuredPair], profile: DeviceProfile) -> bool:
    try:
        fitter(pairs, profile)
    except ProfileError:
        return False
    return True
