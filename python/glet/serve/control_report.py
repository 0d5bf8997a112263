"""What a frontend reports to the controller, out of its counters and its backends' states."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from glet.types.model import ModelSpec
from glet.wire.counters import FrontendCounters
from glet.wire.messages import BackendState

COUNTED = ("received", "ok", "good", "late", "full", "failed", "unavailable", "invalid",
           "cancelled", "outstanding")  # fmt: skip


def counters(
    stats: Mapping[str, Mapping[str, Any]],
    specs: Mapping[str, ModelSpec],
    withdrawn: Collection[str] = (),
) -> tuple[FrontendCounters, ...]:
    """`stats` of core.FrontendLoop for the models that are known; a removed one has no SLO.

    Those that are withdrawn are not to be planned, and left out.
    """
    return tuple(
        FrontendCounters(
            model=name,
            slo_ms=specs[name].slo_ms,
            max_batch=specs[name].max_batch,
            latency=tuple((upper, count) for upper, count in counted["latency"]),
            **{field: counted[field] for field in COUNTED},
        )
        for name, counted in stats.items()
        if name in specs and name not in withdrawn
    )


def bare(states: Iterable[BackendState]) -> tuple[BackendState, ...]:
    """States without their repositories, see FrontendReport."""
    return tuple(msgspec.structs.replace(state, models=()) for state in states)
