"""What a load run came to: every request's record -> the report that scripts rely on."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Records = NDArray[np.void]
"""A structured array: a field per name in RECORD_FIELDS, as the core's load loop writes it."""

RECORD_FIELDS = (
    "model",
    "sample",
    "intended_ns",
    "sent_ns",
    "answered_ns",
    "outcome",
    "batch",
    "queue_us",
    "execute_us",
    "answer",
)
NS_PER_MS = 1e6
QUANTILES = {"p50_ms": 50.0, "p95_ms": 95.0, "p99_ms": 99.0}


class Outcome(IntEnum):
    """The numbers in the field `outcome`."""

    OK = 0
    LATE = 1
    FULL = 2
    FAILED = 3
    UNAVAILABLE = 4
    INVALID = 5
    CANCELLED = 6
    UNANSWERED = 7


class LoadedModel(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model beside its records."""

    name: str
    slo_ms: float
    labels: NDArray[np.int64] | None = None
    """The right answer per sample, where known."""


def report(
    records: Records,
    models: Sequence[LoadedModel],
    seconds: float,
    *,
    device: str,
    emulated: bool,
) -> dict[str, Any]:
    """The report of `glet load` and `glet demo`.

    `seconds` is how long requests were sent: rates are counts over it. The field `model` of a
    record indexes `models`. What does not exist is None: times without any answer, batch, queue and
    execute of a server that does not say them.
    """
    return {
        "seconds": seconds,
        "device": device,
        "emulated": emulated,
        **lag_ms(records),
        "models": {
            model.name: model_report(records[records["model"] == number], model, seconds)
            for number, model in enumerate(models)
        },
    }


def model_report(records: Records, model: LoadedModel, seconds: float) -> dict[str, Any]:
    """One model's part. `goodput_rps` counts ok answers within the SLO of the intended time."""
    outcome = records["outcome"]
    ok = records[outcome == Outcome.OK]
    latency_ms = (ok["answered_ns"] - ok["intended_ns"]) / NS_PER_MS
    counts = {kind: int(np.count_nonzero(outcome == kind)) for kind in Outcome}
    answered = len(records) - counts[Outcome.UNANSWERED]
    failed = (Outcome.FAILED, Outcome.INVALID, Outcome.UNAVAILABLE)
    found: dict[str, Any] = {
        "offered_rps": rate(len(records), seconds),
        "answered_rps": rate(answered, seconds),
        "goodput_rps": rate(int(np.count_nonzero(latency_ms <= model.slo_ms)), seconds),
        "sent": len(records),
        "ok": counts[Outcome.OK],
        "late": counts[Outcome.LATE],
        "full": counts[Outcome.FULL],
        "failed": sum(counts[kind] for kind in failed),
        "unavailable": counts[Outcome.UNAVAILABLE],
        "cancelled": counts[Outcome.CANCELLED],
        "unanswered": counts[Outcome.UNANSWERED],
        **{name: quantile(latency_ms, percent) for name, percent in QUANTILES.items()},
        "mean_batch": mean(ok["batch"][ok["batch"] > 0]),
        "mean_queue_ms": mean(ok["queue_us"][ok["queue_us"] >= 0] / 1e3),
        "mean_execute_ms": mean(ok["execute_us"][ok["execute_us"] >= 0] / 1e3),
        "slo_ms": model.slo_ms,
    }
    if model.labels is not None:
        found["accuracy"] = accuracy(ok, model.labels)
    return found


def accuracy(ok: Records, labels: NDArray[np.int64]) -> float | None:
    """The share of answers that are the label of their sample; None when none was read."""
    read = ok[ok["answer"] >= 0]
    if len(read) == 0:
        return None
    return float(np.mean(labels[read["sample"]] == read["answer"]))


def lag_ms(records: Records) -> dict[str, float | None]:
    """How far behind its schedule the generator itself was: p99 and maximum."""
    lag = (records["sent_ns"] - records["intended_ns"]) / NS_PER_MS
    return {"send_lag_p99_ms": quantile(lag, 99.0), "send_lag_max_ms": quantile(lag, 100.0)}


def rate(count: int, seconds: float) -> float:
    """Per second; 0 for an empty span."""
    return count / seconds if seconds > 0.0 else 0.0


def quantile(values: NDArray[Any], percent: float) -> float | None:
    """A value that was measured, not one between two; None when there are none."""
    if len(values) == 0:
        return None
    return float(np.percentile(values, percent, method="inverted_cdf"))


def mean(values: NDArray[Any]) -> float | None:
    """None when there are none."""
    return float(np.mean(values)) if len(values) else None


def good_share(model: Mapping[str, Any]) -> float:
    """Goodput over what was offered, 0..1; NaN when nothing was."""
    offered = float(model["offered_rps"])
    return float(model["goodput_rps"]) / offered if offered > 0.0 else math.nan


def records_csv(records: Records, models: Sequence[LoadedModel]) -> str:
    """Every request as CSV with a header, models by name, outcomes by word."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(RECORD_FIELDS)
    names = [model.name for model in models]
    words = [kind.name.lower() for kind in Outcome]
    columns = [records[field].tolist() for field in RECORD_FIELDS]
    outcome_at = RECORD_FIELDS.index("outcome")
    for row in zip(*columns, strict=True):
        cells: list[Any] = list(row)
        cells[0] = names[row[0]]
        cells[outcome_at] = words[row[outcome_at]]
        writer.writerow(cells)
    return out.getvalue()
