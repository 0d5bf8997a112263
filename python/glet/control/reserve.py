"""Devices of which a part is taken: planners see what is left as a whole device."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from glet.plan.problem import DeviceType
from glet.profiles.device_profile import DeviceProfile, ModelProfile
from glet.profiles.interference import Interference, Tenant
from glet.types.plan import GpuletPlan


class Cut(NamedTuple):
    """What is left of a device. `shares`: share as planners see it -> share of the device."""

    type: DeviceType
    shares: dict[int, int]


def cut(whole: DeviceType, reserved_pct: int) -> Cut | None:
    """The type of what is left beside `reserved_pct`; None where no share of it is.

    A share of p % of the device is ceil(100 p / left) % of what is left, so shares that add up to
    100 % there never add up to more than is left.
    """
    left_pct = 100 - reserved_pct
    shares = {-(-100 * p // left_pct): p for p in whole.shares if p <= left_pct}
    if not shares:
        return None
    profile = DeviceProfile(
        whole.profile.type,
        {name: _seen(whole.profile.model(name), shares) for name in whole.profile.models()},
        memory_mb=whole.profile.memory_mb,
        where=whole.profile.where,
        shares=tuple(shares),
    )
    disturbed = whole.interference.name != "none"
    interference = _Cut(whole.interference, shares) if disturbed else whole.interference
    return Cut(DeviceType(profile=profile, shares=tuple(shares), interference=interference), shares)


def seen(gpulets: Iterable[GpuletPlan], made: Cut) -> list[GpuletPlan]:
    """Gpulets of the device as planners see them; those of shares that it cannot give go."""
    back = {real: virtual for virtual, real in made.shares.items()}
    return [
        msgspec.structs.replace(gpulet, share_pct=back[gpulet.share_pct])
        for gpulet in gpulets
        if gpulet.share_pct in back
    ]


def real(gpulets: Iterable[GpuletPlan], made: Cut) -> list[GpuletPlan]:
    """The reverse of seen()."""
    return [
        msgspec.structs.replace(gpulet, share_pct=made.shares[gpulet.share_pct])
        for gpulet in gpulets
    ]


class _Cut:
    """Interference among gpulets whose shares are parts of a part."""

    def __init__(self, base: Interference, shares: Mapping[int, int]) -> None:
        self.name = base.name
        self._base = base
        self._shares = shares

    def slowdown(self, victim: Tenant, others: Sequence[Tenant]) -> float:
        return self._base.slowdown(self._real(victim), [self._real(other) for other in others])

    def _real(self, tenant: Tenant) -> Tenant:
        return tenant._replace(share_pct=self._shares.get(tenant.share_pct, tenant.share_pct))


def _seen(model: ModelProfile, shares: Mapping[int, int]) -> ModelProfile:
    """The model at the shares that planners see; measured shares alone are in it."""
    able = {v: p for v, p in shares.items() if model.shares[0] <= p <= model.shares[-1]}
    if not able:
        # Outside everything that was measured the model has no latency: nor has it here.
        return model
    tables = model.tables(list(able.values()))
    latencies = {
        virtual: dict(enumerate(row.tolist(), start=1))
        for virtual, row in zip(able, tables, strict=True)
    }
    demands = {batch: model.demand(batch) for batch in range(1, model.max_batch + 1)}
    return ModelProfile(model.name, latencies, memory_mb=model.memory_mb, demands=demands)
