"""Autoscaler `static`: everything stays as it is."""

import msgspec

from glet.policy.fleet.numbers import Positive
from glet.types.fleet import FleetObservation, FleetTargets


class StaticSettings(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="policy",
    tag="static",
):
    """`replicas` by model are kept; a model that is not named keeps what it has."""

    replicas: dict[str, int] = {}
    interval_s: Positive = 10.0


class Static:
    """Asks for the configured numbers and never for anything else."""

    name = "static"

    def __init__(self, settings: StaticSettings) -> None:
        self._settings = settings
        self.interval_s = settings.interval_s

    def targets(self, observation: FleetObservation) -> FleetTargets:
        wanted = {
            job.model: self._settings.replicas.get(job.model, job.target)
            for job in observation.jobs
        }
        return FleetTargets(replicas=wanted, why="static")
