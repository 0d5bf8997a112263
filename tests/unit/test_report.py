"""Reports: counts and quantiles of records that were made by hand."""

import csv
import io
import json
from typing import Any

import numpy as np
import pytest

from glet.observe.report import (
    RECORD_FIELDS,
    LoadedModel,
    Outcome,
    good_share,
    records_csv,
    report,
)

DTYPE = np.dtype([(name, np.int64) for name in RECORD_FIELDS])
MS = 1_000_000


def records(*rows: dict[str, Any]) -> np.ndarray:
    """Requests sent on time at 0 and answered ok after 1 ms, but for what a row says."""
    made = np.zeros(len(rows), DTYPE)
    made["answered_ns"] = MS
    made["batch"] = 1
    made["answer"] = -1
    for record, row in zip(made, rows, strict=True):
        for field, value in row.items():
            record[field] = value
    return made


def made_report(*rows: dict[str, Any], **model: Any) -> dict[str, Any]:
    loaded = LoadedModel(**{"name": "m", "slo_ms": 10.0, **model})
    return report(records(*rows), [loaded], 2.0, device="cpu", emulated=False)


def test_counts_every_outcome_once() -> None:
    rows = [{"outcome": kind} for kind in Outcome] + [{"outcome": Outcome.OK}]
    model = made_report(*rows)["models"]["m"]
    counts = ("sent", "ok", "late", "full", "failed", "unavailable", "cancelled")
    assert {key: model[key] for key in counts} == {
        "sent": 9, "ok": 2, "late": 1, "full": 1, "failed": 3, "unavailable": 1, "cancelled": 1,
    }  # fmt: skip
    assert model["unanswered"] == 1
    assert model["offered_rps"] == 4.5
    assert model["answered_rps"] == 4.0
    parts = ("ok", "late", "full", "failed", "cancelled", "unanswered")
    assert sum(model[part] for part in parts) == model["sent"]


def test_goodput_counts_from_the_intended_time() -> None:
    model = made_report(
        {"intended_ns": 0, "sent_ns": 0, "answered_ns": 10 * MS},
        {"intended_ns": 0, "sent_ns": 5 * MS, "answered_ns": 11 * MS},
        {"outcome": Outcome.LATE, "answered_ns": 1 * MS},
    )["models"]["m"]
    assert model["goodput_rps"] == 0.5
    assert good_share(model) == pytest.approx(1 / 3)
    assert model["p99_ms"] == 11.0


def test_quantiles_are_measured_values() -> None:
    rows = [{"answered_ns": (i + 1) * MS} for i in range(100)]
    model = made_report(*rows)["models"]["m"]
    assert (model["p50_ms"], model["p95_ms"], model["p99_ms"]) == (50.0, 95.0, 99.0)


def test_batches_and_times_are_means_of_ok_answers() -> None:
    model = made_report(
        {"batch": 2, "queue_us": 1000, "execute_us": 3000},
        {"batch": 4, "queue_us": 3000, "execute_us": 5000},
        {"outcome": Outcome.FULL, "batch": 0, "queue_us": -1, "execute_us": -1},
    )["models"]["m"]
    assert (model["mean_batch"], model["mean_queue_ms"], model["mean_execute_ms"]) == (
        3.0,
        2.0,
        4.0,
    )


def test_accuracy_compares_answers_with_labels_of_their_samples() -> None:
    rows = [{"sample": 0, "answer": 7}, {"sample": 1, "answer": 7}, {"sample": 1, "answer": -1}]
    model = made_report(*rows, labels=np.array([7, 8]))["models"]["m"]
    assert model["accuracy"] == 0.5
    assert "accuracy" not in made_report(*rows)["models"]["m"]
    assert made_report(labels=np.array([1]))["models"]["m"]["accuracy"] is None


def test_lag_is_how_late_requests_left() -> None:
    found = made_report({"intended_ns": 0, "sent_ns": 3 * MS}, {"intended_ns": MS, "sent_ns": MS})
    assert found["send_lag_max_ms"] == 3.0


def test_an_empty_run_is_a_report_too() -> None:
    found = made_report()
    model = found["models"]["m"]
    assert model["sent"] == 0
    assert model["p99_ms"] is None
    assert found["send_lag_p99_ms"] is None
    assert np.isnan(good_share(model))
    json.dumps(found)


def test_models_are_told_apart() -> None:
    rows = records({"model": 0}, {"model": 1}, {"model": 1})
    models = [LoadedModel(name="a", slo_ms=1.0), LoadedModel(name="b", slo_ms=1.0)]
    found = report(rows, models, 1.0, device="cpu", emulated=True)
    assert [found["models"][name]["sent"] for name in "ab"] == [1, 2]
    assert found["emulated"] is True


def test_csv_holds_every_request() -> None:
    rows = records({"sample": 5}, {"outcome": Outcome.UNANSWERED, "answered_ns": -1})
    lines = list(csv.DictReader(io.StringIO(records_csv(rows, [LoadedModel(name="m", slo_ms=1)]))))
    assert [line["outcome"] for line in lines] == ["ok", "unanswered"]
    assert lines[0]["model"] == "m"
    assert lines[0]["sample"] == "5"
    assert lines[1]["answered_ns"] == "-1"
