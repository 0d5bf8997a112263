"""From fits to the gpulets of a plan."""

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from glet.plan.fit import Fit, Want, roomier
from glet.plan.space import Space
from glet.types.plan import GpuletPlan, ModelShare, lingers


def gpulet_plan(device: int, share_pct: int, wants: Sequence[Want], fit: Fit) -> GpuletPlan:
    """A gpulet with these models as they fit. Its dedup is set by deduped()."""
    lengths_ms = [w.table[b - 1] for w, b in zip(wants, fit.batches, strict=True)]
    used = [
        want.rate_rps * length_ms / batch
        for want, length_ms, batch in zip(wants, lengths_ms, fit.batches, strict=True)
    ]
    total = sum(used)
    models = tuple(
        ModelShare(
            model=want.model,
            batch=batch,
            rate_rps=want.rate_rps,
            duty_cycle_ms=duty_ms,
            time_share=max(1e-3, min(1.0, part / total)),
        )
        for want, batch, duty_ms, part in zip(wants, fit.batches, fit.duty_ms, used, strict=True)
    )
    return GpuletPlan(device=device, share_pct=share_pct, models=lingers(models))


def gpulets_of(space: Space) -> list[GpuletPlan]:
    """The gpulets of a planned device, with batches as large as objectives allow."""
    found = []
    for slot in space.slots:
        wants = space.menu.wants(slot.parts, slot.size)
        # Larger batches would disturb neighbours more than was planned for.
        fit = slot.fit if space.menu.disturbed else roomier(wants, slot.fit)
        found.append(gpulet_plan(space.number, space.share_of(slot), wants, fit))
    return found


def deduped(gpulets: Iterable[GpuletPlan]) -> tuple[GpuletPlan, ...]:
    """By device and falling share; those of equal share on a device numbered 0, 1, ..."""
    count: Counter[tuple[int, int]] = Counter()
    done = []
    for gpulet in sorted(gpulets, key=_order):
        place = (gpulet.device, gpulet.share_pct)
        done.append(msgspec.structs.replace(gpulet, dedup=count[place]))
        count[place] += 1
    return tuple(done)


def _order(gpulet: GpuletPlan) -> tuple[int, int, list[str]]:
    return gpulet.device, -gpulet.share_pct, [share.model for share in gpulet.models]
