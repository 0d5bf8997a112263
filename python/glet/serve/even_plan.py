"""A frontend's own plan, by what backends report: all spread evenly, or one more model."""

import math
from collections.abc import Mapping

from glet.errors import UnavailableError
from glet.plan.even import EvenPlanner, Load
from glet.serve.app_routing import tightest_ms
from glet.serve.route_table import routing
from glet.types.plan import Plan
from glet.wire.messages import BackendState


def spread(states: Mapping[str, BackendState]) -> Plan:
    """All sound models of the backends (states by name) over their devices."""
    devices = {state.number: state.device for state in states.values()}
    return EvenPlanner().plan(devices, list(_loads(states).values()))


def with_model(plan: Plan, states: Mapping[str, BackendState], model: str) -> Plan:
    """The plan with one more model, on devices whose backends can load it.

    `states` are those of backends that are heard. Raises UnavailableError where there is no room.
    """
    loads = _loads(states)
    devices = {
        state.number: state.device
        for state in states.values()
        if any(m.name == model and m.spec is not None and not m.error for m in state.models)
    }
    if model not in loads or not devices:
        raise UnavailableError(f"model {model!r}: no backend has it")
    made = EvenPlanner().add(plan, devices, loads[model], loads)
    if model not in made.models():
        raise UnavailableError(f"model {model!r}: no device has room for it")
    return made


def _loads(states: Mapping[str, BackendState]) -> dict[str, Load]:
    of_apps = tightest_ms(routing(states, frozenset()).apps)
    return {
        model.name: Load(
            model=model.name,
            slo_ms=min(model.spec.slo_ms, of_apps.get(model.name, math.inf)),
            max_batch=model.spec.max_batch,
            cost=model.cost,
        )
        for _, state in sorted(states.items())
        for model in state.models
        if model.spec is not None and not model.error and model.state != "unloaded"
    }
