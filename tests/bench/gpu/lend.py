"""Has the gpulets of a bed lend their shares to their neighbours, as a backend does."""

from collections.abc import Sequence

from bed import Bed
from study import Study

from glet.errors import ProfileError
from glet.plan.layout import PlacedGpulet
from glet.plan.neighbours import joined, neighbours
from glet.types.device import DeviceInfo
from glet.wire.loan_messages import Loan, SetLoans
from glet.wire.messages import LatencyPoints


def lend(bed: Bed, placed: Sequence[PlacedGpulet], device: DeviceInfo, study: Study) -> None:
    """From now on; what the profile does not say of both shares is learned."""
    by_number = {gpulet.number: gpulet for gpulet in placed}
    for number, lenders in neighbours(placed, device.bad_units).items():
        own = by_number[number]
        loans = []
        for lender in lenders:
            both = joined(own, by_number[lender])
            known = {
                bed.numbers[share.model]: points
                for share in own.models
                if (points := _latency_ms(study, share.model, both.share_pct))
            }
            loans.append(Loan(lender=lender, latency_ms=known))
        bed.perform(SetLoans(step=0, gpulet=number, loans=tuple(loans)))


def _latency_ms(study: Study, model: str, share_pct: int) -> LatencyPoints:
    try:
        table = study.profile.model(model).tables((share_pct,))[0]
    except ProfileError:
        return ()
    return tuple(enumerate(table.tolist(), start=1))
