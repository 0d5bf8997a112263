"""Who may borrow whose share on a device, and the step that tells an executor so."""

from collections.abc import Callable, Collection, Mapping

from glet.plan.layout import PlacedGpulet
from glet.plan.neighbours import neighbours
from glet.serve.hosted import HostedGpulet, Room
from glet.wire.loan_messages import Loan, SetLoans
from glet.wire.messages import LatencyPoints


def wanted_loans(
    hosted: Mapping[int, HostedGpulet],
    latency_ms: Callable[[str, PlacedGpulet, PlacedGpulet], LatencyPoints],
    bad_units: Collection[int] = (),
) -> dict[int, tuple[Loan, ...]]:
    """The loans of each gpulet of one executor that serves and changes nothing now.

    `latency_ms` gives what a model takes on the shares of two gpulets together; empty where that is
    not known.
    """
    settled = {
        number: gpulet
        for number, gpulet in hosted.items()
        if gpulet.state == "ready" and gpulet.target is None
    }
    wanted = {}
    for number, lenders in neighbours([g.placed for g in settled.values()], bad_units).items():
        own = settled[number]
        wanted[number] = tuple(
            Loan(
                lender=lender,
                latency_ms={
                    model.number: points
                    for name, model in sorted(own.models.items())
                    if model.state == "ready"
                    and (points := latency_ms(name, own.placed, settled[lender].placed))
                },
            )
            for lender in lenders
        )
    return wanted


def loan_steps(
    hosted: Mapping[int, HostedGpulet], room: Room, step: int
) -> tuple[()] | tuple[SetLoans]:
    """The first step towards the wanted loans, if there is one."""
    for number, loans in room.loans(hosted).items():
        if hosted[number].loans != loans:
            return (SetLoans(step=step, gpulet=number, loans=loans),)
    return ()
