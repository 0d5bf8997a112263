"""What the frontend answers to `models` and `stats`. Section 3 of wire/README.md lists the keys."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from glet.serve.route_table import Routing
from glet.types.model import ModelSpec, TensorSpec
from glet.wire.counters import ModelCounters
from glet.wire.messages import BackendState, GpuletState, LoadedModel

STATES = ("serving", "loading", "compiling", "draining", "known", "unloaded", "failed")
"""Of a model; an app is in the last of these that one of its models is in."""

LARGE = frozenset(
    ("latency", "batches", "ok_ns", "refused_ns", "queue_ns", "batch_ns", "execute_ns")
) | {"last_ago_ms"}
"""Counters of the core that are for statistics and histograms, and not in the answer to `stats`."""


def models_body(states: Mapping[str, BackendState], routing: Routing) -> dict[str, Any]:
    """Name of a model or app -> what is known of it."""
    names = {m.name for s in states.values() for m in s.models} | {
        m.name for s in states.values() for g in s.gpulets for m in g.models
    }
    models = {name: _model(name, states, routing) for name in sorted(names)}
    return models | {name: _app(name, states, models, routing) for name in _apps(states, names)}


def stats_body(
    states: Mapping[str, BackendState],
    silent: frozenset[str],
    models: Mapping[str, Mapping[str, Any]],
    uptime_s: float,
) -> dict[str, Any]:
    """Counters per model and gpulet, and the processes behind them."""
    return {
        "uptime_s": uptime_s,
        "models": {
            name: {key: value for key, value in counters.items() if key not in LARGE}
            for name, counters in models.items()
        },
        "backends": [
            {
                "name": name,
                "device": state.number,
                "type": state.device.type,
                "kind": state.device.kind,
                "product": state.device.product,
                "sms": state.device.sms,
                "memory_mb": state.device.memory_mb,
                "emulated": state.device.emulated,
                "alive": name not in silent,
                "in_use_s": state.in_use_s,
                "error": state.error,
            }
            for name, state in sorted(states.items())
        ],
        "executors": [
            {
                "backend": name,
                "executor": executor.executor,
                "generation": executor.generation,
                "state": executor.state,
                "pid": executor.pid,
                "restarts": executor.restarts,
                "error": executor.error,
            }
            for name, state in sorted(states.items())
            for executor in state.executors
        ],
        "gpulets": [
            _gpulet(name, state, gpulet)
            for name, state in sorted(states.items())
            for gpulet in state.gpulets
        ],
    }


def _model(name: str, states: Mapping[str, BackendState], routing: Routing) -> dict[str, Any]:
    known = [m for s in states.values() for m in s.models if m.name == name]
    places = [
        (state, gpulet, model)
        for state in states.values()
        for gpulet in state.gpulets
        for model in gpulet.models
        if model.name == name
    ]
    errors = [m.error for m in known if m.error] + [m.error for _, _, m in places if m.error]
    return {
        "state": _state(name, [m.state for m in known], [m for _, _, m in places], routing),
        "error": errors[0] if errors else "",
        "emulated": any(state.device.emulated for state, _, _ in places),
        "gpulets": [
            {
                "backend": state.name,
                "device": state.number,
                "kind": state.device.kind,
                "gpulet": gpulet.gpulet,
                "share_pct": gpulet.share_pct,
                "given_pct": gpulet.given_pct,
                "product": state.device.product,
                "sms": _sms(state, gpulet),
                "batch": model.batch,
                "state": model.state,
                "runner": model.runner,
                "note": model.note,
                "latency_ms": model.latency_ms,
                "memory_mb": model.memory_mb,
                "weights_mb": model.memory.weights_mb,
                "graphs_mb": model.memory.graphs_mb,
                "staging_mb": model.memory.staging_mb,
            }
            for state, gpulet, model in places
        ],
        **_spec(next((m.spec for m in known if m.spec is not None), None)),
    }


def _apps(states: Mapping[str, BackendState], models: Collection[str]) -> list[str]:
    return sorted({app.name for state in states.values() for app in state.apps} - {*models})


def _app(
    name: str, states: Mapping[str, BackendState], models: Mapping[str, Any], routing: Routing
) -> dict[str, Any]:
    """An app like a model; `stages` in place of gpulets. It is in the worst state of its models."""
    known = [app for state in states.values() for app in state.apps if app.name == name]
    errors = [app.error for app in known if app.error]
    routed = routing.apps.get(name)
    if routed is None:
        state, reason = "failed", f"app {name!r}: its models are not what it was made for"
        if any(app.unloaded for app in known):
            state, reason = "unloaded", ""
        reason = errors[0] if errors else reason
        return {
            "state": state, "error": reason, "emulated": False, "gpulets": [], "stages": [],
            **_spec(None),
        }  # fmt: skip
    used = [models[model] for model in routed.spec.models()]
    signature = routed.spec.signature
    return {
        "state": max((model["state"] for model in used), key=STATES.index),
        "error": next((model["error"] for model in used if model["error"]), ""),
        "emulated": any(model["emulated"] for model in used),
        "gpulets": [],
        "stages": [
            {"stage": s.name, "model": s.model, "requests": s.fan_out, "budget_ms": budget_ms}
            for s, budget_ms in zip(routed.spec.stages, routed.budgets_ms, strict=True)
        ],
        "slo_ms": routed.spec.slo_ms,
        "max_batch": None,
        "inputs": [_tensor(tensor) for tensor in signature.inputs],
        "outputs": [_tensor(tensor) for tensor in signature.outputs],
    }


def _state(name: str, known: Iterable[str], places: Iterable[LoadedModel], routing: Routing) -> str:
    """`serving` beats everything, then what is under way, then what went wrong."""
    if routing.routes.get(name):
        return "serving"
    states = {*known, *(model.state for model in places)}
    if "unloaded" in states:
        return "draining" if "draining" in states else "unloaded"
    for state in ("compiling", "loading", "failed", "draining"):
        if state in states:
            return state
    return "known"


def _spec(spec: ModelSpec | None) -> dict[str, Any]:
    if spec is None:
        return {"slo_ms": None, "max_batch": None, "inputs": [], "outputs": []}
    return {
        "slo_ms": spec.slo_ms,
        "max_batch": spec.max_batch,
        "inputs": [_tensor(tensor) for tensor in spec.signature.inputs],
        "outputs": [_tensor(tensor) for tensor in spec.signature.outputs],
    }


def _tensor(spec: TensorSpec) -> list[Any]:
    return [spec.name, spec.dtype, list(spec.shape)]


def _gpulet(backend: str, state: BackendState, gpulet: GpuletState) -> dict[str, Any]:
    counted = {(c.gpulet, c.model): c for c in state.counters}
    return {
        "backend": backend,
        "device": state.number,
        "gpulet": gpulet.gpulet,
        "executor": gpulet.executor,
        "share_pct": gpulet.share_pct,
        "given_pct": gpulet.given_pct,
        "cores": gpulet.cores,
        "units": None if gpulet.units is None else msgspec.to_builtins(gpulet.units),
        "sms": _sms(state, gpulet),
        "state": gpulet.state,
        "error": gpulet.error,
        "models": [
            {
                "name": model.name,
                "batch": model.batch,
                "state": model.state,
                "weight": model.weight,
                "error": model.error,
                **_counters(counted.get((gpulet.gpulet, model.model))),
            }
            for model in gpulet.models
        ],
    }


def _sms(state: BackendState, gpulet: GpuletState) -> int:
    """Of a GPU: under mps the most that it can take; 0 elsewhere."""
    return round(gpulet.given_pct * state.device.sms / 100.0)


def _counters(counters: ModelCounters | None) -> dict[str, Any]:
    if counters is None:
        return {}
    return {
        "ok": counters.ok,
        "late": counters.late,
        "full": counters.full,
        "failed": counters.failed,
        "cancelled": counters.cancelled,
        "batches": counters.batches,
        "items": counters.items,
        "borrowed": counters.borrowed,
        "waiting": counters.waiting,
        "mean_batch": counters.items / counters.batches if counters.batches else 0.0,
        "correction": counters.correction,
        "busy_ms": counters.busy_ms,
    }
