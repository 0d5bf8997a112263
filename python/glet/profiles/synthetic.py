"""Profiles by formula, for devices that nobody here has: emulation, tests and studies.

A batch of b on a share s (both as parts of one: s = 1 is the whole device) takes

    L(b, s) = floor + work * b / min(s, sat(b))        sat(b) = min(1, parallelism * sqrt(b))

`floor` is what launching costs on any share. `sat(b)` is the most of the device that a batch can
use: a larger share changes nothing. `parallelism` is sat(1). Two rules give floor and work:

- L(32, 1) = SLO / 2, the rule by which the published objectives were set (Choi et al., ATC 2022).
- floor = L(1, 1) / 4. On the published A100 tables of eager networks (ParvaGPU, SC 2024) batch 1 of
  ResNet-50 takes as long on a seventh of the device as on all of it: most of it is not work that
  more of the device could do. A quarter is the part for launching alone; the rest is sat(1) < 1.

For the published models `parallelism` is the SM utilisation of batch 1 on the whole 2080 Ti
(UTIL.CSV of the published prototype). Those figures grow with the batch about as sqrt(b) does until
they saturate: from batch 1 to 8 by 2.8 (densenet161, mobilenet_v2), 2.9 (ssd-mobilenetv1), 2.4
(resnet50), 1.5 (vgg16, which nearly saturates with one image; lenet, which is all launching). With
them vgg16 takes 6.9 ms at batch 1, resnet50 10.7, googlenet 7.3, densenet161 22.5: plausible for
eager networks of that depth. Demands are the published L2 and DRAM utilisations at 1, 8 and 32.

`python -m glet.profiles.synthetic FOLDER` writes the profile `synthetic-gpu`.
"""

import argparse
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from glet.errors import ArgumentError, GletError
from glet.profiles.device_profile import Demand, ModelProfile
from glet.profiles.files import (
    DeviceFacts,
    MeasuredDemand,
    MeasuredLatency,
    Origin,
    ProfileData,
    write_profile,
)

BATCHES = (1, 2, 4, 8, 12, 16, 20, 24, 28, 32)
SHARES = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
DEVICE_SHARES = tuple(range(5, 101, 5))
MEMORY_MB = 11000.0
LARGEST = 32
FLOOR_PART = 0.25
# Of latencies in files, nanoseconds.
DIGITS = 6
NOTE = "not measured: L(b, s) = floor + work b / min(s, sat(b)), glet.profiles.synthetic"
COMMAND = "python -m glet.profiles.synthetic profiles/synthetic-gpu"


class SyntheticModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model by the formula; synthetic_model() makes it. `demands` by batch."""

    name: str
    slo_ms: float
    parallelism: float
    memory_mb: float
    demands: dict[int, Demand]

    @property
    def floor_ms(self) -> float:
        """What launching costs."""
        return self.slo_ms / 2.0 / self._floors(1.0, LARGEST)

    def latency_ms(self, share_pct: float, batch: int) -> float:
        """Of a batch on a share of 0 < share_pct <= 100 percent."""
        floors = self._floors(share_pct / 100.0, batch) / self._floors(1.0, LARGEST)
        return self.slo_ms / 2.0 * floors

    def _floors(self, share: float, batch: int) -> float:
        """Latency in units of the floor: (1 - part) / part of them are the work of batch 1."""
        used = min(share, saturation(self.parallelism, batch))
        return 1.0 + (1.0 - FLOOR_PART) / FLOOR_PART * self.parallelism * batch / used

    def profile(
        self, shares: Sequence[int] = SHARES, batches: Sequence[int] = BATCHES
    ) -> ModelProfile:
        """The formula at these shares and batches, interpolated between."""
        latencies = {
            share: {batch: self.latency_ms(share, batch) for batch in batches} for share in shares
        }
        return ModelProfile(self.name, latencies, memory_mb=self.memory_mb, demands=self.demands)


def saturation(parallelism: float, batch: int) -> float:
    """The most of a device that a batch can use, 0 to 1."""
    return min(1.0, parallelism * math.sqrt(batch))


def synthetic_model(
    name: str,
    slo_ms: float,
    parallelism: float,
    *,
    memory_mb: float = 0.0,
    demands: Mapping[int, Demand] | None = None,
) -> SyntheticModel:
    """The model with L(32, 1) = slo_ms / 2. Raises ArgumentError for numbers that are none."""
    if not (0.0 < slo_ms < 1e9 and 0.0 < parallelism <= 1.0):
        raise ArgumentError(
            f"model {name!r}: SLO {slo_ms:g} ms, parallelism {parallelism:g}; valid is an SLO "
            "above 0 and a parallelism above 0, at most 1"
        )
    return SyntheticModel(
        name=name,
        slo_ms=slo_ms,
        parallelism=parallelism,
        memory_mb=memory_mb,
        demands=dict(demands or {}),
    )


def synthetic_models(count: int, rng: np.random.Generator) -> tuple[SyntheticModel, ...]:
    """Models such as might be served, named m0000, m0001, ...; the same for the same generator.

    Objectives (5 to 250 ms), parallelism (0.05 to 0.6) and memory (50 to 3,000 MB) are spread
    evenly in their logarithm over the ranges of the published models. DRAM demand is 1 to 2.2 times
    the parallelism at batch 1, grows with sqrt(b) and ends at 0.25 to 0.65; L2 demand is a third to
    a half of it.
    """
    models = []
    for index in range(count):
        slo_ms, parallelism, memory_mb = (
            float(math.exp(rng.uniform(math.log(low), math.log(high))))
            for low, high in ((5.0, 250.0), (0.05, 0.6), (50.0, 3000.0))
        )
        first, most = parallelism * rng.uniform(1.0, 2.2), rng.uniform(0.25, 0.65)
        l2_part = rng.uniform(1.0 / 3.0, 0.5)
        demands = {}
        for batch in (1, 2, 4, 8, 16, 32):
            dram = float(min(most, first * math.sqrt(batch)))
            demands[batch] = Demand(l2=float(l2_part * dram), dram=dram)
        models.append(
            synthetic_model(
                f"m{index:04}", slo_ms, parallelism, memory_mb=memory_mb, demands=demands
            )
        )
    return tuple(models)


def published_models() -> tuple[SyntheticModel, ...]:
    """The 14 models of the published study, by the formula."""
    return tuple(_published(row) for row in _PUBLISHED)


def synthetic_data(models: Iterable[SyntheticModel]) -> ProfileData:
    """A profile folder's content: these models on a device of 11,000 MB in steps of 5 %."""
    models = tuple(models)
    latencies = [
        MeasuredLatency(
            model=model.name,
            share_pct=share,
            batch=batch,
            p50_ms=(latency_ms := round(model.latency_ms(share, batch), DIGITS)),
            p99_ms=latency_ms,
            samples=0,
        )
        for model in models
        for share in SHARES
        for batch in BATCHES
    ]
    return ProfileData(
        device=DeviceFacts(
            type="synthetic-gpu",
            kind="profiled",
            memory_mb=MEMORY_MB,
            shares=DEVICE_SHARES,
            note=NOTE,
            origin=Origin(command=COMMAND),
        ),
        latencies=tuple(latencies),
        memory_mb={model.name: model.memory_mb for model in models},
        demands=tuple(
            MeasuredDemand(model=model.name, batch=batch, l2=demand.l2, dram=demand.dram)
            for model in models
            for batch, demand in sorted(model.demands.items())
        ),
    )


# name: SLO ms, memory MB, SM utilisation of batch 1, then L2 % and DRAM % at batches 1, 8, 32
_PUBLISHED: tuple[tuple[str, float, float, float, tuple[float, ...]], ...] = (
    *(
        (f"lenet{number}", 5.0, 50.0, 0.08, (2.4, 11.3, 4.3, 15.0, 7.0, 25.4))
        for number in range(1, 7)
    ),
    ("googlenet", 66.0, 1720.0, 0.10, (7.4, 15.9, 22.3, 43.4, 24.9, 56.3)),
    ("resnet50", 108.0, 1820.0, 0.20, (15.4, 27.9, 25.8, 51.3, 28.2, 62.3)),
    ("ssd-mobilenetv1", 202.0, 640.0, 0.13, (10.6, 20.5, 20.1, 46.4, 27.6, 61.2)),
    ("vgg16", 142.0, 2920.0, 0.42, (31.0, 56.0, 32.1, 56.7, 30.2, 61.1)),
    ("mnasnet1_0", 62.0, 1550.0, 0.09, (8.0, 20.0, 18.6, 46.6, 21.6, 57.6)),
    ("mobilenet_v2", 64.0, 464.0, 0.09, (8.6, 21.8, 20.7, 51.1, 23.9, 62.3)),
    ("densenet161", 202.0, 1220.0, 0.13, (9.0, 18.3, 22.2, 45.0, 25.5, 60.0)),
    ("bert", 22.0, 500.0, 0.17, (9.2, 29.0, 16.3, 30.2, 18.3, 34.7)),
)


def _published(row: tuple[str, float, float, float, tuple[float, ...]]) -> SyntheticModel:
    name, slo_ms, memory_mb, parallelism, percents = row
    fractions = [round(percent / 100.0, 3) for percent in percents]
    demands = {
        batch: Demand(l2=l2, dram=dram)
        for batch, l2, dram in zip((1, 8, 32), fractions[::2], fractions[1::2], strict=True)
    }
    return synthetic_model(name, slo_ms, parallelism, memory_mb=memory_mb, demands=demands)


def main(arguments: Sequence[str]) -> None:
    """Writes the folder that is named; exit code 2 and a line when it cannot."""
    parser = argparse.ArgumentParser(description="Write the profile synthetic-gpu.")
    parser.add_argument("folder", type=Path)
    args = parser.parse_args(arguments)
    try:
        write_profile(args.folder, synthetic_data(published_models()))
    except GletError as error:
        parser.exit(error.exit_code, f"{error}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
