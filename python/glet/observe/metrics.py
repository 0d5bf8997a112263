"""What glet tells Prometheus: the families of a frontend and of a backend. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from glet.observe.metrics_text import Family, render
from glet.observe.metrics_triton import triton_families
from glet.wire.messages import BackendState, ExecutorState, GpuletState, LoadedModel

OUTCOMES = ("ok", "late", "full", "cancelled", "failed", "unavailable", "invalid")
LATENCY_BOUNDS_S = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25,
    0.5, 0.75, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
BATCH_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
BYTES_PER_MB = 1e6
MS_PER_S = 1e3
NS_PER_S = 1e9


class ProcessUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What the operating system says of the process that is asked. Times in seconds."""

    cpu_s: float
    resident_bytes: int
    virtual_bytes: int
    started_at_s: float
    threads: int
    open_files: int
    max_files: int


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a process can tell at one moment.

    `models` is stats() of core.FrontendLoop, `serving` whether each model or app has a way to be
    answered; both are empty at a backend. `states` are the backends by name, `silent` those not
    heard for a while, `busy` the part of the last second that each gpulet (backend, gpulet) ran.
    `controller` is as in `stats` of the wire, None without one. `changes` counts the rounds that
    changed the plan, by (trigger, whether gpulets changed and not only rates). `traces` counts
    requests that were traced, by what became of them.
    """

    version: str
    role: str
    process: ProcessUsage
    models: Mapping[str, Mapping[str, Any]] = {}
    serving: Mapping[str, bool] = {}
    slo_ms: Mapping[str, float] = {}
    states: Mapping[str, BackendState] = {}
    silent: frozenset[str] = frozenset()
    busy: Mapping[tuple[str, int], float] = {}
    controller: Mapping[str, Any] | None = None
    changes: Mapping[tuple[str, bool], int] = {}
    failed_rounds: int = 0
    traces: Mapping[str, int] | None = None


def render_metrics(snapshot: Snapshot, *, triton: bool) -> str:
    """The page; with `triton` a second block has what Triton names differently."""
    families = [
        *_build(snapshot),
        *_requests(snapshot),
        *_times(snapshot.models),
        *_devices(snapshot),
        *_gpulets(snapshot),
        *_tenants(snapshot.states),
        *_processes(snapshot),
        *_control(snapshot),
        *_process(snapshot.process),
    ]
    if triton:
        families += triton_families(snapshot.models, snapshot.states)
    return render(families)


def _build(snapshot: Snapshot) -> list[Family]:
    info = Family("glet_build_info", "gauge", "Version of glet and role of this process; always 1.")
    info.add(1, version=snapshot.version, role=snapshot.role)
    return [info]


def _requests(snapshot: Snapshot) -> list[Family]:
    ended = Family("glet_requests_total", "counter", "Requests that ended, by outcome.")
    received = Family("glet_requests_received_total", "counter", "Requests that came.")
    good = Family("glet_requests_good_total", "counter", "Requests answered by their deadline.")
    retried = Family(
        "glet_requests_retried_total", "counter", "Requests sent once more, to another executor."
    )
    unsent = Family("glet_answers_unsent_total", "counter", "Answers whose client had gone.")
    outstanding = Family("glet_requests_outstanding", "gauge", "Requests that wait for an answer.")
    slo = Family("glet_model_slo_seconds", "gauge", "Latency objective, from arrival to answer.")
    serving = Family(
        "glet_model_serving", "gauge", "1 where a gpulet takes requests of the model now, else 0."
    )
    apps = Family("glet_app_info", "gauge", "The model label is an app of this name; always 1.")
    for model, counted in sorted(snapshot.models.items()):
        for outcome in OUTCOMES:
            if outcome in counted:
                ended.add(counted[outcome], model=model, outcome=outcome)
        received.add(counted["received"], model=model)
        good.add(counted["good"], model=model)
        retried.add(counted["retried"], model=model)
        unsent.add(counted["unsent"], model=model)
        outstanding.add(counted["outstanding"], model=model)
        if counted.get("app"):
            apps.add(1, model=model)
    for model, slo_ms in sorted(snapshot.slo_ms.items()):
        slo.add(slo_ms / MS_PER_S, model=model)
    for model, is_serving in sorted(snapshot.serving.items()):
        serving.add(is_serving, model=model)
    return [ended, received, good, retried, unsent, outstanding, slo, serving, apps]


def _times(models: Mapping[str, Mapping[str, Any]]) -> list[Family]:
    latency = Family(
        "glet_request_latency_seconds", "histogram", "Arrival at the frontend to answer, of ok."
    )
    batch = Family("glet_request_batch_size", "histogram", "Batch that a request ran in, of ok.")
    parts = {
        "queue_ns": "Time in a gpulet's queue until the batch was formed, of ok requests.",
        "batch_ns": "Time copying inputs into the batch, of ok requests.",
        "execute_ns": "Time that the batches of ok requests ran.",
    }
    sums = {
        key: Family(f"glet_request_{key.removesuffix('_ns')}_seconds_total", "counter", says)
        for key, says in parts.items()
    }
    for model, counted in sorted(models.items()):
        latency.add_histogram(
            LATENCY_BOUNDS_S,
            [(upper_ns / NS_PER_S, count) for upper_ns, count in counted["latency"]],
            counted["ok_ns"] / NS_PER_S,
            model=model,
        )
        batch.add_histogram(BATCH_BOUNDS, *_sizes(counted["batches"]), model=model)
        for key, family in sums.items():
            family.add(counted[key] / NS_PER_S, model=model)
    return [latency, batch, *sums.values()]


def _sizes(batches: Iterable[Sequence[int]]) -> tuple[list[tuple[int, int]], int]:
    """Of rows (size, requests, ...) the requests by size, and the sum of all their sizes."""
    rows = [(size, requests) for size, requests, *_ in batches]
    return rows, sum(size * requests for size, requests in rows)


def _devices(snapshot: Snapshot) -> list[Family]:
    up = Family("glet_backend_up", "gauge", "1 while the backend is heard, else 0.")
    in_use = Family("glet_device_in_use", "gauge", "1 while the device has gpulets, else 0.")
    total = Family("glet_devices_in_use", "gauge", "Devices that have gpulets.")
    in_use_s = Family(
        "glet_device_in_use_seconds_total", "counter", "Time in which the device had an executor."
    )
    memory = Family("glet_device_memory_bytes", "gauge", "Memory of the device.")
    used = Family("glet_device_memory_used_bytes", "gauge", "Memory of the device that is used.")
    utilization = Family(
        "glet_device_utilization_ratio", "gauge", "Part of the time that the device is at work."
    )
    failing = Family(
        "glet_plan_step_failing", "gauge", "1 while a step to the backend's plan fails, else 0."
    )
    for name, state in sorted(snapshot.states.items()):
        of = {"backend": name, "device": str(state.number)}
        up.add(name not in snapshot.silent, backend=name)
        in_use.add(bool(state.gpulets), **of)
        in_use_s.add(state.in_use_s, **of)
        failing.add(bool(state.error), backend=name)
        if state.device.memory_mb:
            memory.add(state.device.memory_mb * BYTES_PER_MB, **of)
        if state.usage is not None:
            used.add(state.usage.memory_mb * BYTES_PER_MB, **of)
            utilization.add(state.usage.utilization, **of)
    if snapshot.states:
        total.add(sum(bool(state.gpulets) for state in snapshot.states.values()))
    return [up, in_use, total, in_use_s, memory, used, utilization, failing]


def _gpulets(snapshot: Snapshot) -> list[Family]:
    share = Family("glet_gpulet_share_pct", "gauge", "Share of the device that the plan asks for.")
    given = Family("glet_gpulet_given_pct", "gauge", "Share of the device that the gpulet got.")
    busy = Family("glet_gpulet_busy_ratio", "gauge", "Part of the last second that it ran batches.")
    models = Family("glet_gpulet_models", "gauge", "Models on the gpulet.")
    ready = Family("glet_gpulet_ready", "gauge", "1 while the gpulet takes batches, else 0.")
    for name, state, gpulet in _all_gpulets(snapshot.states):
        of = _gpulet_labels(name, state, gpulet)
        share.add(gpulet.share_pct, **of)
        given.add(gpulet.given_pct, **of)
        models.add(len(gpulet.models), **of)
        ready.add(gpulet.state == "ready", **of)
        if (name, gpulet.gpulet) in snapshot.busy:
            busy.add(snapshot.busy[(name, gpulet.gpulet)], **of)
    return [share, given, busy, models, ready]


def _tenants(states: Mapping[str, BackendState]) -> list[Family]:
    """Of a model on a gpulet. Counters start again with the executor."""
    info = Family(
        "glet_gpulet_model_info", "gauge", "A model on a gpulet, how it is and what runs it."
    )
    limit = Family("glet_gpulet_batch_limit", "gauge", "Largest batch that the plan has there.")
    memory = Family("glet_gpulet_model_memory_bytes", "gauge", "Memory of the model there.")
    counted = {
        "waiting": Family("glet_gpulet_waiting_requests", "gauge", "Requests in the queue."),
        "batches": Family("glet_gpulet_batches_total", "counter", "Batches that ran."),
        "items": Family("glet_gpulet_batch_items_total", "counter", "Requests in those batches."),
        "borrowed": Family(
            "glet_gpulet_borrowed_batches_total",
            "counter",
            "Batches that ran on the share of an idle neighbour, too.",
        ),
        "correction": Family(
            "glet_gpulet_latency_correction_ratio", "gauge", "Measured over predicted latency."
        ),
    }
    ended = Family("glet_gpulet_requests_total", "counter", "Requests that ended, by outcome.")
    busy_s = Family("glet_gpulet_busy_seconds_total", "counter", "Time in which its batches ran.")
    for name, state, gpulet in _all_gpulets(states):
        counters = {(c.gpulet, c.model): c for c in state.counters}
        for model in gpulet.models:
            of = {**_gpulet_labels(name, state, gpulet), "model": model.name}
            info.add(1, **of, state=model.state, runner=_runner(model))
            limit.add(model.batch, **of)
            if model.memory_mb:
                memory.add(model.memory_mb * BYTES_PER_MB, **of)
            known = counters.get((gpulet.gpulet, model.model))
            if known is None:
                continue
            for key, family in counted.items():
                family.add(getattr(known, key), **of)
            for outcome in OUTCOMES:
                if hasattr(known, outcome):
                    ended.add(getattr(known, outcome), **of, outcome=outcome)
            busy_s.add(known.busy_ms / MS_PER_S, **of)
    return [info, limit, memory, *counted.values(), ended, busy_s]


def _processes(snapshot: Snapshot) -> list[Family]:
    up = Family("glet_executor_up", "gauge", "1 while the executor takes requests, else 0.")
    restarts = Family(
        "glet_executor_restarts_total", "counter", "Times that the executor was started again."
    )
    for name, executor in _all_executors(snapshot.states):
        up.add(executor.state == "ready", backend=name, executor=str(executor.executor))
        restarts.add(executor.restarts, backend=name, executor=str(executor.executor))
    return [up, restarts]


def _control(snapshot: Snapshot) -> list[Family]:
    changes = Family(
        "glet_plan_changes_total", "counter", "Rounds that changed the plan, by what set them off."
    )
    failed = Family("glet_plan_failures_total", "counter", "Rounds that failed; the plan stayed.")
    up = Family("glet_controller_up", "gauge", "1 while the controller is heard, else 0.")
    rounds = Family("glet_controller_round", "gauge", "Number of the controller's last round.")
    restarts = Family("glet_controller_restarts_total", "counter", "Times it was started again.")
    traced = Family("glet_traces_total", "counter", "Requests that were traced, and what became.")
    controller = snapshot.controller
    if controller is not None:
        up.add(controller["state"] == "running")
        rounds.add(controller["round"])
        restarts.add(controller["restarts"])
        for (trigger, reorganises), count in sorted(snapshot.changes.items()):
            changes.add(count, trigger=trigger, change="gpulets" if reorganises else "rates")
        failed.add(snapshot.failed_rounds)
    for result, count in sorted((snapshot.traces or {}).items()):
        traced.add(count, result=result)
    return [up, rounds, restarts, changes, failed, traced]


def _process(usage: ProcessUsage) -> list[Family]:
    """The names that Prometheus's client libraries have for them."""
    rows: Sequence[tuple[str, str, str, float]] = (
        ("cpu_seconds_total", "counter", "CPU time of this process.", usage.cpu_s),
        ("resident_memory_bytes", "gauge", "Memory in RAM.", usage.resident_bytes),
        ("virtual_memory_bytes", "gauge", "Address space.", usage.virtual_bytes),
        ("start_time_seconds", "gauge", "Start, since the Unix epoch.", usage.started_at_s),
        ("threads", "gauge", "Threads.", usage.threads),
        ("open_fds", "gauge", "Open file descriptors.", usage.open_files),
        ("max_fds", "gauge", "Most file descriptors that it may open.", usage.max_files),
    )
    families = []
    for name, kind, says, value in rows:
        family = Family(f"process_{name}", "counter" if kind == "counter" else "gauge", says)
        family.add(value)
        families.append(family)
    return families


def _all_gpulets(
    states: Mapping[str, BackendState],
) -> Iterable[tuple[str, BackendState, GpuletState]]:
    return ((name, state, g) for name, state in sorted(states.items()) for g in state.gpulets)


def _all_executors(states: Mapping[str, BackendState]) -> Iterable[tuple[str, ExecutorState]]:
    return ((name, executor) for name, s in sorted(states.items()) for executor in s.executors)


def _gpulet_labels(name: str, state: BackendState, gpulet: GpuletState) -> dict[str, str]:
    return {"backend": name, "device": str(state.number), "gpulet": str(gpulet.gpulet)}


def _runner(model: LoadedModel) -> str:
    return model.runner or "unknown"
