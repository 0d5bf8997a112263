"""The same numbers under the names that Triton Inference Server publishes, for its dashboards.

Names, labels and units are facts of Triton's documentation ("Metrics"). Every model is version 1.
Of a request, `compute_input` is copying into the batch, `compute_infer` the run; the way back to
the client has no part of its own here, so `compute_output` is 0.
"""

from collections.abc import Mapping
from typing import Any

from glet.observe.metrics_text import Family
from glet.types.device import GPU_KINDS
from glet.wire.messages import BackendState

BYTES_PER_MB = 1e6
NS_PER_US = 1000
VERSION = "1"
FAILURES = {
    "REJECTED": ("late", "full"),
    "CANCELED": ("cancelled",),
    "BACKEND": ("failed",),
    "OTHER": ("unavailable", "invalid"),
}
"""Triton's reasons, and which outcomes are counted under each."""
DURATIONS = {
    "request": ("ok_ns", "from arrival to answer"),
    "queue": ("queue_ns", "in the queue"),
    "compute_input": ("batch_ns", "copying inputs"),
    "compute_infer": ("execute_ns", "in the model"),
}


def triton_families(
    models: Mapping[str, Mapping[str, Any]], states: Mapping[str, BackendState]
) -> list[Family]:
    """`models` is stats() of core.FrontendLoop."""
    return [*_counts(models, states), *_durations(models), *_gpus(states)]


def _counts(
    models: Mapping[str, Mapping[str, Any]], states: Mapping[str, BackendState]
) -> list[Family]:
    success = _inference("request_success", "Requests answered.")
    failure = _inference("request_failure", "Requests not answered, by reason.")
    count = _inference("count", "Inferences done; a request is one.")
    runs = _inference("exec_count", "Batches run, since the start of their executors.")
    pending = _inference("pending_request_count", "Requests that wait for an answer.")
    batches = _batches(states)
    for model, counted in sorted(models.items()):
        of = {"model": model, "version": VERSION}
        success.add(counted["ok"], **of)
        for reason, outcomes in FAILURES.items():
            failed = sum(counted.get(outcome, 0) for outcome in outcomes)
            failure.add(failed, **of, reason=reason)
        count.add(counted["ok"], **of)
        if model in batches:
            runs.add(batches[model], **of)
        pending.add(counted["outstanding"], **of)
    return [success, failure, count, runs, pending]


def _durations(models: Mapping[str, Mapping[str, Any]]) -> list[Family]:
    families = []
    for name, (key, says) in DURATIONS.items():
        family = _inference(f"{name}_duration_us", f"Time of answered requests {says}.")
        for model, counted in sorted(models.items()):
            family.add(counted[key] // NS_PER_US, model=model, version=VERSION)
        families.append(family)
    output = _inference("compute_output_duration_us", "Time copying outputs; part of the run here.")
    for model in sorted(models):
        output.add(0, model=model, version=VERSION)
    return [*families, output]


def _gpus(states: Mapping[str, BackendState]) -> list[Family]:
    utilization = Family("nv_gpu_utilization", "gauge", "Part of the time that the GPU is at work.")
    total = Family("nv_gpu_memory_total_bytes", "gauge", "Memory of the GPU.")
    used = Family("nv_gpu_memory_used_bytes", "gauge", "Memory of the GPU that is used.")
    for _, state in sorted(states.items()):
        if state.device.kind in GPU_KINDS and state.usage is not None:
            gpu = {"gpu_uuid": state.device.gpu}
            utilization.add(state.usage.utilization, **gpu)
            used.add(state.usage.memory_mb * BYTES_PER_MB, **gpu)
            total.add(state.device.memory_mb * BYTES_PER_MB, **gpu)
    return [utilization, total, used]


def _batches(states: Mapping[str, BackendState]) -> dict[str, int]:
    batches: dict[str, int] = {}
    for state in states.values():
        names = {(g.gpulet, m.model): m.name for g in state.gpulets for m in g.models}
        for counters in state.counters:
            name = names.get((counters.gpulet, counters.model))
            if name is not None:
                batches[name] = batches.get(name, 0) + counters.batches
    return batches


def _inference(name: str, says: str) -> Family:
    """Without its type: for a counter or a gauge Prometheus has rules that Triton's names break."""
    return Family(f"nv_inference_{name}", "untyped", says)
