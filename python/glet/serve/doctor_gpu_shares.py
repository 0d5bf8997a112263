"""Whether the shares of a GPU are what they should be: disjoint, side by side, and right."""

import sys
from itertools import combinations

import msgspec

from glet.errors import DeviceError
from glet.serve.doctor_finding import Finding, Wish, found
from glet.serve.doctor_gpu_torch import GEMM_TOLERANCES
from glet.serve.doctor_gpu_work import ShareErrors, ShareFacts
from glet.serve.doctor_program import ask_program
from glet.serve.share_gate import ShareGate, write_gate

LIMIT_S = 240.0
# Float16 through a network of tens of layers, whose kernels differ from share to share.
NETWORK_TOLERANCE = 2e-2
# Two graphs side by side take as long as one; one after the other, twice as long.
OVERLAP_LIMIT = 1.5


def gpu_shares(wish: Wish) -> Finding:
    """Works on every share. Raises DeviceError."""
    reply = ask_program([sys.executable, "-m", "glet.serve.doctor_gpu_work"], LIMIT_S)
    if reply.code is None:
        raise DeviceError(f"work on parts of the GPU did not end in {LIMIT_S:g} s")
    if reply.code != 0:
        raise DeviceError(f"work on parts of the GPU failed: {reply.last_line}")
    try:
        facts = msgspec.json.decode(reply.last_line, type=ShareFacts)
    except msgspec.DecodeError as error:
        raise DeviceError(f"work on parts of the GPU gave no answer: {reply.last_line}") from error
    keep(facts)
    return judge_gpu_shares(facts)


def keep(facts: ShareFacts) -> None:
    """For whoever cuts this GPU from now on. Raises DeviceError when it cannot be written."""
    gate = ShareGate(
        device=facts.device,
        driver=facts.driver,
        unit_sms=facts.unit_sms,
        bad_units=bad_units(facts),
    )
    try:
        write_gate(gate)
    except OSError as error:
        raise DeviceError(f"what was found of shares of the GPU cannot be kept: {error}") from error


def judge_gpu_shares(facts: ShareFacts) -> Finding:
    """Overlapping units are worse than wrong numbers at one share, which can be left out."""
    units = len(facts.sm_ids)
    for one, two in combinations(range(units), 2):
        both = set(facts.sm_ids[one]) & set(facts.sm_ids[two])
        if both:
            says = f"units {one} and {two} both run on SM {min(both)}: gpulets are not apart"
            return found("failed", says, facts, "do not use partition green; update the driver")
    if facts.together_ms > OVERLAP_LIMIT * facts.alone_ms:
        times = facts.together_ms / facts.alone_ms
        return found(
            "failed",
            f"two gpulets at once take {times:.1f} times as long as one: they run in turns",
            facts,
            "set CUDA_DEVICE_MAX_CONNECTIONS=32, or update the driver to CUDA 13.1",
        )
    bad = bad_units(facts)
    if bad:
        counts = ", ".join(str(count) for count in bad)
        return found(
            "failed",
            f"{worst(facts)}; shares of {counts} units cannot be trusted",
            facts,
            "glet does not give these shares from now on; try another torch and driver",
        )
    says = f"{units} disjoint units; two gpulets run side by side; numbers are right on every share"
    return found("ok", says, facts)


def bad_units(facts: ShareFacts) -> tuple[int, ...]:
    """Counts of units on which numbers are wrong, ascending: not to be planned."""
    return tuple(sorted(share.units for share in facts.shares if _excess(share) > 1.0))


def worst(facts: ShareFacts) -> str:
    """The share that is furthest off, in words."""
    share = max(facts.shares, key=_excess)
    parts = [*share.gemm.items(), (f"{share.units}-unit network", share.network)]
    errors = ", ".join(
        f"{name} {'no number' if error is None else f'{error:.1e}'}" for name, error in parts
    )
    return f"on {share.sms} SMs results are off by {errors}"


def _excess(share: ShareErrors) -> float:
    """The largest error over what it may be; infinite where something is missing."""
    ratios = [_ratio(share.gemm.get(name), limit) for name, limit in GEMM_TOLERANCES.items()]
    return max(*ratios, _ratio(share.network, NETWORK_TOLERANCE))


def _ratio(error: float | None, limit: float) -> float:
    return float("inf") if error is None else error / limit
