"""What makes a control round at once, before the next epoch."""

from collections.abc import Mapping
from typing import NamedTuple

from glet.policy.headroom import poisson_quantile
from glet.types.observation import ModelObservation, Observation

# Requests of a model that wait at once are Poisson at most; so many are no chance.
QUEUE_QUANTILE = 0.9999
# Part of the requests that may be refused, and the least number that is looked at.
REFUSED_PART = 0.02
LEAST_REFUSED = 3
TEXTS = {
    "device_lost": "device {} is lost",
    "device_found": "device {} is there",
    "model_appeared": "model {} appeared",
    "model_went": "model {} went",
    "queue_grows": "queue of {} grows",
}


class Signals(NamedTuple):
    """What of an observation is compared with the round before."""

    alive: frozenset[int]
    models: frozenset[str]
    queues: frozenset[str]


def signals(observation: Observation, planned_rps: Mapping[str, float]) -> Signals:
    """`planned_rps` by model is what the plan gives; without, a model's queue is not looked at."""
    return Signals(
        alive=frozenset(device.device for device in observation.devices if device.alive),
        models=frozenset(model.model for model in observation.models),
        queues=frozenset(
            model.model
            for model in observation.models
            if _queues(model, planned_rps.get(model.model, 0.0))
        ),
    )


def why(before: Signals, now: Signals) -> str:
    """What is new, the most serious first, in a few words; empty when nothing is."""
    for kind, new in (
        ("device_lost", before.alive - now.alive),
        ("device_found", now.alive - before.alive),
        ("model_appeared", now.models - before.models),
        ("model_went", before.models - now.models),
        ("queue_grows", now.queues - before.queues),
    ):
        if new:
            return TEXTS[kind].format(", ".join(str(one) for one in sorted(new)))
    return ""


def trigger_kind(trigger: str) -> str:
    """Which of TEXTS it is, for counting; what is none of them, as `epoch`, is its own kind."""
    for kind, text in TEXTS.items():
        begin, _, end = text.partition("{}")
        if trigger.startswith(begin) and trigger.endswith(end):
            return kind
    return trigger


def _queues(model: ModelObservation, planned_rps: float) -> bool:
    """More outstanding than the plan answers within the objective, or too many refused.

    At the planned rate every answer comes within the objective, so by Little's law (1961) at most
    rate times objective are outstanding.
    """
    if planned_rps <= 0.0:
        return False
    most = poisson_quantile(planned_rps * model.slo_ms / 1000.0, QUEUE_QUANTILE)
    ended = model.outcomes
    refused = ended.late + ended.full
    total = refused + ended.ok + ended.failed
    many = refused >= LEAST_REFUSED and refused > REFUSED_PART * total
    return many or model.outstanding > max(most, LEAST_REFUSED)
