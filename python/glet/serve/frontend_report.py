"""What the frontend answers to `models` and `stats`. Section 3 of wire/README.md lists the keys."""

from collections.abc import Iterable, Mapping
from typing import Any

from glet.serve.route_table import Routing
from glet.types.model import ModelSpec, TensorSpec
from glet.wire.messages import BackendState, GpuletState, LoadedModel, ModelCounters


def models_body(states: Mapping[str, BackendState], routing: Routing) -> dict[str, Any]:
    """Name of a model -> what is known of it, sorted."""
    names = {m.name for s in states.values() for m in s.models} | {
        m.name for s in states.values() for g in s.gpulets for m in g.models
    }
    return {name: _model(name, states, routing) for name in sorted(names)}


def stats_body(
    states: Mapping[str, BackendState],
    silent: frozenset[str],
    models: Mapping[str, Mapping[str, float]],
    uptime_s: float,
) -> dict[str, Any]:
    """Counters per model and gpulet, and the processes behind them."""
    return {
        "uptime_s": uptime_s,
        "models": {name: dict(counters) for name, counters in models.items()},
        "backends": [
            {
                "name": name,
                "device": state.number,
                "type": state.device.type,
                "kind": state.device.kind,
                "emulated": state.device.emulated,
                "alive": name not in silent,
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
                "gpulet": gpulet.gpulet,
                "share_pct": gpulet.share_pct,
                "given_pct": gpulet.given_pct,
                "batch": model.batch,
                "state": model.state,
                "runner": model.runner,
                "latency_ms": model.latency_ms,
            }
            for state, gpulet, model in places
        ],
        **_spec(next((m.spec for m in known if m.spec is not None), None)),
    }


def _state(name: str, known: Iterable[str], places: Iterable[LoadedModel], routing: Routing) -> str:
    """`serving` beats everything, then what is under way, then what went wrong."""
    if routing.routes.get(name):
        return "serving"
    states = {*known, *(model.state for model in places)}
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


def _counters(counters: ModelCounters | None) -> dict[str, Any]:
    if counters is None:
        return {}
    return {
        "ok": counters.ok,
        "late": counters.late,
        "full": counters.full,
        "failed": counters.failed,
        "batches": counters.batches,
        "items": counters.items,
        "waiting": counters.waiting,
        "mean_batch": counters.items / counters.batches if counters.batches else 0.0,
        "correction": counters.correction,
        "busy_ms": counters.busy_ms,
    }
