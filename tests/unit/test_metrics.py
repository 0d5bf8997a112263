"""What Prometheus is told: the text, and which numbers it has."""

import math
import re
import shutil
import subprocess
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from metric_parts import COUNTED, PROCESS, backend_state, snapshot

from glet.observe.metrics import OUTCOMES, Snapshot, render_metrics
from glet.observe.metrics_text import Family, number, render

LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')


def samples(page: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """By name and labels; each is there once."""
    found: dict[Any, float] = {}
    for line in page.splitlines():
        if line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        assert match is not None, line
        key = (match[1], frozenset(LABEL.findall(match[2] or "")))
        assert key not in found, line
        found[key] = float(match[3])
    return found


def value(page: str, name: str, **labels: str) -> float:
    return samples(page)[(name, frozenset(labels.items()))]


def lint(page: str) -> list[str]:
    """What promtool finds; the test skips without it."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool here (Debian package prometheus)")
    ran = subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, text=True, timeout=60
    )
    found = [line for line in (ran.stdout + ran.stderr).splitlines() if line.strip()]
    assert bool(found) == (ran.returncode != 0), ran
    return found


def test_every_number_is_where_it_belongs() -> None:
    page = render_metrics(snapshot(), triton=False)
    for outcome in set(OUTCOMES) & COUNTED.keys():
        got = value(page, "glet_requests_total", model="lenet", outcome=outcome)
        assert got == COUNTED[outcome]
    place = {"backend": "device0", "device": "0", "gpulet": "5"}
    for name, labels, wanted in (
        ("glet_build_info", {"version": "1.2", "role": "frontend"}, 1),
        ("glet_requests_good_total", {"model": "lenet"}, 7),
        ("glet_requests_outstanding", {"model": "lenet"}, 5),
        ("glet_request_queue_seconds_total", {"model": "lenet"}, 0.03),
        ("glet_request_execute_seconds_total", {"model": "lenet"}, 0.051),
        ("glet_model_slo_seconds", {"model": "lenet"}, 0.025),
        ("glet_model_serving", {"model": "bert"}, 0),
        ("glet_app_info", {"model": "game"}, 1),
        ("glet_backend_up", {"backend": "device1"}, 0),
        ("glet_devices_in_use", {}, 1),
        ("glet_device_memory_used_bytes", {"backend": "device0", "device": "0"}, 1e9),
        ("glet_device_utilization_ratio", {"backend": "device0", "device": "0"}, 0.5),
        ("glet_gpulet_share_pct", place, 40),
        ("glet_gpulet_given_pct", place, 37.5),
        ("glet_gpulet_busy_ratio", place, 0.25),
        ("glet_gpulet_models", place, 2),
        ("glet_gpulet_waiting_requests", {**place, "model": "lenet"}, 2),
        ("glet_gpulet_batch_items_total", {**place, "model": "lenet"}, 10),
        ("glet_gpulet_latency_correction_ratio", {**place, "model": "lenet"}, 1.25),
        ("glet_gpulet_busy_seconds_total", {**place, "model": "lenet"}, 0.5),
        ("glet_executor_restarts_total", {"backend": "device0", "executor": "1"}, 1),
        ("glet_plan_changes_total", {"trigger": "epoch", "change": "gpulets"}, 2),
        ("glet_plan_failures_total", {}, 1),
        ("glet_traces_total", {"result": "dropped"}, 1),
        ("process_cpu_seconds_total", {}, 1.5),
        ("process_open_fds", {}, 20),
    ):
        assert value(page, name, **labels) == pytest.approx(wanted), name


def test_a_histogram_counts_up_to_all_and_knows_its_sum() -> None:
    page = render_metrics(snapshot(), triton=False)
    name = "glet_request_latency_seconds"
    rows = {
        dict(labels)["le"]: count
        for (known, labels), count in samples(page).items()
        if known == f"{name}_bucket" and ("model", "lenet") in labels
    }
    assert (rows["0.0005"], rows["0.001"], rows["0.015"], rows["0.025"]) == (0, 3, 3, 7)
    assert (rows["10"], rows["+Inf"]) == (7, 8)
    assert list(rows.values()) == sorted(rows.values())
    assert value(page, f"{name}_count", model="lenet") == 8
    assert value(page, f"{name}_sum", model="lenet") == pytest.approx(60.083)


def test_batches_are_those_that_requests_ran_in() -> None:
    page = render_metrics(snapshot(), triton=False)
    name = "glet_request_batch_size"
    assert value(page, f"{name}_bucket", model="lenet", le="2") == 2
    assert value(page, f"{name}_bucket", model="lenet", le="4") == 8
    assert value(page, f"{name}_sum", model="lenet") == 20


def test_a_value_counts_where_its_bucket_ends() -> None:
    family = Family("x_seconds", "histogram", "X.")
    family.add_histogram((0.001, 0.002), [(0.001, 1), (0.0010001, 1), (0.002, 1)], 0.004)
    page = render([family])
    assert value(page, "x_seconds_bucket", le="0.001") == 1
    assert value(page, "x_seconds_bucket", le="0.002") == 3


def test_what_is_not_known_is_not_there() -> None:
    bare = snapshot(
        states={"d": backend_state("d", usage=None)}, controller=None, traces=None, busy={}
    )
    page = render_metrics(bare, triton=True)
    for name in ("glet_device_memory_used_bytes", "glet_device_utilization_ratio",
                 "glet_gpulet_busy_ratio", "glet_controller_up", "glet_plan_changes_total",
                 "glet_traces_total", "nv_gpu_utilization"):  # fmt: skip
        assert name not in page
    assert "glet_device_memory_bytes" in page


def test_a_process_with_nothing_to_serve_tells_of_itself() -> None:
    page = render_metrics(Snapshot(version="1", role="backend", process=PROCESS), triton=True)
    assert {name.split("_")[0] for name, _ in samples(page)} == {"glet", "process"}
    assert lint(page) == []


def test_promtool_finds_nothing() -> None:
    assert lint(render_metrics(snapshot(), triton=False)) == []


def test_of_tritons_names_promtool_only_minds_what_triton_called_them() -> None:
    found = lint(render_metrics(snapshot(), triton=True))
    minded = {tuple(line.split(" ", 1)) for line in found}
    parts = ("request", "queue", "compute_input", "compute_infer", "compute_output")
    assert minded == {
        (f"nv_inference_{part}_duration_us", "metric names should not contain abbreviated units")
        for part in parts
    }


def test_tritons_block_counts_the_same() -> None:
    page = render_metrics(snapshot(), triton=True)
    of = {"model": "lenet", "version": "1"}
    assert value(page, "nv_inference_request_success", **of) == COUNTED["ok"]
    failures = {
        reason: value(page, "nv_inference_request_failure", **of, reason=reason)
        for reason in ("REJECTED", "BACKEND", "OTHER", "CANCELED")
    }
    assert failures == {"REJECTED": 3, "BACKEND": 1, "OTHER": 2, "CANCELED": 2}
    assert sum(failures.values()) + COUNTED["ok"] + COUNTED["outstanding"] == COUNTED["received"]
    assert value(page, "nv_inference_exec_count", **of) == 4
    assert value(page, "nv_inference_queue_duration_us", **of) == 30_000
    assert value(page, "nv_gpu_utilization", gpu_uuid="GPU-1") == 0.5


def test_prometheus_own_parser_reads_the_same_numbers() -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="prometheus_client")
    page = render_metrics(snapshot(), triton=True)
    parsed = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(page)
        for sample in family.samples
    }
    assert parsed == samples(page)


@given(text=st.text(), says=st.text(), amount=st.floats(allow_nan=False))
def test_any_label_and_value_comes_back(text: str, says: str, amount: float) -> None:
    family = Family("glet_any", "gauge", says)
    family.add(amount, model=text)
    page = render([family])
    # Lines end at \n alone.
    last = page.removesuffix("\n").split("\n")[-1]
    match = re.fullmatch(r'glet_any\{model="((?:[^"\\]|\\.)*)"\} (\S+)', last, re.DOTALL)
    assert match is not None
    escapes = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
    assert re.sub(r'\\[\\"n]', lambda found: escapes[found[0]], match[1]) == text
    assert float(match[2]) == amount


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0"), (1e6, "1000000"), (0.1, "0.1"), (math.inf, "+Inf"), (-math.inf, "-Inf"),
     (math.nan, "NaN"), (True, "1"), (1e300, "1e+300")],
)  # fmt: skip
def test_numbers_are_short_and_exact(amount: float, text: str) -> None:
    assert number(amount) == text


def test_wrong_names_are_refused() -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        Family("9lives", "gauge", "X.")
    twice = [Family("a", "gauge", "A."), Family("a", "gauge", "A.")]
    with pytest.raises(ValueError, match="twice"):
        render(twice)


def test_a_model_that_is_counted_nowhere_has_no_batches_in_tritons_block() -> None:
    state = msgspec.structs.replace(backend_state(), counters=())
    page = render_metrics(snapshot(states={"device0": state}), triton=True)
    assert "nv_inference_exec_count" not in page
