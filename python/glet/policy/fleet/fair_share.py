"""Autoscaler `fair_share`: the same for everyone."""

import msgspec

from glet.policy.fleet.numbers import Positive
from glet.types.fleet import FleetObservation, FleetTargets


class FairShareSettings(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="policy",
    tag="fair_share",
):
    """The quota is divided anew every `interval_s`."""

    interval_s: Positive = 10.0


class FairShare:
    """floor(quota / jobs) units each, within the bounds of each; what is left stays unused."""

    name = "fair_share"

    def __init__(self, settings: FairShareSettings) -> None:
        self.interval_s = settings.interval_s

    def targets(self, observation: FleetObservation) -> FleetTargets:
        if not observation.jobs:
            return FleetTargets()
        each = observation.quota // len(observation.jobs)
        wanted = {
            job.model: min(max(each // job.units, job.min_replicas), job.max_replicas)
            for job in observation.jobs
        }
        return FleetTargets(replicas=wanted, why=f"{each} units each")
