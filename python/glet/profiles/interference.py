"""How much slower a batch runs beside others on the same device.

All models answer one question (`Interference`) and are made of plain numbers and of what tenants
demand alone. Which one to believe is a matter of measured pairs: `interference_fit`,
`interference_report`. Planners ask very often, so what a profile says is looked up once.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from glet.errors import ArgumentError
from glet.profiles.device_profile import Demand, DeviceProfile

# Far beyond anything measured; they keep every answer finite.
MOST_SLOWDOWN = 1e3
MOST_COEFFICIENT = 1e6
LEAST_CAPACITY = 1e-6


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


Demands = Callable[[str, int], Demand]
"""(model, batch) -> what it demands alone on the whole device."""
Draws = Callable[[Tenant], float]
"""Tenant -> the part of the device's memory bandwidth that it draws alone on its share."""


class NoInterference:
    """Gpulets that do not disturb each other: MIG slices, or a first guess."""

    name = "none"

    def slowdown(self, victim: Tenant, others: Sequence[Tenant]) -> float:
        return 1.0


class ConstantInterference:
    """The same slowdown beside any neighbour and any number of them: what others have to beat."""

    name = "constant"

    def __init__(self, factor: float) -> None:
        """Raises ArgumentError for a factor below 1."""
        self.factor = _within("factor", factor, 1.0, MOST_SLOWDOWN)

    def slowdown(self, victim: Tenant, others: Sequence[Tenant]) -> float:
        return self.factor if others else 1.0


class LinearInterference:
    """The published regression (Choi et al., ATC 2022, section 4).

    Slowdown of 1 beside 2 is c1 l2_1 + c2 l2_2 + c3 dram_1 + c4 dram_2 + c5, at least 1. l2 and
    dram are utilisations, 0 to 1, alone on the whole device, scaled by the gpulet's part of it.
    Published for two gpulets on a device only: beside more, the excesses (slowdown - 1) of the
    pairs add up.
    """

    name = "linear"

    def __init__(self, constants: Sequence[float], demands: Demands) -> None:
        """`constants` are c1 to c5. Raises ArgumentError for another number of them."""
        if len(constants) != 5:
            raise ArgumentError(f"{len(constants)} constants of interference; valid are 5")
        self.constants = tuple(
            _within(f"constant c{i}", c, -MOST_COEFFICIENT, MOST_COEFFICIENT)
            for i, c in enumerate(constants, start=1)
        )
        self._demands = demands
        self._parts: dict[tuple[str, int], tuple[float, float]] = {}

    def slowdown(self, victim: Tenant, others: Sequence[Tenant]) -> float:
        own = self._of(victim)[0] * victim.share_pct / 100.0 + self.constants[4]
        excesses = [
            max(0.0, own + self._of(other)[1] * other.share_pct / 100.0 - 1.0) for other in others
        ]
        # Exactly rounded: the order of the neighbours must not show in the last digit.
        return 1.0 + math.fsum(excesses)

    def _of(self, tenant: Tenant) -> tuple[float, float]:
        """What it adds as the victim and as the neighbour, on the whole device."""
        key = (tenant.model, tenant.batch)
        parts = self._parts.get(key)
        if parts is None:
            c1, c2, c3, c4, _ = self.constants
            demand = self._demands(tenant.model, tenant.batch)
            parts = c1 * demand.l2 + c3 * demand.dram, c2 * demand.l2 + c4 * demand.dram
            self._parts[key] = parts
        return parts


class BandwidthInterference:
    """A budget of memory bandwidth: what all draw beyond the capacity slows each of them down.

    1 + max(0, sum of draws / capacity - 1) * sensitivity of the victim, over the victim and all its
    neighbours. Below the capacity nobody is slowed down, so neighbours that draw little are free,
    and any number of them is one sum.
    """

    name = "bandwidth"

    def __init__(
        self,
        capacity: float,
        sensitivity: float,
        draws: Draws,
        sensitivities: Mapping[str, float] | None = None,
    ) -> None:
        """`sensitivity` is for models that are not in `sensitivities`.

        Raises ArgumentError for a capacity that is not above 0, or a sensitivity below 0.
        """
        self.capacity = _within("capacity", capacity, LEAST_CAPACITY, MOST_COEFFICIENT)
        self.sensitivity = _within("sensitivity", sensitivity, 0.0, MOST_COEFFICIENT)
        self.sensitivities = {
            model: _within(f"sensitivity of {model!r}", value, 0.0, MOST_COEFFICIENT)
            for model, value in sorted((sensitivities or {}).items())
        }
        self._draws = draws
        self._drawn: dict[Tenant, float] = {}

    def slowdown(self, victim: Tenant, others: Sequence[Tenant]) -> float:
        if not others:
            return 1.0
        # Exactly rounded: the order of the neighbours must not show in the last digit.
        drawn = math.fsum([self._of(victim), *[self._of(other) for other in others]])
        excess = drawn / self.capacity - 1.0
        if excess <= 0.0:
            return 1.0
        return 1.0 + excess * self.sensitivities.get(victim.model, self.sensitivity)

    def _of(self, tenant: Tenant) -> float:
        drawn = self._drawn.get(tenant)
        if drawn is None:
            drawn = self._drawn[tenant] = self._draws(tenant)
        return drawn


def demands_of(profile: DeviceProfile) -> Demands:
    """The profile's demands; a model that it does not have demands nothing."""
    known = frozenset(profile.models())

    def demand(model: str, batch: int) -> Demand:
        return profile.model(model).demand(batch) if model in known else Demand()

    return demand


def draws_of(profile: DeviceProfile) -> Draws:
    """dram demand on the whole device, times latency there over latency on the share.

    A batch moves the same bytes on any share; on a smaller one it takes longer to, and so draws
    less. (As measured: alexnet on a V100 at batch 32 has 0.38 of the L2 utilisation on 20 % of the
    device that it has on 80 %, and 0.36 is the ratio of its latencies; that of the shares is 0.25.
    Profile of iGniter, TPDS 2023.) Beyond the measured batches and shares the nearest one counts.
    A model that the profile does not have draws nothing.
    """
    known = frozenset(profile.models())

    def draw(tenant: Tenant) -> float:
        if tenant.model not in known:
            return 0.0
        model = profile.model(tenant.model)
        batch = min(max(tenant.batch, 1), model.max_batch)
        smallest, largest = model.shares[0], model.shares[-1]
        share_pct = min(max(tenant.share_pct, smallest), largest)
        whole_ms = model.latency_ms(largest, batch)
        return model.demand(batch).dram * whole_ms / model.latency_ms(share_pct, batch)

    return draw


def _within(what: str, value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise ArgumentError(f"{what} is {value:g}; valid is {low:g}..{high:g}")
    return value
