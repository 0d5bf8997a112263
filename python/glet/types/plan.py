"""A plan: which gpulets exist where, which models each runs, at which batch size and rate."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

MOST_NAME = 255
"""Of a model, in characters: it is a folder's."""
MOST_WAIT_MS = 1e12
"""30 years: the turns of a rate near 0 are long, and still a number of ns."""


class ModelShare(msgspec.Struct, frozen=True, kw_only=True):
    """One model on one gpulet.

    `batch` is a cap. `rate_rps` is what the plan gives the model here, 0 when the plan names no
    rate. `duty_cycle_ms` is how often a batch is collected, None when the plan does not say.
    `time_share` is the part of the gpulet's time promised to the model. `linger_ms` is how long
    its oldest request waits for company while the gpulet idles (see `lingers()`).
    """

    model: str
    batch: int
    rate_rps: float = 0.0
    duty_cycle_ms: float | None = None
    time_share: float = 1.0
    linger_ms: float = 0.0


class GpuletPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One gpulet of one device.

    `device` is the device's number in the cluster. `dedup` tells gpulets of equal share on one
    device apart: 0 for the first, 1 for the second, ... Without models the share is kept idle.
    """

    device: int
    share_pct: int
    dedup: int = 0
    models: tuple[ModelShare, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All gpulets, and the rate that could not be placed, by model in requests/s."""

    gpulets: tuple[GpuletPlan, ...] = ()
    unmet: dict[str, float] = {}

    def on_device(self, device: int) -> tuple[GpuletPlan, ...]:
        """The gpulets of one device, in the plan's order."""
        return tuple(gpulet for gpulet in self.gpulets if gpulet.device == device)

    def models(self) -> tuple[str, ...]:
        """Names of all models that are placed, sorted."""
        return tuple(sorted({m.model for gpulet in self.gpulets for m in gpulet.models}))


def takes_turns(models: Sequence[ModelShare]) -> bool:
    """Whether these models of one gpulet have one common duty cycle, or none."""
    return len({share.duty_cycle_ms or 0.0 for share in models}) <= 1


def lingers(models: Sequence[ModelShare]) -> tuple[ModelShare, ...]:
    """The same models of one gpulet, with the time that each waits for company.

    Models with one common duty cycle take turns: nobody waits, each turn takes what there is.
    Models with duty cycles of their own collect whole batches, so that none asks for more of the
    gpulet's time than was planned: the oldest of `batch` evenly spaced requests waits for the last.
    """
    waits = not takes_turns(models)
    return tuple(
        msgspec.structs.replace(
            share,
            linger_ms=waits * (share.duty_cycle_ms or 0.0) * (1.0 - 1.0 / max(1, share.batch)),
        )
        for share in models
    )


def problems(gpulets: Iterable[GpuletPlan]) -> list[str]:
    """Everything wrong with these gpulets, a line each; empty when they can stand together."""
    gpulets = tuple(gpulets)
    found = []
    shares: dict[int, int] = defaultdict(int)
    places = Counter((g.device, g.share_pct, g.dedup) for g in gpulets)
    for gpulet in gpulets:
        shares[gpulet.device] += gpulet.share_pct
        found += _gpulet_problems(gpulet)
    for (device, share_pct, dedup), count in places.items():
        if count > 1:
            found.append(
                f"device {device} has {count} gpulets of {share_pct} % with dedup {dedup}; "
                "give each its own dedup"
            )
    for device, total in sorted(shares.items()):
        if total > 100:
            found.append(f"shares of device {device} add up to {total} %; at most 100 is valid")
    return found


def _gpulet_problems(gpulet: GpuletPlan) -> list[str]:
    where = f"gpulet {gpulet.share_pct} % of device {gpulet.device}"
    found = []
    if gpulet.device < 0:
        found.append(f"{where}: a device's number is 0 or more")
    if not 1 <= gpulet.share_pct <= 100:
        found.append(f"{where}: a share is 1..100 percent")
    names = Counter(share.model for share in gpulet.models)
    found += [f"{where}: model {name!r} is there twice" for name, n in names.items() if n > 1]
    for share in gpulet.models:
        if len(share.model) > MOST_NAME:
            found.append(f"{where}: the name of a model has at most {MOST_NAME} characters")
        if share.batch < 1:
            found.append(f"{where}: batch of {share.model!r} is {share.batch}; at least 1 is valid")
        if not (math.isfinite(share.rate_rps) and share.rate_rps >= 0):
            found.append(f"{where}: rate of {share.model!r} is {share.rate_rps}; it must be >= 0")
        if not 0 < share.time_share <= 1:
            found.append(f"{where}: time share of {share.model!r} is {share.time_share}; 0..1")
        for waits_ms in (share.linger_ms, share.duty_cycle_ms or 0.0):
            if not 0 <= waits_ms <= MOST_WAIT_MS:
                valid = f"valid is 0..{MOST_WAIT_MS:g}"
                found.append(f"{where}: {share.model!r} waits for {waits_ms} ms; {valid}")
    return found
