"""How much slower a batch runs beside others on the same device."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Tenant(NamedTuple):
    """A model that runs on a gpulet: what interference is asked about."""

    model: str
    batch: int
    share_pct: int


class Interference(Protocol):
    """A model of slowdown on one type of device; pure, the same answer every time."""

    @property
    def name(self) -> str:
        """For reports: none, constant, linear, bandwidth."""

    def slowdown(self, victim: Tenant, others: Sequence[Tenant]) -> float:
        """Latency beside `others`, one per neighbouring gpulet, over latency alone; 1 or more."""


class NoInterference:
    """Gpulets that do not disturb each other: MIG slices, or a first guess."""

    name = "none"

    def slowdown(self, victim: Tenant, others: Sequence[Tenant]) -> float:
        return 1.0
